"""What a target says about a stored object, and which bytes of it are asked for."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol, TypeAlias

from s4_format import Buffer

NO_METADATA: Mapping[str, str] = {}


class Span(NamedTuple):
    """Stored bytes [start, stop); stop None is the end of the body."""

    start: int
    stop: int | None


class Suffix(NamedTuple):
    """The last `size` stored bytes, or all if there are fewer."""

    size: int


Wanted: TypeAlias = Span | Suffix


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One version of one stored object."""

    path: str
    """As the underlying file system names it."""
    size: int
    """Stored bytes."""
    etag: str | None
    """What identifies the version: the backend's ETag, unquoted, or a digest of what the file system knows of it."""
    modified: datetime | None = None
    """When it was written, to the second or better."""
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA, hash=False)
    """User metadata, where the target has any."""
    details: Mapping[str, object] = field(default_factory=dict, hash=False)
    """What else the target tells of it, as users of its file system know it (`ContentType`, `StorageClass`, `mode`, ...)."""

    def is_same(self, other: "StoredObject") -> bool:
        """Whether two answers are about one body. Times are compared where both are known, as ETags alone may repeat."""
        return (self.etag, self.size) == (other.etag, other.size) and (
            self.modified is None or other.modified is None or self.modified.replace(microsecond=0) == other.modified.replace(microsecond=0)
        )


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold at the path for a write to happen."""

    if_match: str | None = None
    """The stored ETag, unquoted."""
    if_absent: bool = False
    """There is no object yet."""


UNCONDITIONAL = Condition()


class Download(Protocol):
    """Stored bytes on their way. Iterate once, close in any case."""

    stored: StoredObject
    start: int
    """Position in the body of the first byte."""

    def __aiter__(self) -> AsyncIterator[Buffer]:
        """The bytes asked for, all of them, or an OSError.

        Raises:
            Moved: the object was replaced meanwhile.
        """
        ...

    async def aclose(self) -> None:
        """Give the connection back; repeatable."""
        ...


class Upload(Protocol):
    """A body that becomes visible when it is completed, and not before."""

    async def add(self, part: Sequence[Buffer]) -> None:
        """Send the next part, in the order of the calls; returns when it may be forgotten."""
        ...

    async def complete(self, condition: Condition) -> str | None:
        """Make the object of all parts; its ETag, if the target tells."""
        ...

    async def abort(self) -> None:
        """Drop everything; repeatable, and never raises."""
        ...


class Moved(Exception):
    """The object at the path is no longer the one that was looked at."""
