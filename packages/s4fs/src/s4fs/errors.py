"""Errors of s4fs, one tree of `OSError`s, each with the errno that users of file systems know.

    S4FileSystemError (OSError)
     ├─ DamagedObjectError       EIO      the stored bytes are not what their metadata, trailer or checksums promise
     ├─ UnreadableObjectError    ENOTSUP  sound, but no codec here decodes it
     ├─ EncryptedObjectError     EACCES   ciphertext, whose key is not here (also a PermissionError)
     ├─ FileChangedError         ESTALE   the object was replaced while it was being read
     ├─ WriteDisabledError       EROFS    the file system was opened for reading (also a NotImplementedError)
     ├─ UnsupportedModeError     ENOTSUP  appending and updating, which no object store has (also a NotImplementedError)
     ├─ ReservedNameError        EPERM    the name belongs to S4 itself (also a PermissionError and a ValueError)
     ├─ GatewayEndpointError     EINVAL   the endpoint is an S4 gateway, through which objects must be written as they are
     ├─ ConditionFailedError     EBUSY    `if_match` named another version than there is
     └─ LostWriteError           EIO      the store's answer was lost and the write is not to be seen

What is not there is a plain `FileNotFoundError`, what is there already under `mode="xb"` a plain `FileExistsError`, and what the
store itself refuses an `OSError` as the underlying file system translates it.
"""

import errno


class S4FileSystemError(OSError):
    """Base of all errors of this package. `path` is what the operation was about."""

    code = errno.EIO

    def __init__(self, path: str, message: str) -> None:
        super().__init__(self.code, f"{message}: {path!r}")
        self.path = path
        self._message = message

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way between the processes of Dask and multiprocessing."""
        return type(self), (self.path, self._message)


class DamagedObjectError(S4FileSystemError):
    """The stored bytes are not what they promise to be; nothing of the damaged part was handed out. Restore the object from a copy."""


class UnreadableObjectError(S4FileSystemError):
    """The object is sound, but the codec that wrote it cannot be used here; the message names the codec and what to install."""

    code = errno.ENOTSUP


class EncryptedObjectError(S4FileSystemError, PermissionError):
    """The stored bytes are ciphertext. The message says which key they need; read the object through the gateway that has it."""

    code = errno.EACCES


class FileChangedError(S4FileSystemError):
    """The object was replaced while it was open: open it again, or open it with `on_change="reopen"`."""

    code = errno.ESTALE


class WriteDisabledError(S4FileSystemError, NotImplementedError):
    """The file system was made for reading; `write_enabled=True` unlocks writing."""

    code = errno.EROFS


class UnsupportedModeError(S4FileSystemError, NotImplementedError):
    """Objects are written whole: they cannot be appended to or updated in place."""

    code = errno.ENOTSUP


class ReservedNameError(S4FileSystemError, PermissionError, ValueError):
    """The name belongs to S4's own records and is not to be written or deleted."""

    code = errno.EPERM


class GatewayEndpointError(S4FileSystemError):
    """The endpoint is an S4 gateway. It compresses what it is given and hides S4's metadata, so what s4fs writes through it would come
    back as raw frames: use s4fs on the bucket behind the gateway, or s3fs on the gateway.
    """

    code = errno.EINVAL


class ConditionFailedError(S4FileSystemError):
    """The object is not the version that `if_match` named; nothing was written."""

    code = errno.EBUSY


class LostWriteError(S4FileSystemError):
    """The store did not answer, and the object at the path is not this write: it may be written again."""
