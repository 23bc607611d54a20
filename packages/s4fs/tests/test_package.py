"""What an installed s4fs promises about itself."""

import importlib.metadata
import importlib.resources

import s4fs


def test_version_is_the_distributions() -> None:
    """The version in the module is the one that the installer recorded."""
    assert s4fs.__version__ == importlib.metadata.version("s4fs")


def test_public_names_are_sorted_and_exist() -> None:
    """`__all__` lists the public names in order, each of them importable."""
    assert s4fs.__all__ == sorted(s4fs.__all__)
    assert all(hasattr(s4fs, name) for name in s4fs.__all__)


def test_types_are_shipped() -> None:
    """Type checkers find the package's own annotations (PEP 561)."""
    assert importlib.resources.files(s4fs).joinpath("py.typed").is_file()


def test_s3fs_is_recent_enough() -> None:
    """Installing s4fs never settles on an s3fs older than its floor, and s3fs works beside the installed botocore."""
    s3fs = importlib.import_module("s3fs")
    year, month = (int(part) for part in importlib.metadata.version("s3fs").split(".")[:2])

    assert (year, month) >= (2025, 3)
    assert s3fs.S3FileSystem.protocol == ("s3", "s3a")
