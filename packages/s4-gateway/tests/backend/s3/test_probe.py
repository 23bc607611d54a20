"""Trying out what a store can do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from s4_gateway.backend.abc import BackendError, Capabilities, Condition, Pieces
from s4_gateway.backend.memory_store import Versioning
from s4_gateway.backend.s3 import Origin, S3Backend, StaticCredentials, client
from s4_gateway.backend.s3.probe import known
from s4_gateway.errors import SettingsError
from s4_gateway.testing.exchange import Received
from s4_gateway.testing.mini_s3 import MiniS3, Quirks

from .server import ETAG, KEYS, Reply, error_reply, options, serving


@asynccontextmanager
async def started(mini: MiniS3, *buckets: str, **changes: object) -> AsyncIterator[S3Backend]:
    """A client of this store; buckets that are named `versioned` or `locked` are."""
    for bucket in buckets:
        mini.store.create_bucket(bucket, None)
        if bucket in ("versioned", "locked"):
            mini.store.set_versioning(bucket, Versioning.ENABLED, locked=bucket == "locked")
    async with serving(mini) as server:
        backend = S3Backend(options(server.url, **changes), StaticCredentials(KEYS))
        await backend.start()
        try:
            yield backend
        finally:
            await backend.close()


def left(mini: MiniS3, bucket: str) -> list[str]:
    """What is in a bucket."""
    keys = [entry.key for entry in mini.store.page(bucket, prefix="", delimiter="", start_after="", token=None, limit=100).entries]
    return keys + [upload.key for upload in mini.store.uploads(bucket, "")]


async def test_store_like_s3() -> None:
    """Everything is tried, nothing is left, and what S3 can do is found."""
    mini = MiniS3(Capabilities(metadata_limit=2048))
    async with started(mini, "bucket") as backend:
        report = backend.report

        assert report.bucket == "bucket"
        assert report.server == "mini"
        assert report.clock_skew is not None
        assert abs(report.clock_skew) < 3
        facts = {name: (fact.value, fact.origin) for name in FACTS if (fact := getattr(report, name))}
        tried = Origin.TRIED
        assert facts == {
            "conditional_put": (True, tried),
            "conditional_complete": (True, tried),
            "conditional_copy": (True, tried),
            "min_part_size": (5 * 2**20, tried),
            "metadata_limit": (2048, tried),
            "metadata_bytes": ("any", tried),
            "ordered": (True, tried),
            "strict_parts": (False, Origin.ASSUMED),
        }
        assert backend.capabilities == Capabilities()
        assert left(mini, "bucket") == []
        assert report.leftovers == []


FACTS = (
    "conditional_put",
    "conditional_complete",
    "conditional_copy",
    "min_part_size",
    "metadata_limit",
    "metadata_bytes",
    "ordered",
    "strict_parts",
)


@pytest.mark.parametrize(
    ("quirks", "capabilities", "fact", "value"),
    [
        (Quirks(ignores_put_conditions=True), Capabilities(), "conditional_put", False),
        (Quirks(refuses_conditions=True), Capabilities(), "conditional_put", False),
        (Quirks(ignores_complete_conditions=True), Capabilities(), "conditional_complete", False),
        (Quirks(refuses_conditions=True), Capabilities(), "conditional_complete", False),
        (Quirks(ignores_copy_conditions=True), Capabilities(), "conditional_copy", False),
        (Quirks(fails_copy=True), Capabilities(), "conditional_copy", False),
        (Quirks(), Capabilities(min_part_size=0), "min_part_size", 0),
        (Quirks(), Capabilities(min_part_size=1000), "min_part_size", 5 * 2**20),
        (Quirks(), Capabilities(metadata_limit=100_000), "metadata_limit", 4096),
        (Quirks(counts_meta_prefix=True), Capabilities(metadata_limit=100_000), "metadata_limit", 1696),
        (Quirks(), Capabilities(metadata_limit=600), "metadata_limit", 512),
        (Quirks(), Capabilities(metadata_limit=50), "metadata_limit", 0),
        (Quirks(keeps_values="utf-8"), Capabilities(), "metadata_bytes", "utf-8"),
        (Quirks(keeps_values="ascii"), Capabilities(), "metadata_bytes", "ascii"),
        (Quirks(unordered=True), Capabilities(), "ordered", False),
    ],
)
async def test_oddities_are_found(quirks: Quirks, capabilities: Capabilities, fact: str, value: object) -> None:
    """Each way in which a store differs shows, and its scratch objects are gone."""
    mini = MiniS3(capabilities, quirks)
    async with started(mini, "bucket") as backend:
        found = getattr(backend.report, fact)

        assert (found.value, found.origin) == (value, Origin.TRIED)
        assert left(mini, "bucket") == []


async def test_conditions_are_not_sent_to_a_store_that_ignores_them() -> None:
    """A conditional write is refused here, before it could overwrite anything."""
    mini = MiniS3(quirks=Quirks(ignores_put_conditions=True, ignores_complete_conditions=True))
    async with started(mini, "bucket") as backend:
        mini.store.put("bucket", "key", b"old", headers={}, metadata={})
        for condition in (Condition(if_absent=True), Condition(if_match="x")):
            with pytest.raises(BackendError) as caught:
                await backend.put_object("bucket", "key", Pieces.of(b"new"), headers={}, metadata={}, condition=condition)
            assert (caught.value.code, caught.value.status) == ("NotImplemented", 501)
            with pytest.raises(BackendError) as caught:
                await backend.complete_multipart("bucket", "key", "id", [(1, "x")], condition=condition)
            assert (caught.value.code, caught.value.status) == ("NotImplemented", 501)

        assert mini.store.head("bucket", "key")[1] == b"old"


async def test_buckets_that_keep_versions_are_left_alone() -> None:
    """Scratch objects would stay there for ever."""
    async with started(MiniS3(), "locked", "plain", "versioned") as backend:
        assert backend.report.bucket == "plain"
    async with started(MiniS3(), "locked", "versioned") as backend:
        assert backend.report.bucket is None


async def test_given_bucket() -> None:
    """A bucket that was named is used, with versions too; every version is deleted."""
    mini = MiniS3()
    async with started(mini, "plain", "versioned", probe_bucket="versioned") as backend:
        assert backend.report.bucket == "versioned"
        assert backend.report.leftovers == []
        assert mini.store._bucket("versioned").objects == {}


@pytest.mark.parametrize("quirks", [Quirks(readonly=True), Quirks(hides_buckets=True)])
async def test_nothing_may_be_written(quirks: Quirks) -> None:
    """Then all is assumed to be as in S3, and said to be."""
    async with started(MiniS3(quirks=quirks), "bucket") as backend:
        assert backend.report.bucket is None
        assert backend.report.conditional_put.origin is Origin.ASSUMED
        assert backend.capabilities == Capabilities()


async def test_no_bucket_at_all() -> None:
    """A fresh store is no error."""
    async with started(MiniS3()) as backend:
        assert backend.report.bucket is None


@pytest.mark.parametrize("ignores", [False, True])
async def test_first_bucket_made_by_another_gateway(ignores: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that found no bucket at its start tries the store out later, before a conditional write."""
    monkeypatch.setattr(client, "LEARN_AGAIN_SECONDS", 0.0)
    mini = MiniS3(quirks=Quirks(ignores_put_conditions=ignores))
    async with started(mini) as backend:
        mini.store.create_bucket("bucket", None)
        written = await backend.put_object("bucket", "source", Pieces.of(b"1"), headers={}, metadata={})
        assert not backend.report.tried
        if ignores:
            with pytest.raises(BackendError) as refused:
                await backend.put_object("bucket", "source", Pieces.of(b"2"), headers={}, metadata={}, condition=Condition(if_absent=True))
            assert refused.value.code == "NotImplemented"
        else:
            await backend.copy_object(
                "bucket",
                "copy",
                source_bucket="bucket",
                source_key="source",
                source_version_id=None,
                source_etag=written.etag,
                headers={},
                metadata={},
                condition=Condition(if_absent=True),
            )
        assert backend.report.tried
        assert backend.capabilities.conditional_put is not ignores


async def test_store_without_versions() -> None:
    """A store that does not know the question has no versions."""
    async with started(MiniS3(quirks=Quirks(no_versioning=True)), "bucket") as backend:
        assert backend.report.bucket == "bucket"


async def test_leftovers_are_told() -> None:
    """Keys that may not delete are named with what they left."""
    mini = MiniS3(quirks=Quirks(keeps_objects=True))
    async with started(mini, "bucket") as backend:
        assert backend.report.leftovers == sorted(left(mini, "bucket"))
        assert all(key.startswith(".s4mpu/probe-") for key in backend.report.leftovers)


async def test_store_that_fails_while_it_is_tried_out() -> None:
    """A failure is not "cannot": the start fails, and what was written is deleted."""
    mini = MiniS3()
    mini.store.create_bucket("bucket", None)
    async with serving(mini) as server:
        backend = S3Backend(options(server.url, probe_bucket="bucket"), StaticCredentials(KEYS))
        written = Reply(headers={"etag": f'"{ETAG}"'})
        server.script(error_reply("AccessDenied", 403), written, *[error_reply("InternalError", 500)] * 3)
        with pytest.raises(BackendError) as caught:
            await backend.start()

        assert caught.value.code == "InternalError"
        assert server.received[-1].query == {"delete": ""}
        with pytest.raises(RuntimeError, match="not started"):
            await backend.ping()


async def test_throttling_says_nothing_of_what_a_store_can_do() -> None:
    """A store that asks for less while its conditions are tried out has not refused them: no gateway starts on a wrong idea of it."""
    mini = MiniS3()
    mini.store.create_bucket("bucket", None)

    async def throttled(request: Received) -> Reply:
        return error_reply("TooManyRequests", 429) if request.headers.get("if-none-match") else await mini(request)

    async with serving(throttled) as server:
        with pytest.raises(BackendError) as caught:
            await S3Backend(options(server.url), StaticCredentials(KEYS)).start()
    assert caught.value.code == "SlowDown"
    assert left(mini, "bucket") == []


async def test_a_proxy_that_sends_twice_does_not_hide_conditions() -> None:
    """The second half of a conditional PUT is refused because of the first: such a store honours conditions."""
    mini = MiniS3()

    async def twice(request: Received) -> Reply:
        if request.method == "PUT" and "if-none-match" in request.headers:
            await mini(request)
        return await mini(request)

    mini.store.create_bucket("bucket", None)
    async with serving(twice) as server:
        backend = S3Backend(options(server.url), StaticCredentials(KEYS))
        await backend.start()
        try:
            assert backend.capabilities.conditional_put
        finally:
            await backend.close()


async def test_gateway_in_front_of_a_gateway() -> None:
    """The inner one would take our metadata off again."""
    async with serving() as server:
        server.script(Reply(403, headers={"server": "s4-gateway"}))
        backend = S3Backend(options(server.url), StaticCredentials(KEYS))
        with pytest.raises(SettingsError, match="endpoint-url"):
            await backend.start()


@pytest.mark.parametrize(
    "code",
    ["InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "ExpiredToken", "InvalidToken", "AuthorizationHeaderMalformed"],
)
async def test_refused_keys(code: str) -> None:
    """What is wrong with keys, region or clock is said at the start."""
    async with serving() as server:
        server.script(error_reply(code, 403))
        backend = S3Backend(options(server.url), StaticCredentials(KEYS))
        with pytest.raises(SettingsError, match=f"{code}: it says why"):
            await backend.start()


async def test_store_that_is_not_there() -> None:
    """An endpoint where nobody listens is an error at the start."""
    async with serving() as server:
        await server.close()
        backend = S3Backend(options(server.url), StaticCredentials(KEYS))
        with pytest.raises(BackendError) as caught:
            await backend.start()

        assert caught.value.code == "ServiceUnavailable"


@pytest.mark.parametrize(
    ("url", "setting", "value", "origin"),
    [
        ("https://s3.eu-west-1.amazonaws.com", None, False, Origin.ASSUMED),
        ("https://account.r2.cloudflarestorage.com", None, True, Origin.KNOWN),
        ("https://account.r2.cloudflarestorage.com", False, False, Origin.KNOWN),
        ("https://s3express-usw2-az1.us-west-2.amazonaws.com", None, True, Origin.KNOWN),
        ("http://localhost:9000", True, True, Origin.KNOWN),
    ],
)
def test_strict_parts(url: str, setting: bool | None, value: bool, origin: Origin) -> None:
    """Known by name, or set; trying it would take megabytes."""
    fact = known(url, strict_parts=setting).strict_parts

    assert (fact.value, fact.origin) == (value, origin)
