"""What all cases share: the fixtures of an implementation, bodies, and what a refusal looks like."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeVar

import pytest
import pytest_asyncio

from s4_gateway.backend.abc import Backend, BackendError, Buffer, Condition, ListEntry, Outcome, Pieces, Written
from s4_gateway.errors import ERRORS

ODD_KEYS = (
    "plain.txt",
    "UPPER and lower",
    "plus+and space",
    "percent%2Fslash%",
    "a//b",
    "/leading",
    "trailing/",
    "../up",
    "dir/./same",
    "dir/../other",
    ".",
    "..",
    "back\\slash",
    "question?mark&amp;#hash",
    "quote\"and'quote",
    "<xml>&]]>",
    "tab\tand\nline",
    "bell\x07delete\x7f",
    "latin-é",
    "decomposed-e\u0301",
    "wide-\uff5e",
    "emoji-\U0001f600",
    "~tilde",
    "star*",
    "=?utf-8?q?x?=",
    "a",
    "a/b",
    "A",
)
"""Keys that stores, URLs, XML or file systems get wrong."""

ODD_VALUES = ("two  spaces", 'a, b; c="d"', "=?utf-8?q?x?=", "\xe9\xff\xa3", "\xc3\xa9 as utf-8", "%20+%2F")
"""Header values: latin-1 `str` for the bytes on the wire."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """What lies at a key, seen behind the backend's back."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those of `SYSTEM_HEADERS` that are set."""
    metadata: Mapping[str, str] = field(default_factory=dict)


class Behind(Protocol):
    """Another way into the same store, past the backend under test."""

    async def put(self, bucket: str, key: str, seen: Seen) -> None: ...

    async def get(self, bucket: str, key: str) -> Seen | None: ...

    async def keys(self, bucket: str) -> Sequence[str]:
        """All keys, in any order."""
        ...

    async def delete(self, bucket: str, key: str) -> None: ...


class ContractBase:
    """Fixtures and helpers; a subclass brings the async fixture `backend` (started) and the fixture `behind`."""

    odd_keys: ClassVar[Sequence[str]] = ODD_KEYS
    """Servers over a file system cannot keep all of them apart: leave those out."""
    odd_values: ClassVar[Sequence[str]] = ODD_VALUES
    conditional_copy: ClassVar[bool] = True
    """CopyObject honours conditions on its target."""
    lists_all_uploads: ClassVar[bool] = True
    """Uploads are listed under any prefix; False: only under a prefix that is their whole key."""

    @classmethod
    def pytest_generate_tests(cls, metafunc: pytest.Metafunc) -> None:
        """The zoo of the implementation: what it cannot keep is no case, rather than a skipped one."""
        zoos = {"odd_key": cls.odd_keys, "odd_value": cls.odd_values}
        for name in zoos.keys() & set(metafunc.fixturenames):
            metafunc.parametrize(name, zoos[name], ids=ascii)

    @pytest_asyncio.fixture
    async def bucket(self, backend: Backend) -> AsyncIterator[str]:
        """A bucket of a new name, emptied and deleted behind the test."""
        name = new_bucket_name()
        await backend.create_bucket(name)
        yield name
        await remove_bucket(backend, name)

    @pytest_asyncio.fixture
    async def other_bucket(self, backend: Backend) -> AsyncIterator[str]:
        """A second one."""
        name = new_bucket_name()
        await backend.create_bucket(name)
        yield name
        await remove_bucket(backend, name)


def new_bucket_name() -> str:
    """A name that no other test uses."""
    return f"contract-{secrets.token_hex(8)}"


async def remove_bucket(backend: Backend, bucket: str) -> None:
    """Delete the bucket with all that is in it."""
    for upload in await backend.list_multipart(bucket):
        await backend.abort_multipart(bucket, upload.key, upload.upload_id)
    while keys := [entry.key for entry in (await backend.list_objects(bucket)).entries]:
        await backend.delete_objects(bucket, [(key, None) for key in keys])
    await backend.delete_bucket(bucket)


def random_body(size: int, seed: int = 0) -> bytes:
    """Bytes that say where they are from: no two seeds agree anywhere for long."""
    return random.Random(seed).randbytes(size)


async def put(
    backend: Backend,
    bucket: str,
    key: str,
    body: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    condition: Condition | None = None,
) -> Written:
    """Put a body that is in one piece."""
    return await backend.put_object(bucket, key, Pieces.of(body), headers=headers or {}, metadata=metadata or {}, condition=condition)


async def fetch(backend: Backend, bucket: str, key: str) -> bytes:
    """The whole body."""
    return await (await backend.get_object(bucket, key)).read()


async def list_all(
    backend: Backend, bucket: str, *, prefix: str = "", delimiter: str = "", limit: int = 1000
) -> tuple[list[ListEntry], list[str]]:
    """All pages: entries and prefixes."""
    entries: list[ListEntry] = []
    prefixes: list[str] = []
    token: str | None = None
    while True:
        page = await backend.list_objects(bucket, prefix=prefix, delimiter=delimiter, token=token, limit=limit)
        assert len(page.entries) + len(page.prefixes) <= limit
        entries += page.entries
        prefixes += page.prefixes
        token = page.token
        if token is None:
            return entries, prefixes


@contextmanager
def refused(*codes: str) -> Iterator[None]:
    """The store says no, with one of these codes and the status that belongs to it, and nothing changed."""
    with pytest.raises(BackendError) as caught:
        yield
    error = caught.value
    assert error.code in codes
    # A store that refuses before it has read the body may break the connection first; the attempt that it then answers is a repeated one.
    assert error.outcome is Outcome.REFUSED or error.retried
    if error.code in ERRORS:
        assert error.status == ERRORS[error.code][0]


async def outcomes(calls: Iterable[Awaitable[T]]) -> tuple[list[T], list[BackendError]]:
    """Run all at once: results, and refusals; anything else is raised."""
    results: list[T] = []
    errors: list[BackendError] = []
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, BackendError):
            errors.append(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            results.append(outcome)
    return results, errors


class TrickyPayload:
    """A payload of equal pieces that runs `surprise` in front of its last one."""

    def __init__(self, pieces: int, piece: bytes) -> None:
        self._pieces = pieces
        self._piece = piece
        self.size = pieces * len(piece)

    def surprise(self) -> None:
        """What happens in mid-body."""
        raise OSError("the source of the body is gone")

    def __iter__(self) -> Iterator[Buffer]:
        for _ in range(self._pieces - 1):
            yield self._piece
        self.surprise()
        yield self._piece
