"""Buckets, listings, batches and uploads: what is asked and how the answer is read."""

import hashlib
from base64 import b64encode
from xml.etree import ElementTree

import pytest

from s4_gateway.backend.abc import BackendError, Outcome, Pieces
from s4_gateway.backend.memory_store import Versioning
from s4_gateway.testing.mini_s3 import MiniS3, Quirks

from .server import ETAG, Reply, connected, error_reply, serving


@pytest.mark.parametrize(
    ("region", "location", "constraint"),
    [
        ("us-east-1", None, None),
        ("us-east-1", "eu-west-1", "eu-west-1"),
        ("eu-west-1", None, "eu-west-1"),
        ("eu-west-1", "us-east-1", None),
    ],
)
async def test_location_of_a_new_bucket(region: str, location: str | None, constraint: str | None) -> None:
    """The region asked for, else the endpoint's; us-east-1 is said by saying nothing."""
    async with serving() as server, connected(server, region=region) as backend:
        server.script(Reply(), error_reply("AccessDenied", 403))
        await backend.create_bucket("bucket", location=location)

        body = server.received[0].body
        found = ElementTree.fromstring(body)[0].text if body else None
        assert found == constraint


async def test_list_asks_for_one_page_of_encoded_names() -> None:
    """`start_after` counts only without a token, and what is empty is not sent."""
    page = Reply(body=b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
    async with serving() as server, connected(server) as backend:
        server.script(page, page, page)
        await backend.list_objects("bucket")
        await backend.list_objects("bucket", prefix="a b/", delimiter="/", start_after="a b/\x01é", limit=5)
        await backend.list_objects("bucket", start_after="x", token="t+/=")

        assert [request.query for request in server.received] == [
            {"list-type": "2", "encoding-type": "url", "max-keys": "1000"},
            {"list-type": "2", "encoding-type": "url", "max-keys": "5", "prefix": "a b/", "delimiter": "/", "start-after": "a b/\x01é"},
            {"list-type": "2", "encoding-type": "url", "max-keys": "1000", "continuation-token": "t+/="},
        ]


async def test_all_pages_of_buckets_are_read() -> None:
    """A store may give its buckets in pages."""
    bucket = "<Bucket><Name>{}</Name><CreationDate>2023-11-14T22:13:20Z</CreationDate></Bucket>"
    first = (
        f"<ListAllMyBucketsResult><Buckets>{bucket.format('a')}</Buckets><ContinuationToken>t</ContinuationToken></ListAllMyBucketsResult>"
    )
    async with serving() as server, connected(server) as backend:
        last = f"<ListAllMyBucketsResult><Buckets>{bucket.format('b')}</Buckets></ListAllMyBucketsResult>"
        server.script(Reply(body=first.encode()), Reply(body=last.encode()))

        assert [found.name for found in await backend.list_buckets()] == ["a", "b"]
        assert server.received[1].query == {"continuation-token": "t"}


async def test_uploads_whose_listing_does_not_move_on() -> None:
    """A store that gives the same marker again does not keep us busy for ever."""
    marker = b"<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>"
    page = b"<ListMultipartUploadsResult>" + marker + b"</ListMultipartUploadsResult>"
    async with serving() as server, connected(server) as backend:
        server.script(Reply(body=page), Reply(body=page))
        with pytest.raises(BackendError, match="endless"):
            await backend.list_multipart("bucket")


async def test_batch_is_protected_and_complete() -> None:
    """DeleteObjects carries Content-MD5, and keys that XML cannot hold are deleted one by one, all outcomes in the order asked."""
    mini = MiniS3()
    async with serving(mini) as server, connected(server, probe_bucket="bucket") as backend:
        await backend.create_bucket("bucket")
        keys = ["plain", "bell\x07", "cr\rlf\n", "missing", "\ufffe", "plain"]
        for key in keys[:3]:
            mini.store.put("bucket", key, b"x", headers={}, metadata={})
        server.received.clear()
        outcomes = await backend.delete_objects("bucket", [(key, None) for key in keys])

        assert [(outcome.key, outcome.error) for outcome in outcomes] == [(key, None) for key in keys]
        assert mini.store.page("bucket", prefix="", delimiter="", start_after="", token=None, limit=10).entries == []
        batch = server.received[0]
        assert batch.headers["content-md5"] == b64encode(hashlib.md5(batch.body).digest()).decode()
        assert [request.method for request in server.received] == ["POST", "DELETE", "DELETE"]
        assert batch.body.count(b"<Key>plain</Key>") == 1


async def test_batch_outcomes_of_versions() -> None:
    """Markers made and versions deleted are told apart, as single deletes tell them."""
    mini = MiniS3()
    async with serving(mini) as server, connected(server) as backend:
        await backend.create_bucket("bucket")
        mini.store.set_versioning("bucket", Versioning.ENABLED)
        version = mini.store.put("bucket", "a", b"x", headers={}, metadata={}).version_id
        assert version is not None

        single = await backend.delete_object("bucket", "a")
        assert single.delete_marker
        assert single.version_id is None
        gone_marker = await backend.delete_object("bucket", "a", version_id=single.marker_version_id)
        assert (gone_marker.delete_marker, gone_marker.marker_version_id) == (True, single.marker_version_id)

        batch = await backend.delete_objects("bucket", [("a", version), ("b", None)])
        assert (batch[0].version_id, batch[0].delete_marker, batch[0].marker_version_id) == (version, False, None)
        assert batch[1].delete_marker
        assert batch[1].marker_version_id is not None


async def test_batch_outcomes_of_all_kinds() -> None:
    """Errors stay with their key; one that the store does not mention may or may not be gone."""
    body = (
        "<DeleteResult><Deleted><Key>gone</Key></Deleted><Error><Key>kept</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        "<Error><Key>broken</Key><Code>InternalError</Code></Error></DeleteResult>"
    )
    async with serving() as server, connected(server) as backend:
        server.script(Reply(body=body.encode()), error_reply("AccessDenied", 403))
        outcomes = await backend.delete_objects(
            "bucket", [("kept", None), ("gone", None), ("untold", None), ("broken", None), ("\x01", None)]
        )

        told = [(outcome.key, outcome.error and (outcome.error.code, outcome.error.status, outcome.error.outcome)) for outcome in outcomes]
        assert told == [
            ("kept", ("AccessDenied", 403, Outcome.REFUSED)),
            ("gone", None),
            ("untold", ("InternalError", 500, Outcome.UNKNOWN)),
            ("broken", ("InternalError", 500, Outcome.UNKNOWN)),
            ("\x01", ("AccessDenied", 403, Outcome.REFUSED)),
        ]


@pytest.mark.parametrize("count", [0, 1001])
async def test_batch_size_is_bounded(count: int) -> None:
    """S3 takes 1 to 1,000 keys."""
    async with serving() as server, connected(server) as backend:
        with pytest.raises(BackendError) as caught:
            await backend.delete_objects("bucket", [("k", None)] * count)

        assert (caught.value.code, server.received) == ("MalformedXML", [])


@pytest.mark.parametrize(
    ("versioning", "lock", "expected", "requests"),
    [
        (Reply(body=b"<VersioningConfiguration/>"), None, (False, False), 2),
        (
            Reply(body=b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"),
            error_reply("ObjectLockConfigurationNotFoundError", 404),
            (True, False),
            3,
        ),
        (
            Reply(body=b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
            Reply(body=b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>"),
            (True, True),
            3,
        ),
        (
            Reply(body=b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
            error_reply("NotImplemented", 501),
            (True, False),
            3,
        ),
        (error_reply("NotImplemented", 501), None, (False, False), 2),
        (error_reply("MethodNotAllowed", 405), None, (False, False), 2),
    ],
)
async def test_bucket_state(versioning: Reply, lock: Reply | None, expected: tuple[bool, bool], requests: int) -> None:
    """Versions and locks are asked for; a store that has none of them says so."""
    async with serving() as server, connected(server) as backend:
        server.script(Reply(headers={"x-amz-bucket-region": "eu-west-9"}), versioning, *([] if lock is None else [lock]))
        state = await backend.head_bucket("bucket")

        assert (state.region, state.versioned, state.locked) == ("eu-west-9", *expected)
        assert (len(server.received), backend.requests) == (requests, {"head_bucket": requests})


@pytest.mark.parametrize(
    "replies",
    [
        [error_reply("AccessDenied", 403)],
        [Reply(body=b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"), error_reply("AccessDenied", 403)],
    ],
)
async def test_state_that_may_not_be_seen_is_not_absent(replies: list[Reply]) -> None:
    """A failure to ask is raised: taking it for "no versions" would put records where they cannot be deleted."""
    async with serving() as server, connected(server) as backend:
        server.script(Reply(), *replies)
        with pytest.raises(BackendError) as caught:
            await backend.head_bucket("bucket")

        assert caught.value.code == "AccessDenied"


@pytest.mark.parametrize("page", [b"<html/>", b"<Error><Code>InternalError</Code></Error>", b"<ListBucketsResult/>"])
async def test_other_document_is_not_an_empty_answer(page: bytes) -> None:
    """The welcome page of a proxy is neither an empty bucket nor a bucket without versions."""
    async with serving() as server, connected(server) as backend:
        calls = [backend.list_objects, backend.list_multipart, backend.head_bucket]
        for call in calls:
            server.script(*[Reply()] * (call == backend.head_bucket), Reply(body=page))
            with pytest.raises(BackendError, match="unusable"):
                await call("bucket")
        server.script(Reply(body=page))
        with pytest.raises(BackendError, match="unusable"):
            await backend.list_buckets()


@pytest.mark.parametrize(("number", "code"), [(0, "InvalidArgument"), (10_001, "InvalidArgument")])
async def test_part_numbers_are_bounded(number: int, code: str) -> None:
    """S3 has parts 1 to 10,000."""
    async with serving() as server, connected(server) as backend:
        with pytest.raises(BackendError) as caught:
            await backend.upload_part("bucket", "key", "id", number, Pieces.of(b"x"))

        assert (caught.value.code, server.received) == (code, [])


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"<InitiateMultipartUploadResult/>"),
        Reply(body=b"<InitiateMultipartUploadResult><UploadId/></InitiateMultipartUploadResult>"),
        Reply(body=b"rubbish"),
        Reply(body=b"<html><UploadId>x</UploadId></html>"),
    ],
)
async def test_upload_without_an_id(reply: Reply) -> None:
    """An upload may be open that nobody can name."""
    async with serving() as server, connected(server) as backend:
        server.script(reply)
        with pytest.raises(BackendError) as caught:
            await backend.create_multipart("bucket", "key", headers={}, metadata={})

        assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("headers", [{}, {"etag": '""'}])
async def test_write_without_an_etag(headers: dict[str, str]) -> None:
    """What was written cannot be named."""
    async with serving() as server, connected(server) as backend:
        server.script(Reply(headers=headers), Reply(headers=headers))
        with pytest.raises(BackendError) as caught:
            await backend.put_object("bucket", "key", Pieces.of(b"x"), headers={}, metadata={})
        assert caught.value.outcome is Outcome.UNKNOWN
        with pytest.raises(BackendError) as caught:
            await backend.upload_part("bucket", "key", "id", 1, Pieces.of(b"x"))
        assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("etag", [f'"{ETAG}-7"', f"{ETAG}-7"])
async def test_etags_come_unquoted(etag: str) -> None:
    """Some stores forget the quotes."""
    async with serving() as server, connected(server) as backend:
        server.script(Reply(headers={"etag": etag, "x-amz-version-id": "v1"}))
        written = await backend.put_object("bucket", "key", Pieces.of(b"x"), headers={}, metadata={})

        assert (written.etag, written.version_id) == (f"{ETAG}-7", "v1")


@pytest.mark.parametrize("reply", [Reply(), error_reply("AccessDenied", 403)])
async def test_store_that_answers_is_ready(reply: Reply) -> None:
    """Keys need no right to list buckets for the store to be ready."""
    async with serving() as server, connected(server) as backend:
        server.script(reply)
        await backend.ping()


async def test_store_that_fails_is_not_ready() -> None:
    """5xx is no answer."""
    async with serving() as server, connected(server) as backend:
        server.script(*[error_reply("SlowDown", 503)] * 3)
        with pytest.raises(BackendError) as caught:
            await backend.ping()

        assert caught.value.code == "SlowDown"


async def test_bucket_made_after_the_start_is_tried_out() -> None:
    """Where there was no bucket to try the store out, the first one that clients make serves for it; failing at that harms nobody."""
    mini = MiniS3(quirks=Quirks(ignores_put_conditions=True))
    async with serving(mini) as server, connected(server) as backend:
        assert not backend.report.tried
        assert backend.capabilities.conditional_put
        server.script(Reply(), *[error_reply("InternalError", 500)] * 3)
        await backend.create_bucket("first")
        assert not backend.report.tried
        await backend.create_bucket("second")

        assert backend.report.bucket == "second"
        assert not backend.capabilities.conditional_put
        assert mini.store.page("second", prefix="", delimiter="", start_after="", token=None, limit=10).entries == []
