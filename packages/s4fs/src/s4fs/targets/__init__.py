"""Where stored objects lie: `S3Target` over s3fs, whose objects have metadata, and `FilesTarget` over every other fsspec file system."""

from fsspec import AbstractFileSystem

from s4fs.targets.abc import Entry, Target
from s4fs.targets.files import FilesTarget
from s4fs.targets.s3 import S3Target

__all__ = ["Entry", "FilesTarget", "S3Target", "Target", "target_for"]


def target_for(fs: AbstractFileSystem) -> Target:
    """The target that speaks with this file system."""
    return S3Target(fs) if hasattr(fs, "_call_s3") else FilesTarget(fs)
