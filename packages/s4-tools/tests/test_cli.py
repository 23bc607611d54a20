"""The command `s4`, as installed."""

import subprocess
import sysconfig
from pathlib import Path

import s4_tools

PROGRAM = Path(sysconfig.get_path("scripts")) / "s4"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_version_is_printed() -> None:
    """`s4 --version` prints the version of the installed package."""
    done = _run("--version")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"s4, version {s4_tools.__version__}\n"


def test_command_says_what_it_is() -> None:
    """`s4` alone says its version and that it has no commands yet."""
    done = _run()

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"s4 {s4_tools.__version__}: the command line of S4")
    assert "no commands yet" in done.stdout


def test_unknown_arguments_are_refused() -> None:
    """An argument that means nothing is a usage error, never ignored."""
    done = _run("estimate")

    assert done.returncode == 2
    assert "estimate" in done.stderr
