"""`python -m s4_format inspect FILE [--json]`: frames, index, trailer and envelope kind of a stored body or a sidecar."""

import sys
from argparse import ArgumentParser
from json import dumps
from mmap import ACCESS_READ, mmap
from pathlib import Path

from s4_format._buffer import Buffer
from s4_format._version import __version__
from s4_format.inspect import describe, render

EXIT_DAMAGED = 1
EXIT_UNREADABLE = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the result is the exit status: 0 sound or unknown, 1 damaged, 2 not readable at all."""
    parser = ArgumentParser(prog="python -m s4_format", description="Look into files that hold bytes stored by S4.")
    parser.add_argument("--version", action="version", version=f"s4-format {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    inspect = commands.add_parser("inspect", help="show frames, index, trailer and envelope kind of a stored body or a sidecar")
    inspect.add_argument("file", metavar="FILE", type=Path)
    inspect.add_argument("--json", action="store_true", help="print JSON instead of tables")
    inspect.add_argument("--limit", type=_rows, default=1000, metavar="N", help="show at most N rows of each table (default 1000)")
    options = parser.parse_args(arguments)
    try:
        data = _contents(options.file)
    except OSError as error:
        print(f"{options.file}: {error.strerror}", file=sys.stderr)
        return EXIT_UNREADABLE
    report = describe(data, limit=options.limit)
    print(dumps(report.as_json(), indent=2) if options.json else "\n".join(render(report)))
    return 0 if report.sound else EXIT_DAMAGED


def _rows(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError("rows cannot be negative")
    return count


def _contents(path: Path) -> Buffer:
    """The file as memory that is read on demand, so that a body larger than memory can be looked at."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return b""
        return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))


if __name__ == "__main__":
    sys.exit(main())
