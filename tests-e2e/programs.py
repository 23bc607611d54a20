"""Programs from outside this tree that the suite starts: third-party servers and clients.

`nox -s e2e` makes them once, in a cache folder, and names each in S4_TEST_<NAME>. By hand, the newest in that folder is taken, and failing
that what is on the PATH.
"""

import os
import shutil
from pathlib import Path

import pytest

# Read before the suite hides the developer's own folders from everything that it starts.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s4-tests"

# name -> (the program, where nox keeps it, why it can be missing).
PROGRAMS = {
    "versitygw": ("versitygw", "servers/versitygw@*/versitygw", "versitygw was not built: there is no Go toolchain"),
    "minio": ("minio", "servers/minio@*/minio", "MinIO was not built: there is no Go toolchain"),
    "awscli": ("aws", "clients/awscli-*/bin/aws", "aws-cli is not there: run the suite by nox -s e2e"),
    "rclone": ("rclone", "clients/rclone-*/bin/rclone", "rclone is not there: run the suite by nox -s e2e"),
    "reference": ("", "clients/reference-*/bin/python", "the reference's packages were not built: there is no Rust toolchain (cargo)"),
}


def program(name: str) -> Path:
    """The program's path; for `reference` a Python interpreter that imports its packages. Skips the test where it is missing."""
    command, cached, reason = PROGRAMS[name]
    found = os.environ.get(f"S4_TEST_{name.upper()}") or _newest(cached) or (shutil.which(command) if command else None)
    if not found:
        pytest.skip(reason)
    return Path(found)


def _newest(pattern: str) -> Path | None:
    """The newest that nox finished making."""
    found = [path for path in CACHE.glob(pattern) if (CACHE / path.relative_to(CACHE).parents[-3] / ".complete").exists()]
    return max(found, key=lambda path: path.lstat().st_mtime, default=None)
