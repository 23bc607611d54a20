"""The package's public names, version and what importing it brings along."""

import subprocess
import sys
from importlib.metadata import version

import s4_format

FORBIDDEN = {"asyncio", "socket", "logging", "hypothesis"}


def test_all_names_exist_once() -> None:
    """`__all__` lists existing names, each once."""
    assert len(s4_format.__all__) == len(set(s4_format.__all__))
    assert all(hasattr(s4_format, name) for name in s4_format.__all__)


def test_nothing_public_is_unlisted() -> None:
    """Every public class, function and constant of the package is in `__all__`; only submodules are not."""
    modules = {name.rpartition(".")[2] for name in sys.modules if name.startswith("s4_format.")}
    public = {name for name in vars(s4_format) if not name.startswith("_")} | {"__version__"}

    assert public - modules - set(s4_format.__all__) == set()


def test_version_is_the_distribution_s() -> None:
    """`__version__` and the installed metadata agree."""
    assert s4_format.__version__ == version("s4-format")


def test_import_brings_no_input_output_machinery() -> None:
    """Importing the package loads no event loop, socket, logging or test library; what the accelerator loads is its own affair."""
    code = (
        "import sys; sys.modules['crc32c'] = None; before = set(sys.modules); import s4_format; "
        f"print(sorted({FORBIDDEN!r} & (set(sys.modules) - before)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"
