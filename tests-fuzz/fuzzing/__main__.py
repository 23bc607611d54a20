"""Fuzz all targets, or some, and print what came of it; the exit status says whether a promise was broken.

    python -m fuzzing [--seconds N] [--target NAME]... [--jobs N] [--keep] [--try BASE64]

A finding is printed as base64 with its traceback; `--target NAME --try BASE64` repeats it without the fuzzer.
"""

import argparse
import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fuzzing import corpus
from fuzzing.session import Outcome, probe
from fuzzing.target import Target
from fuzzing.targets import TARGETS

DEFAULT_SECONDS = 60
LEAST_SECONDS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fuzzing", description=__doc__)
    parser.add_argument("--seconds", type=int, default=DEFAULT_SECONDS, help="for all targets together, starts not counted")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only this one; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="probes at a time")
    parser.add_argument("--keep", action="store_true", help="keep the inputs that reach something new in corpus/")
    parser.add_argument("--try", dest="once", metavar="BASE64", help="hand this input to the target, without the fuzzer")
    options = parser.parse_args(arguments)
    chosen = [TARGETS[name] for name in options.target or TARGETS]
    if options.once is not None:
        for target in chosen:
            target.run(base64.b64decode(options.once, validate=True))
        return 0
    each = max(LEAST_SECONDS, options.seconds * options.jobs // len(chosen))

    def fuzzed(target: Target) -> Outcome:
        outcome = probe(target, seconds=each)
        kept = _keep(target, outcome) if options.keep else len(outcome.kept)
        print(f"{target.name}: {outcome.tries:,} tries, {kept} inputs{', A FINDING' if outcome.finding is not None else ''}", flush=True)
        return outcome

    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(fuzzed, chosen))
    _report(outcomes, each)
    return int(any(outcome.finding is not None for outcome in outcomes))


def _report(outcomes: Sequence[Outcome], seconds: int) -> None:
    print(f"\n| target | tries in {seconds} s | branches | new inputs | finding |\n|---|---:|---:|---:|---|")
    for one in outcomes:
        print(f"| {one.name} | {one.tries:,} | {one.covered} | {len(one.kept)} | {'YES' if one.finding is not None else 'none'} |")
    for one in outcomes:
        if one.finding is not None:
            print(f"\n{one.name}: a promise is broken by {one.finding[:200]!r}\n{one.trace}")
            print(f"repeat it: nox -s fuzz -- --target {one.name} --try {base64.b64encode(one.finding).decode()}")
    print(f"\n{sum(one.tries for one in outcomes):,} tries over {len(outcomes)} targets", flush=True)


def _keep(target: Target, outcome: Outcome) -> int:
    inputs = {*corpus.read(target.name), *outcome.kept}
    corpus.write(target.name, inputs)
    return len(inputs)


if __name__ == "__main__":
    raise SystemExit(main())
