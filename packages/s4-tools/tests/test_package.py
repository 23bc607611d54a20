"""What an installed s4-tools promises about itself."""

import importlib.metadata
import importlib.resources

import s4_tools


def test_version_is_the_distributions() -> None:
    """The version in the module is the one that the installer recorded."""
    assert s4_tools.__version__ == importlib.metadata.version("s4-tools")


def test_public_names_are_sorted_and_exist() -> None:
    """`__all__` lists the public names in order, each of them importable."""
    assert s4_tools.__all__ == sorted(s4_tools.__all__)
    assert all(hasattr(s4_tools, name) for name in s4_tools.__all__)


def test_types_are_shipped() -> None:
    """Type checkers find the package's own annotations (PEP 561)."""
    assert importlib.resources.files(s4_tools).joinpath("py.typed").is_file()
