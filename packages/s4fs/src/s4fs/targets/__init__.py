"""Where stored objects lie: `S3Target` over s3fs, whose objects have metadata, and `FilesTarget` over every other fsspec file system."""

import asyncio
from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem

from s4fs.targets.abc import Entry, Target
from s4fs.targets.files import FilesTarget
from s4fs.targets.s3 import S3Target

__all__ = ["Entry", "FilesTarget", "S3Target", "Target", "target_for", "underlying"]

CONNECTIONS = 32
"""Connections of the S3 client that is made here: botocore's own default of 10 would make listings with sizes wait."""


def target_for(fs: Any) -> Target:
    """The target that speaks with this file system."""
    return S3Target(fs) if hasattr(fs, "_call_s3") else FilesTarget(fs)


def underlying(protocol: str, options: Mapping[str, Any], *, asynchronous: bool, loop: asyncio.AbstractEventLoop | None) -> Any:
    """The file system of this protocol, on the event loop of the one that uses it.

    Args:
        protocol: as fsspec knows it.
        options: its own.
        asynchronous, loop: of the file system above it.
    """
    own = dict(options)
    if protocol in ("s3", "s3a"):
        # Listings are kept above, with logical sizes, and not twice.
        own.setdefault("use_listings_cache", False)
        own["config_kwargs"] = {"max_pool_connections": CONNECTIONS, **(own.get("config_kwargs") or {})}
    if issubclass(fsspec.get_filesystem_class(protocol), AsyncFileSystem):
        own.setdefault("asynchronous", asynchronous)
        if loop is not None:
            own.setdefault("loop", loop)
    return fsspec.filesystem(protocol, **own)
