"""Trying out what a store can do, with scratch objects under a reserved prefix that are deleted afterwards."""

import secrets
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from s4_gateway.backend.abc import Backend, BackendError, Condition, Outcome, Pieces, Written
from s4_gateway.backend.s3.errors import TRANSIENT_STATUS
from s4_gateway.backend.s3.report import Fact, Origin, StoreReport, Value
from s4_gateway.backend.s3.retries import Greeting
from s4_gateway.errors import SettingsError

SCRATCH_PREFIX = ".s4mpu/probe-"

CANDIDATES = 16
"""Buckets looked at for one to write to."""

METADATA_STEPS = (4096, 2048, 1696, 1024, 512, 256)
"""Limits tried, in bytes. 1,696 is what 32 entries have left where a store counts the prefix `x-amz-meta-` within 2,048."""

METADATA_ENTRIES = 32

S3_MIN_PART_SIZE = 5 * 2**20
"""What a store that has a minimum is taken to mean: finding out its own would take larger parts than are worth sending at each start."""

# Hosts whose parts must be consecutive and of one size: Cloudflare R2 and S3 Express directory buckets, by their documentation.
_STRICT_PARTS = (".r2.cloudflarestorage.com", "s3express-")

_REFUSED_KEYS = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)

_WRONG_ETAG = "0" * 32
_ABSENT = Condition(if_absent=True)
_STALE = Condition(if_match=_WRONG_ETAG)


def check_greeting(greeting: Greeting, endpoint_url: str) -> None:
    """Refuse a store that cannot be worked with.

    Raises:
        SettingsError: it is an S4 gateway, which would take our metadata off again; or it refuses our keys, region or clock.
    """
    if greeting.server.lower().startswith("s4-gateway"):
        raise SettingsError(f"endpoint-url {endpoint_url} is an S4 gateway: give the address of the store behind it")
    if greeting.code in _REFUSED_KEYS:
        raise SettingsError(f"the storage backend at {endpoint_url} refuses our requests: {greeting.code}: {greeting.message}")


async def find_bucket(backend: Backend) -> str | None:
    """A bucket without versions or locks, in which scratch objects leave nothing behind; None if there is none or none may be seen."""
    try:
        buckets = await backend.list_buckets()
    except BackendError as error:
        _raise_failure(error)
        return None
    for bucket in buckets[:CANDIDATES]:
        try:
            state = await backend.head_bucket(bucket.name)
        except BackendError as error:
            _raise_failure(error)
            continue
        if not state.versioned and not state.locked:
            return bucket.name
    return None


def known(endpoint_url: str, *, strict_parts: bool | None) -> StoreReport:
    """What settings and the endpoint's name tell."""
    host = urlsplit(endpoint_url).hostname or ""
    if strict_parts is not None:
        return StoreReport(strict_parts=Fact(strict_parts, Origin.KNOWN))
    return StoreReport(strict_parts=Fact(True, Origin.KNOWN)) if any(name in host for name in _STRICT_PARTS) else StoreReport()


async def try_out(backend: Backend, bucket: str, report: StoreReport) -> StoreReport:
    """`report` with what was seen in `bucket`; unchanged if nothing may be written there.

    Args:
        backend: one that sends every condition it is given.
        bucket: best one without versions.
        report: what is known already.

    Raises:
        BackendError: the store failed in the middle, so nothing can be said.
    """
    scratch = _Scratch(backend, bucket)
    try:
        if not await scratch.is_writable():
            return report
        report = replace(
            report,
            bucket=bucket,
            conditional_put=_tried(await _conditional_put(scratch)),
            conditional_complete=_tried(await _conditional_complete(scratch)),
            conditional_copy=_tried(await _conditional_copy(scratch)),
            min_part_size=await _min_part_size(scratch),
            metadata_limit=_tried(await _metadata_limit(scratch)),
            metadata_bytes=_tried(await _metadata_bytes(scratch)),
            ordered=_tried(await _ordered(scratch)),
        )
    finally:
        leftovers = await scratch.clean()
    return replace(report, leftovers=leftovers)


class _Scratch:
    """Scratch objects in one bucket, and the way to be rid of them."""

    def __init__(self, backend: Backend, bucket: str) -> None:
        self.backend = backend
        self.bucket = bucket
        self.prefix = f"{SCRATCH_PREFIX}{secrets.token_hex(8)}/"
        self._written: set[tuple[str, str | None]] = set()
        self._uploads: list[tuple[str, str]] = []

    async def is_writable(self) -> bool:
        """Put the object `B`; False if that is refused."""
        return await _accepted(self.put("B"))

    async def put(self, name: str, *, metadata: Mapping[str, str] | None = None, condition: Condition | None = None) -> Written:
        key = self.prefix + name
        body = Pieces.of(name.encode())
        put = self.backend.put_object(self.bucket, key, body, headers={}, metadata=metadata or {}, condition=condition)
        return await self._noted(key, put)

    async def copy(self, source: str, target: str, *, etag: str, condition: Condition) -> Written:
        key = self.prefix + target
        copied = self.backend.copy_object(
            self.bucket,
            key,
            source_bucket=self.bucket,
            source_key=self.prefix + source,
            source_version_id=None,
            source_etag=etag,
            headers={},
            metadata={"copied": "1"},
            condition=condition,
        )
        return await self._noted(key, copied)

    async def upload(self, name: str, parts: int, condition: Condition | None = None) -> Written:
        """A multipart upload of parts of one byte."""
        key = self.prefix + name
        upload_id = await self.backend.create_multipart(self.bucket, key, headers={}, metadata={})
        self._uploads.append((key, upload_id))
        etags = [await self.backend.upload_part(self.bucket, key, upload_id, number, Pieces.of(b"p")) for number in range(1, parts + 1)]
        completed = self.backend.complete_multipart(self.bucket, key, upload_id, list(enumerate(etags, 1)), condition=condition)
        return await self._noted(key, completed)

    async def clean(self) -> Sequence[str]:
        """Delete everything; the keys that are left."""
        for key, upload_id in self._uploads:
            try:
                await self.backend.abort_multipart(self.bucket, key, upload_id)
            except BackendError:
                # Most are completed. One that is not is found by its prefix, like any orphan of a crash.
                continue
        if not self._written:
            return []
        try:
            outcomes = await self.backend.delete_objects(
                self.bucket, sorted(self._written, key=lambda target: (target[0], target[1] or ""))
            )
        except BackendError:
            return sorted({key for key, _ in self._written})
        return sorted({outcome.key for outcome in outcomes if outcome.error is not None})

    async def _noted(self, key: str, write: Awaitable[Written]) -> Written:
        """Await a write and note what has to be deleted: nothing only after a definite refusal."""
        try:
            written = await write
        except BaseException as error:
            if not (isinstance(error, BackendError) and error.outcome is Outcome.REFUSED):
                self._written.add((key, None))
            raise
        self._written.add((key, written.version_id))
        return written


async def _conditional_put(scratch: _Scratch) -> bool:
    try:
        await scratch.put("a", condition=_ABSENT)
    except BackendError as error:
        _raise_failure(error)
        if error.status != 412:
            await scratch.put("a")
            return False
        # The name is new, so what is there is our own: a proxy has sent it twice.
    etag = (await scratch.put("a")).etag
    return (
        await _prevented(scratch.put("a", condition=_ABSENT))
        and await _prevented(scratch.put("a", condition=_STALE))
        and await _accepted(scratch.put("a", condition=Condition(if_match=etag)))
    )


async def _conditional_complete(scratch: _Scratch) -> bool:
    return await _prevented(scratch.upload("B", 1, _ABSENT)) and await _prevented(scratch.upload("B", 1, _STALE))


async def _conditional_copy(scratch: _Scratch) -> bool:
    etag = (await scratch.put("B")).etag
    return await _prevented(scratch.copy("B", "a", etag=etag, condition=_ABSENT)) and await _prevented(
        scratch.copy("B", "a", etag=etag, condition=_STALE)
    )


async def _min_part_size(scratch: _Scratch) -> Fact:
    try:
        await scratch.upload("m", 2)
    except BackendError as error:
        _raise_failure(error)
        return Fact(S3_MIN_PART_SIZE, Origin.TRIED if error.code == "EntityTooSmall" else Origin.ASSUMED)
    return Fact(0, Origin.TRIED)


async def _metadata_limit(scratch: _Scratch) -> int:
    names = [f"n{number:02d}" for number in range(METADATA_ENTRIES)]
    for limit in METADATA_STEPS:
        value = "v" * (limit // METADATA_ENTRIES - len(names[0]))
        if await _accepted(scratch.put("a", metadata=dict.fromkeys(names, value))):
            return limit
    return 0


async def _metadata_bytes(scratch: _Scratch) -> str:
    if not await _keeps(scratch, "caf\u00e9 \u20ac".encode().decode("latin-1")):
        return "ascii"
    return "any" if await _keeps(scratch, "\xe9\xff") else "utf-8"


async def _keeps(scratch: _Scratch, value: str) -> bool:
    metadata = {"value": value}
    if not await _accepted(scratch.put("a", metadata=metadata)):
        return False
    return (await scratch.backend.head_object(scratch.bucket, scratch.prefix + "a")).metadata == metadata


async def _ordered(scratch: _Scratch) -> bool:
    """Lower case behind upper case, and a key beyond the basic plane behind one at its end, which UTF-16 order turns round."""
    for name in ("\uff5e", "\U0001f600"):
        await _accepted(scratch.put(name))
    page = await scratch.backend.list_objects(scratch.bucket, prefix=scratch.prefix)
    keys = [entry.key for entry in page.entries]
    return len(keys) > 1 and keys == sorted(keys, key=str.encode)


async def _accepted(write: Awaitable[Written]) -> bool:
    """The store did it."""
    try:
        await write
    except BackendError as error:
        _raise_failure(error)
        return False
    return True


async def _prevented(write: Awaitable[Written]) -> bool:
    """The store refused because the condition did not hold, and not because it does not know such conditions."""
    try:
        await write
    except BackendError as error:
        _raise_failure(error)
        return error.status == 412
    return False


def _tried(value: Value) -> Fact:
    return Fact(value, Origin.TRIED)


def _raise_failure(error: BackendError) -> None:
    """A refusal is an answer; a failure of the store is none, and neither is one that asks for less."""
    if error.outcome is Outcome.UNKNOWN or error.status in TRANSIENT_STATUS:
        raise error
