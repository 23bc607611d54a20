"""Bugs planted into a gateway, by wrapping, are found by the schedules: a suite that finds nothing proves something only then."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest

from s4_gateway.backend.abc import Backend, BackendError, ListPage, Outcome, StoredObject, Written
from s4_gateway.backend.s3 import S3Backend, client, download, errors
from s4_gateway.backend.s3.http.connection import Connection
from s4_gateway.objects import face, put, reader, stream_upload
from s4_gateway.objects.body import VerifiedBody
from s4_gateway.objects.uploads import complete, shelf
from s4_gateway.state.cache import Entry
from s4_gateway.testing.weather.schedule import Schedule
from s4_gateway.wire import response

from .test_weather import broken_by

MOST_SEEDS = 300
"""What the bounded form plays."""
LIKELY_SEEDS = (3, 6, 21, 49, 81, 243)
"""Those of them that are known to find the most: they are tried first, to save time alone."""


async def unchecked_commit(backend: Backend, bucket: str, key: str, token: str, write: Awaitable[Written]) -> Written:
    """A commit that takes any object at the key for its own after a lost answer."""
    try:
        return await write
    except BackendError as error:
        if error.outcome is not Outcome.UNKNOWN:
            raise
        found: StoredObject = await backend.head_object(bucket, key)
        return Written(found.etag, found.modified, found.modified)


async def hasty_commit(backend: Backend, bucket: str, key: str, token: str, write: Awaitable[Written]) -> Written:
    """A commit that takes a lost answer for success."""
    try:
        return await write
    except BackendError as error:
        if error.outcome is not Outcome.UNKNOWN:
            raise
        return Written("0" * 32, 0, 2**40)


def early_end(original: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """A client that takes the end of the connection for the end of the body, whatever Content-Length says."""

    def connection_lost(self: Any, exc: Exception | None) -> None:
        if self.busy and self._answer is not None:
            self._keep = False
            self._ended(self._answer)
        original(self, exc)

    return connection_lost


async def uncounted_chunks(self: Any, expected: int) -> AsyncGenerator[bytes, None]:
    """A download that does not count what comes."""
    while chunk := await self._opened.response.piece():
        yield chunk
    self.drop()


async def unmeasured_next(self: VerifiedBody) -> Any:
    """A body whose length nobody compares with what was announced."""
    piece, self._first = self._first, None
    if piece is None:
        piece = await anext(self._chunks, None)
    if piece is None:
        raise StopAsyncIteration
    return piece


async def unmeasured_run(self: Any) -> None:
    """An answer whose length nobody compares with what its head says."""
    async for chunk in self._content.chunks:
        await self._send_chunk(chunk, more=True)
    await self._send_chunk(b"", more=False)


def any_version(original: Callable[..., Any]) -> Callable[..., Any]:
    """Reads that do not say which object they mean."""

    async def get_object(self: Any, bucket: str, key: str, **wanted: Any) -> Any:
        return await original(self, bucket, key, **{**wanted, "if_match": None})

    return get_object


def absent_on_failure(original: Callable[..., Any]) -> Callable[..., Any]:
    """Reading a record where a failure passes for an absence."""

    async def read(self: Any, shelf_name: str, key: str) -> bytes | None:
        try:
            return await original(self, shelf_name, key)  # type: ignore[no-any-return]
        except BackendError:
            return None

    return read


def never_transient(*args: Any, **kwargs: Any) -> Any:
    """An answer of a proxy read as one of the store."""
    return errors.failure("NoSuchKey", 404, "nothing")


def unconditional(original: Callable[..., Any]) -> Callable[..., Any]:
    """Conditions that are looked at once and then forgotten."""

    async def resolve(self: Any, *args: Any) -> None:
        await original(self, *args)

    return resolve


def kept_bytes(original: Callable[[Any, bytes], None]) -> Callable[[Any, bytes], None]:
    """A connection that takes what it was told between two requests for the answer to the second."""

    def data_received(self: Any, data: bytes) -> None:
        if self.busy:
            original(self, data)
        else:
            self._held += data

    return data_received


def ended_page(original: Callable[[bytes], ListPage]) -> Callable[[bytes], ListPage]:
    """A listing that ends where it is cut."""
    return lambda body: original(body if b"ContinuationToken>" in body else body.replace(b"<IsTruncated>true<", b"<IsTruncated>false<"))


CANARIES: dict[str, list[tuple[Any, str, Any]]] = {
    "commit without a look at the token": [(module, "commit", unchecked_commit) for module in (put, stream_upload, complete)],
    "lost answer taken for success": [(module, "commit", hasty_commit) for module in (put, stream_upload, complete)],
    "short bodies pass": [
        (Connection, "connection_lost", early_end(Connection.connection_lost)),
        (download._Body, "chunks", uncounted_chunks),
        (VerifiedBody, "__anext__", unmeasured_next),
        (response._Stream, "_run", unmeasured_run),
    ],
    "a failure is an absence": [(shelf.Shelf, "read", absent_on_failure(shelf.Shelf.read))],
    "a proxy's 404 is the store's": [(errors, "unanswered", never_transient)],
    "answers nobody asked for": [(Connection, "data_received", kept_bytes(Connection.data_received))],
    "conditions are not passed on": [(put.Putter, "resolve", unconditional(put.Putter.resolve))],
    "reads mix two objects": [
        (S3Backend, "get_object", any_version(S3Backend.get_object)),
        (Entry, "describes", lambda *_: True),
        (face, "require_same", lambda *_: None),
        (reader, "require_same", lambda *_: None),
    ],
    "a list that tells no way on is over": [(client, "list_page", ended_page(client.list_page))],
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Without the gateway's log of each fault."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", CANARIES)
def test_canaries_are_found(name: str) -> None:
    """A gateway with this bug fails one of the schedules that every run of the suite plays."""
    with ExitStack() as stack:
        for place, attribute, bug in CANARIES[name]:
            stack.enter_context(patch.object(place, attribute, bug))
        assert any(broken_by(Schedule.of(seed)) is not None for seed in (*LIKELY_SEEDS, *range(MOST_SEEDS)))
