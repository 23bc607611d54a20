"""`python -m soak`: run by `nox -s soak`."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from servers.gateways import running_gateway_over
from servers.stores import EMBEDDED, running_store

from soak.run import soak, table


def main() -> int:
    """Run the command; the exit status says whether everything was flat."""
    parser = argparse.ArgumentParser(prog="nox -s soak --", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=30.0, help="actions a second")
    parser.add_argument("--over", default=EMBEDDED, help="embedded, versitygw or minio")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="s4-soak-") as name:
        folder = Path(name)
        with running_store(options.over, folder) as store, running_gateway_over(store, folder / "state") as gateway:
            folders = (folder / "state", *([folder / "data"] if options.over == EMBEDDED else []))
            report = soak(
                gateway,
                *folders,
                seconds=options.minutes * 60,
                rate=options.rate,
                seed=options.seed,
                say=lambda line: print(line, flush=True),
            )
    print("\n".join(["", *table(report)]), flush=True)
    return int(bool(report.faults))


if __name__ == "__main__":
    sys.exit(main())
