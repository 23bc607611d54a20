"""Command-line programs: run to their end, with their output."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 120


class CommandError(Exception):
    """The program ended with another status than 0; the message is what it wrote."""


def run(
    command: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    seconds: float = SECONDS,
    encoding: str = "utf-8",
) -> str:
    """Standard output of a program.

    Raises:
        CommandError: it failed.
        subprocess.TimeoutExpired: it did not end.
    """
    ended = subprocess.run(
        command,
        env={**os.environ, **(environ or {})},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    if ended.returncode:
        raise CommandError(f"{command!r} ended with {ended.returncode}:\n{(ended.stdout + ended.stderr).decode(errors='replace')}")
    return ended.stdout.decode(encoding)
