"""What reading and writing need of the place where objects lie."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fsspec import AbstractFileSystem
from s4_format import Buffer

from s4fs.stored import UNCONDITIONAL, Condition, Download, StoredObject, Upload, Wanted


@dataclass(frozen=True, slots=True)
class Headers:
    """What is stored beside a body; targets without metadata keep none of it."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    """User metadata, the client's and S4's."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Further arguments of the underlying file system's own writes (`ContentType`, `CacheControl`, `StorageClass`, ...)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a listing."""

    name: str
    """Path; of a directory without trailing slash."""
    stored: StoredObject | None
    """None = a directory. Listings tell no metadata."""
    details: Mapping[str, object] = field(default_factory=dict)
    """The row as the underlying file system shows it."""


class Target(ABC):
    """One underlying file system. Everything runs on the event loop of the `S4FileSystem` it serves.

    Methods raise `FileNotFoundError` only for what is definitely not there, and other `OSError`s for every other failure.
    """

    keeps_metadata: bool
    """Whether objects have user metadata and ETags of their own."""
    conditional: bool
    """Whether `Condition.if_match` can be kept."""
    min_part_bytes: int
    """Least stored bytes of every part of an upload but the last."""

    def __init__(self, fs: AbstractFileSystem) -> None:
        self.fs = fs

    @abstractmethod
    async def head(self, path: str) -> StoredObject:
        """The object at the path.

        Raises:
            FileNotFoundError: there is none.
            IsADirectoryError: there is a directory, on targets that know such.
        """

    @abstractmethod
    async def fetch(self, path: str, wanted: Wanted | None, *, pinned: StoredObject | None = None) -> Download:
        """Ask for stored bytes; None = all of them.

        Args:
            path: where.
            wanted: which bytes. A span lies within the object, or ends behind it.
            pinned: the version that they must be of.

        Raises:
            Moved: the object is not `pinned` (any more).
            FileNotFoundError: there is none, and none was pinned.
        """

    @abstractmethod
    async def put(self, path: str, body: Sequence[Buffer], headers: Headers, condition: Condition = UNCONDITIONAL) -> str | None:
        """Store a whole body at once; its ETag, if the target tells.

        Raises:
            ConditionFailedError: the condition does not hold, or did not hold for one of several attempts.
        """

    @abstractmethod
    async def upload(self, path: str, headers: Headers) -> Upload:
        """Begin a body that is sent in parts."""

    @abstractmethod
    async def copy(self, source: StoredObject, path: str, headers: Headers) -> str | None:
        """Copy exactly this version, giving the copy these headers; its ETag, if the target tells.

        Raises:
            Moved: the source was replaced.
        """

    @abstractmethod
    async def remove(self, paths: Sequence[str]) -> None:
        """Delete objects; what is not there stays away.

        Raises:
            OSError: some could not be deleted; the message names the first.
        """

    @abstractmethod
    async def remove_tree(self, path: str) -> None:
        """Delete a directory with all that belongs to what is in it; what is not there stays away."""

    @abstractmethod
    async def children(self, path: str) -> list[Entry]:
        """What lies directly below a directory, hidden names included; empty for what is not there.

        Raises:
            FileNotFoundError: it is not there, on targets that know empty directories.
        """

    @abstractmethod
    async def descendants(self, path: str, *, prefix: str = "") -> list[Entry]:
        """All objects (no directories) below a directory, hidden names included; only those whose names go on with `prefix`."""

    @abstractmethod
    async def is_directory(self, path: str) -> bool:
        """Whether there is a directory: a bucket, a folder, or something visible below the name."""

    @abstractmethod
    async def check_writable(self, path: str) -> None:
        """Find out before the first write whether the target may be written to.

        Raises:
            GatewayEndpointError: it is an S4 gateway.
        """

    @abstractmethod
    async def make_directory(self, path: str, *, parents: bool, exist_ok: bool) -> None:
        """Make a bucket or a folder, where the target has such."""

    @abstractmethod
    async def remove_directory(self, path: str) -> None:
        """Remove an empty bucket or folder."""
