"""GetObject: the bytes that were asked for, of the object that was meant, or an error."""

import gzip
from dataclasses import replace

import pytest

from s4_gateway.backend.abc import BackendError, Capabilities, Outcome, Span, Suffix
from s4_gateway.backend.s3 import S3Backend
from s4_gateway.testing.mini_s3 import MiniS3, Quirks

from .server import ETAG, OBJECT_HEADERS, Reply, connected, error_reply, object_reply, serving

BODY = bytes(range(100))


async def got(reply: Reply, span: Span | Suffix | None = None, **changes: str) -> tuple[int, int, bytes]:
    """(start, stop, bytes) of one GET that is answered so."""
    async with serving() as server, connected(server, attempts=1) as backend:
        server.script(reply)
        download = await backend.get_object("bucket", "key", span=span, **changes)
        return download.start, download.stop, await download.read()


def partial(first: int, last: int, size: int | str, body: bytes | None = None) -> Reply:
    """An honest 206, or one with another body."""
    return object_reply(BODY[first : last + 1] if body is None else body, status=206, content_range=f"bytes {first}-{last}/{size}")


@pytest.mark.parametrize(
    ("span", "header", "reply", "expected"),
    [
        (None, None, object_reply(BODY), (0, 100)),
        (Span(0), None, object_reply(BODY), (0, 100)),
        (Span(0, 10), "bytes=0-9", partial(0, 9, 100), (0, 10)),
        (Span(90), "bytes=90-", partial(90, 99, 100), (90, 100)),
        (Span(90, 1000), "bytes=90-999", partial(90, 99, 100), (90, 100)),
        (Suffix(5), "bytes=-5", partial(95, 99, 100), (95, 100)),
        (Suffix(500), "bytes=-500", partial(0, 99, 100), (0, 100)),
        # A store may answer 200 where the range is everything.
        (Span(0, 1000), "bytes=0-999", object_reply(BODY), (0, 100)),
        (Suffix(100), "bytes=-100", object_reply(BODY), (0, 100)),
    ],
)
async def test_range(span: Span | Suffix | None, header: str | None, reply: Reply, expected: tuple[int, int]) -> None:
    """Each span has one Range header, and the download tells what of which size it holds."""
    async with serving() as server, connected(server) as backend:
        server.script(reply)
        download = await backend.get_object("bucket", "key", span=span)

        assert (download.start, download.stop, download.object.size) == (*expected, 100)
        assert await download.read() == BODY[slice(*expected)]
        assert server.received[0].headers.get("range") == header


@pytest.mark.parametrize(
    ("span", "reply"),
    [
        (Span(10, 20), object_reply(BODY)),
        (Span(10), object_reply(BODY)),
        (Suffix(10), object_reply(BODY)),
        (Span(10, 20), partial(11, 20, 100)),
        (Span(10, 20), partial(10, 18, 100)),
        (Span(10, 20), partial(10, 20, 100)),
        (Span(10, 20), partial(10, 14, 100)),
        (Suffix(10), partial(0, 9, 100)),
        (Span(10, 20), partial(10, 19, "*")),
        (Span(10, 20), partial(10, 19, 15)),
        (Span(10, 20), object_reply(BODY[10:20], status=206)),
        (Span(10, 20), object_reply(BODY[10:20], status=206, content_range="octets 10-19/100")),
        (Span(10, 20), partial(10, 19, 100, body=BODY[10:25])),
        (None, partial(0, 49, 100)),
    ],
)
async def test_other_bytes_than_asked_for_are_never_given(span: Span | Suffix | None, reply: Reply) -> None:
    """A store that ignores or misreads Range gives an error."""
    with pytest.raises(BackendError) as caught:
        await got(reply, span)

    assert caught.value.code == "InternalError"


@pytest.mark.parametrize("missing", ["etag", "last-modified"])
async def test_answer_without_what_s3_always_tells(missing: str) -> None:
    """No entity tag or time means no S3 answer."""
    headers = {name: value for name, value in OBJECT_HEADERS.items() if name != missing}
    with pytest.raises(BackendError, match="unusable"):
        await got(Reply(200, BODY, headers))


@pytest.mark.parametrize("head", [{}, {"content-length": "ten"}])
async def test_answer_without_length(head: dict[str, str]) -> None:
    """A body that ends with its connection cannot be told from one that was cut."""
    with pytest.raises(BackendError):
        await got(Reply(200, BODY, {**OBJECT_HEADERS, **head}, bare=True))


async def test_head_without_length() -> None:
    """A missing length is not zero."""
    async with serving() as server, connected(server) as backend:
        server.script(Reply(200, b"", OBJECT_HEADERS, bare=True))
        with pytest.raises(BackendError, match="Content-Length"):
            await backend.head_object("bucket", "key")


async def test_if_match_is_sent_and_checked() -> None:
    """An ignored If-Match shows in the answer's ETag and counts as one that did not hold."""
    async with serving() as server, connected(server) as backend:
        server.script(object_reply(BODY), object_reply(BODY))
        await (await backend.get_object("bucket", "key", if_match=ETAG)).read()
        with pytest.raises(BackendError) as caught:
            await backend.get_object("bucket", "key", if_match="another")

        assert server.received[1].headers["if-match"] == '"another"'
        assert (caught.value.code, caught.value.status) == ("PreconditionFailed", 412)


async def test_version_is_asked_for() -> None:
    """A version id goes into every request of the read."""
    async with serving() as server, connected(server) as backend:
        server.script(object_reply(BODY, x_amz_version_id="v/1"))
        async with await backend.get_object("bucket", "key", version_id="v/1") as download:
            assert download.object.version_id == "v/1"

        assert server.received[0].target == "/bucket/key?versionId=v%2F1"


async def test_content_encoding_is_left_alone() -> None:
    """A gzip body comes as it is stored, labelled as it was."""
    packed = gzip.compress(b"text" * 1000)
    async with serving() as server, connected(server) as backend:
        server.script(object_reply(packed, content_encoding="gzip"))
        download = await backend.get_object("bucket", "key")

        assert download.object.headers == {"content-encoding": "gzip"}
        assert await download.read() == packed


async def test_headers_are_sorted_into_their_fields() -> None:
    """System headers, metadata with every byte, version, class, and what else clients of a foreign object expect."""
    reply = object_reply(
        b"",
        content_type="text/plain",
        expires="0",
        x_amz_meta_a="1",
        X_Amz_Meta_S4_Codec="cpu-zstd",
        x_amz_meta_odd="\xe9\xff",
        x_amz_storage_class="GLACIER",
        x_amz_version_id="null",
        x_amz_restore='ongoing-request="false"',
        x_amz_request_id="R1",
        vary="Origin",
    )
    async with serving() as server, connected(server) as backend:
        server.script(reply)
        found = await backend.head_object("bucket", "key")

        assert found.headers == {"content-type": "text/plain", "expires": "0"}
        assert found.metadata == {"a": "1", "s4-codec": "cpu-zstd", "odd": "\xe9\xff"}
        assert (found.storage_class, found.version_id) == ("GLACIER", "null")
        assert found.extra == {"x-amz-restore": 'ongoing-request="false"'}
        assert (found.key, found.size, found.etag, found.modified) == ("key", 0, ETAG, 1_700_000_000)


async def test_as_many_entries_as_fit_into_s3s_metadata() -> None:
    """2,048 bytes of metadata may be 1,000 entries."""
    entries = {f"x-amz-meta-{number:x}": "" for number in range(1000)}
    async with serving() as server, connected(server) as backend:
        server.script(Reply(200, b"", {**OBJECT_HEADERS, **entries}))

        assert len((await backend.head_object("bucket", "key")).metadata) == 1000


@pytest.mark.parametrize("cut", [0, 1, 60_000, 199_999])
async def test_body_that_ends_early_is_an_error(cut: int) -> None:
    """A shorter body is never a clean end."""
    async with serving() as server, connected(server) as backend:
        server.script(Reply(200, bytes(200_000), OBJECT_HEADERS, cut=cut))
        download = await backend.get_object("bucket", "key")
        with pytest.raises(BackendError) as caught:
            await download.read()

        assert (caught.value.code, caught.value.status) == ("ServiceUnavailable", 503)
        assert len(server.received) == 1


@pytest.mark.parametrize("length", [5, 10, 15])
async def test_chunked_body_is_counted(length: int) -> None:
    """A body framed in chunks whose length differs from the Content-Length beside it is an error."""
    headers = {**OBJECT_HEADERS, "content-length": str(length), "transfer-encoding": "chunked"}
    with pytest.raises(BackendError):
        await got(Reply(200, b"8\r\n12345678\r\n0\r\n\r\n", headers))


async def test_body_that_stalls_is_an_error() -> None:
    """Silence in mid-body ends after the time set."""
    async with serving() as server, connected(server, read_timeout=0.2) as backend:
        server.script(Reply(200, b"12345", {**OBJECT_HEADERS, "content-length": "1000000"}))
        download = await backend.get_object("bucket", "key")
        with pytest.raises(BackendError) as caught:
            await download.read()

        assert caught.value.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("broken", [Reply(200, b"12345", {**OBJECT_HEADERS, "content-length": "10"}), replace(object_reply(BODY), cut=3)])
async def test_small_body_that_does_not_come_whole_is_asked_for_again(broken: Reply) -> None:
    """Nothing of it was handed on before all of it was there."""
    async with serving() as server, connected(server, read_timeout=0.2) as backend:
        server.script(broken, object_reply(BODY))

        assert await (await backend.get_object("bucket", "key")).read() == BODY


async def test_lost_answers_are_asked_for_again() -> None:
    """Until the head of an answer has come nothing is lost."""
    async with serving() as server, connected(server) as backend:
        server.script(Reply(drop=True), error_reply("SlowDown", 503), object_reply(BODY))

        assert await (await backend.get_object("bucket", "key")).read() == BODY


async def test_abandoned_download_gives_its_connection_up() -> None:
    """A body that nobody reads to its end does not come on the next request's connection, nor holds a place in the pool."""
    async with serving() as server, connected(server, connections=1) as backend:
        server.script(object_reply(bytes(5_000_000)), object_reply(bytes(5_000_000)), object_reply(BODY))
        unread = await backend.get_object("bucket", "key")
        await unread.aclose()
        await unread.aclose()
        begun = await backend.get_object("bucket", "key")
        await anext(aiter(begun))
        await begun.aclose()

        assert await (await backend.get_object("bucket", "key")).read() == BODY


async def test_small_download_that_was_not_read_keeps_its_connection() -> None:
    """Where everything has come already the connection is good."""
    async with serving() as server, connected(server) as backend:
        for _ in range(3):
            server.script(object_reply(b""))
            await (await backend.get_object("bucket", "key")).aclose()

        assert server.connections == 1


@pytest.fixture(params=[False, True], ids=["416", "206"])
def mini(request: pytest.FixtureRequest) -> MiniS3:
    """Stores answer differently to a suffix of an empty object."""
    return MiniS3(Capabilities(), Quirks(empty_suffix_is_partial=request.param))


async def filled(backend: S3Backend, mini: MiniS3) -> None:
    """A bucket with an empty object and another."""
    await backend.create_bucket("bucket")
    mini.store.put("bucket", "empty", b"", headers={}, metadata={"a": "b"})
    mini.store.put("bucket", "key", BODY, headers={}, metadata={})


async def test_suffix_of_an_empty_object(mini: MiniS3) -> None:
    """An empty object has an empty end, with all that HEAD tells."""
    async with serving(mini) as server, connected(server) as backend:
        await filled(backend, mini)
        download = await backend.get_object("bucket", "empty", span=Suffix(100))

        assert (download.start, download.stop, download.object.size, download.object.metadata) == (0, 0, 0, {"a": "b"})
        assert await download.read() == b""
        with pytest.raises(BackendError) as caught:
            await backend.get_object("bucket", "empty", span=Suffix(100), if_match="another")
        assert caught.value.code == "PreconditionFailed"


async def test_suffix_of_nothing(mini: MiniS3) -> None:
    """The last 0 bytes are no bytes; S3 has no way to ask for them."""
    async with serving(mini) as server, connected(server) as backend:
        await filled(backend, mini)
        download = await backend.get_object("bucket", "key", span=Suffix(0))

        assert (download.start, download.stop) == (100, 100)
        assert await download.read() == b""
        with pytest.raises(BackendError) as caught:
            await backend.get_object("bucket", "missing", span=Suffix(0))
        assert caught.value.code == "NoSuchKey"


async def test_refused_suffix_of_an_object_that_is_not_empty() -> None:
    """When the object has grown between two requests the read is to be repeated."""
    async with serving() as server, connected(server) as backend:
        server.script(error_reply("InvalidRange", 416), object_reply(BODY))
        with pytest.raises(BackendError) as caught:
            await backend.get_object("bucket", "key", span=Suffix(10))

        assert (caught.value.code, caught.value.status) == ("ServiceUnavailable", 503)


@pytest.mark.parametrize("span", [Span(5, 5), Span(5, 3)])
async def test_empty_span(span: Span) -> None:
    """No Range header says "nothing"."""
    async with serving() as server, connected(server) as backend:
        with pytest.raises(BackendError) as caught:
            await backend.get_object("bucket", "key", span=span)

        assert (caught.value.code, server.received) == ("InvalidRange", [])
