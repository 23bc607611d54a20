"""Programs from outside this tree that the suite starts: third-party servers and clients.

`nox -s e2e` makes them once, in a cache folder, and names each in S4_TEST_<NAME>. By hand, what is on the PATH is taken.
"""

import os
import shutil
from pathlib import Path

import pytest

# name -> (the program, why it can be missing).
PROGRAMS = {
    "versitygw": ("versitygw", "versitygw was not built: there is no Go toolchain"),
    "minio": ("minio", "MinIO was not built: there is no Go toolchain"),
    "awscli": ("aws", "aws-cli is not there: run the suite by nox -s e2e"),
    "rclone": ("rclone", "rclone is not there: run the suite by nox -s e2e"),
    "reference": ("", "the reference's packages were not built: there is no Rust toolchain (cargo)"),
}


def program(name: str) -> Path:
    """The program's path; for `reference` a Python interpreter that imports its packages. Skips the test where it is missing."""
    command, reason = PROGRAMS[name]
    found = os.environ.get(f"S4_TEST_{name.upper()}") or (shutil.which(command) if command else None)
    if not found:
        pytest.skip(reason)
    return Path(found)
