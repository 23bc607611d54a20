"""s4fs: the fsspec file system for S4 objects, read and written straight where they lie, without the gateway.

`S4FileSystem` is the file system behind `s4://bucket/key`, `S4File` an open file of it. Everything refused raises an
`S4FileSystemError`, which is an `OSError`; what is not there is a plain `FileNotFoundError`.
"""

from s4fs._version import __version__
from s4fs.errors import (
    ConditionFailedError,
    DamagedObjectError,
    EncryptedObjectError,
    FileChangedError,
    GatewayEndpointError,
    LostWriteError,
    ReservedNameError,
    S4FileSystemError,
    UnreadableObjectError,
    UnsupportedModeError,
    WriteDisabledError,
)
from s4fs.file import S4File
from s4fs.filesystem import S4FileSystem

__all__ = [
    "ConditionFailedError",
    "DamagedObjectError",
    "EncryptedObjectError",
    "FileChangedError",
    "GatewayEndpointError",
    "LostWriteError",
    "ReservedNameError",
    "S4File",
    "S4FileSystem",
    "S4FileSystemError",
    "UnreadableObjectError",
    "UnsupportedModeError",
    "WriteDisabledError",
    "__version__",
]
