"""Runs of probes: a target, a time, and what came of it."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fuzzing import corpus
from fuzzing.target import Target

ROOT = Path(__file__).resolve().parent.parent
HANG_SECONDS = 20
"""After which one input is stopped from outside. `Target.run` judges by CPU time, but only inputs that end."""
RSS_MIB = 1024
"""Resident memory of a probe, above which what leaks from input to input is found."""
SLACK_SECONDS = 120
"""For the start of a probe, which imports and instruments, and for its last input."""

_FINDING = re.compile(r"Test unit written to (\S+)")
_COUNT = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_COVERED = re.compile(r"^#\d+\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one probe did."""

    name: str
    tries: int
    covered: int
    """Branches of the target's modules that its inputs reach."""
    kept: tuple[bytes, ...]
    """New inputs, which reach what those of before did not."""
    finding: bytes | None
    """An input that broke a promise."""
    log: str

    @property
    def trace(self) -> str:
        """What the probe said of its finding."""
        start = self.log.rfind("=== Uncaught Python exception")
        return self.log[start if start >= 0 else -4000 :]


def probe(target: Target, *, seconds: int, module: str = "fuzzing.targets", seed: int = 0) -> Outcome:
    """Fuzz one target in a process of its own.

    Args:
        target: what to fuzz.
        seconds: how long.
        module: where the process finds it, in `TARGETS`.
        seed: of the fuzzer's random numbers; 0 = another one each time.

    Raises:
        RuntimeError: the probe itself failed.
    """
    with tempfile.TemporaryDirectory(prefix="s4-fuzz-") as name:
        folder = Path(name)
        seeds = corpus.unpack([*target.seeds, *corpus.read(target.name)], folder / "seeds")
        found = corpus.unpack((), folder / "found")
        words = folder / "words"
        words.write_text("".join(f'"{_quoted(word)}"\n' for word in target.words), "ascii")
        options = {
            "max_total_time": seconds,
            "timeout": HANG_SECONDS,
            "rss_limit_mb": RSS_MIB,
            "max_len": target.max_bytes,
            "len_control": 20,
            "seed": seed,
            "print_final_stats": 1,
            "artifact_prefix": f"{folder}/",
        } | ({"dict": words} if target.words else {})
        command = [*_command(target, module), *_flags(options), str(found), str(seeds)]
        log, status = _run(command, seconds + SLACK_SECONDS)
        artifact = _FINDING.search(log)
        if status and artifact is None:
            raise RuntimeError(f"the probe of {target.name} ended with {status}:\n{log[-4000:]}")
        tries, covered = _COUNT.search(log), _COVERED.findall(log)
        return Outcome(
            target.name,
            int(tries[1]) if tries else 0,
            int(covered[-1][0]) if covered else 0,
            tuple(path.read_bytes() for path in sorted(found.iterdir())),
            Path(artifact[1]).read_bytes() if artifact else None,
            log,
        )


def _command(target: Target, module: str) -> list[str]:
    return [sys.executable, "-m", "fuzzing.probe", module, target.name, ",".join(target.modules)]


def _flags(options: Mapping[str, object]) -> list[str]:
    return [f"-{name}={value}" for name, value in options.items()]


def _quoted(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _run(command: list[str], seconds: int) -> tuple[str, int]:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace"), done.returncode
