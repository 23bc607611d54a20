"""A client's body on its way in: every promised digest computed beside the codecs and verified before anything becomes visible."""

import asyncio
import base64
import hmac
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from s4_codecs import Digests

from s4_gateway.backend.abc import Buffer
from s4_gateway.errors import S3Error
from s4_gateway.objects.core import Core

HASH_BATCH = 1 << 20
"""Bytes hashed in one go in the digest thread: a hop costs about 50 us, hashing 1 MiB about 1 ms."""

ALWAYS = ("md5", "crc64nvme")
"""Computed for every body: the logical ETag and the checksum that AWS keeps for objects that name none."""


class Source(Protocol):
    """The face of a request body that the object layer needs; `call.RequestBody` fits."""

    @property
    def size(self) -> int | None:
        """Bytes that will come; None when unknown."""
        ...

    @property
    def sha256(self) -> str | None:
        """Lower hex SHA-256 that they must have; None when not promised."""
        ...

    @property
    def trailers(self) -> Mapping[str, str]:
        """Lower-case trailer headers, complete when the iteration ended."""
        ...

    def __aiter__(self) -> AsyncIterator[Buffer]: ...


@dataclass(frozen=True, slots=True)
class Expected:
    """What the client said the body's digests are."""

    md5: bytes | None = None
    """Content-MD5, 16 bytes."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Lower-case algorithm -> base64 from `x-amz-checksum-*` headers."""
    trailing: frozenset[str] = frozenset()
    """Algorithms whose value comes as a trailer."""
    also: frozenset[str] = frozenset()
    """Algorithms to compute without a promised value (the upload's own)."""


@dataclass(frozen=True, slots=True)
class Digested:
    """A body that held what was promised."""

    size: int
    md5: bytes
    checksums: Mapping[str, str]
    """Lower-case algorithm -> base64; always has crc64nvme."""
    named: str | None
    """The algorithm that the client named, if any."""

    @property
    def etag(self) -> str:
        return self.md5.hex()


class Intake:
    """Passes a body through once, hashing on the way."""

    def __init__(self, core: Core, body: Source, expected: Expected) -> None:
        self._core = core
        self._body = body
        self._expected = expected
        self._named = tuple(sorted({*expected.checksums, *expected.trailing, *expected.also}))
        algorithms = {*ALWAYS, *self._named}
        if body.sha256 is not None:
            algorithms.add("sha256")
        self._digests = Digests(sorted(algorithms))
        self.size = 0

    async def chunks(self) -> AsyncGenerator[Buffer, None]:
        """The body's bytes; digests are complete when it ended."""
        loop = asyncio.get_running_loop()
        batch: list[Buffer] = []
        held = 0
        hashing: asyncio.Future[None] | None = None
        try:
            async for chunk in self._body:
                self.size += len(chunk)
                held += len(chunk)
                batch.append(chunk)
                if held >= HASH_BATCH:
                    if hashing is not None:
                        await hashing
                    hashing = loop.run_in_executor(self._core.digests, self._hash, batch)
                    batch, held = [], 0
                yield chunk
        finally:
            if hashing is not None:
                await asyncio.shield(hashing)
        if held >= self._core.options.inline_below:
            await loop.run_in_executor(self._core.digests, self._hash, batch)
        else:
            self._hash(batch)

    async def whole(self) -> bytes:
        """A small body in one piece, hashed on this thread; instead of `chunks`."""
        pieces = [chunk async for chunk in self._body]
        body = pieces[0] if len(pieces) == 1 and isinstance(pieces[0], bytes) else b"".join(pieces)
        self.size = len(body)
        self._digests.update(body)
        return body

    def verify(self) -> Digested:
        """Compare with every promise; call after `chunks` ended.

        Raises:
            S3Error: XAmzContentSHA256Mismatch, BadDigest, or InvalidDigest / InvalidRequest for a trailer that is malformed or missing.
        """
        if self._body.sha256 is not None and not hmac.compare_digest(self._digests.raw("sha256").hex(), self._body.sha256):
            raise S3Error("XAmzContentSHA256Mismatch")
        md5 = self._digests.raw("md5")
        if self._expected.md5 is not None and not hmac.compare_digest(md5, self._expected.md5):
            raise S3Error("BadDigest", "The Content-MD5 you specified did not match what we received.")
        promised = {**self._expected.checksums, **self._trailing()}
        for algorithm, value in promised.items():
            if not hmac.compare_digest(self._digests.base64(algorithm), value):
                raise S3Error("BadDigest", f"The {algorithm.upper()} you specified did not match the calculated checksum.")
        checksums = {name: self._digests.base64(name) for name in {*self._named, "crc64nvme"}}
        return Digested(self.size, md5, checksums, self._named[0] if self._named else None)

    def _trailing(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for algorithm in self._expected.trailing:
            value = self._body.trailers.get(f"x-amz-checksum-{algorithm}")
            if value is None:
                raise S3Error("InvalidRequest", f"The announced trailer x-amz-checksum-{algorithm} did not come.")
            try:
                raw = base64.b64decode(value, validate=True)
            except ValueError:
                raise S3Error("InvalidDigest", f"The trailer x-amz-checksum-{algorithm} is not base64.") from None
            found[algorithm] = base64.b64encode(raw).decode()
        return found

    def _hash(self, batch: Sequence[Buffer]) -> None:
        for chunk in batch:
            self._digests.update(chunk)
