"""What goes over the wire: paths, headers and bodies exactly as meant, and nothing else."""

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s4_gateway.backend.abc import BackendError, Buffer, Condition, Outcome, Pieces
from s4_gateway.backend.s3 import Observer, S3Backend, StaticCredentials
from s4_gateway.backend.s3.http import parse_answer_head, render_request_head

from .server import ETAG, KEYS, Reply, connected, error_reply, object_reply, options, serving

WRITTEN = Reply(headers={"etag": f'"{ETAG}"'})


async def put(backend: S3Backend, key: str = "key", body: bytes = b"body", **changes: dict[str, str]) -> None:
    """One PutObject."""
    await backend.put_object("bucket", key, Pieces.of(body), **{"headers": {}, "metadata": {}, **changes})


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("a%2Fb/../c//d", "/bucket/a%252Fb/../c//d"),
        ("..", "/bucket/.."),
        ("./x", "/bucket/./x"),
        ("/leading", "/bucket//leading"),
        ("a b+c~d", "/bucket/a%20b%2Bc~d"),
        ("q?x=1#y&z;", "/bucket/q%3Fx%3D1%23y%26z%3B"),
        ("é\U0001f600", "/bucket/%C3%A9%F0%9F%98%80"),
        ("line\nbell\x07", "/bucket/line%0Abell%07"),
        ("http://host/x", "/bucket/http%3A//host/x"),
    ],
)
async def test_path_is_encoded_once_and_never_normalised(key: str, target: str) -> None:
    """Every key has one path, and no layer below rewrites it."""
    async with serving() as server, connected(server) as backend:
        server.script(WRITTEN)
        await put(backend, key)

        assert server.received[0].target == target


async def test_head_of_a_put_holds_only_what_is_meant() -> None:
    """No Content-Type, Accept-Encoding for gzip, Expect or other invention of the HTTP library."""
    async with serving() as server, connected(server) as backend:
        server.script(WRITTEN)
        await put(backend)

        names = [name.decode().lower() for name, _ in server.received[0].raw_headers]
        assert sorted(names) == [
            "accept",
            "accept-encoding",
            "authorization",
            "content-length",
            "host",
            "user-agent",
            "x-amz-content-sha256",
            "x-amz-date",
        ]
        headers = server.received[0].headers
        assert headers["accept-encoding"] == "identity"
        assert headers["user-agent"].startswith("s4-gateway/")
        assert server.url == f"http://{headers['host']}"


async def test_session_token_is_sent_and_signed() -> None:
    """Temporary keys come with their token."""
    async with serving() as server:
        server.script(error_reply("AccessDenied", 403), error_reply("AccessDenied", 403))
        keys = type(KEYS)(KEYS.access_key, KEYS.secret_key, "the token")
        backend = S3Backend(options(server.url), StaticCredentials(keys))
        await backend.start()
        await backend.close()

        headers = server.received[0].headers
        assert headers["x-amz-security-token"] == "the token"
        assert "x-amz-security-token" in headers["authorization"]


async def test_cookies_are_not_kept() -> None:
    """What a balancer wants to remember is none of ours."""
    async with serving() as server:
        server.url = server.url.replace("127.0.0.1", "localhost")
        async with connected(server) as backend:
            server.script(Reply(headers={"etag": f'"{ETAG}"', "set-cookie": "a=b"}), WRITTEN)
            await put(backend)
            await put(backend)

            assert "cookie" not in server.received[1].headers


LATIN = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)


@given(headers=st.dictionaries(st.sampled_from(["a", "b", "c"]), LATIN))
def test_header_bytes_survive_the_way_out(headers: dict[str, str]) -> None:
    """The bytes on the wire are those that the text stands for, in the order given, and nothing else."""
    head = render_request_head("PUT", "/a?b=", headers)

    lines = [name.encode() + b": " + value.encode("latin-1") for name, value in headers.items()]
    assert head == b"\r\n".join([b"PUT /a?b= HTTP/1.1", *lines, b"", b""])


@pytest.mark.parametrize("bad", ["a\nb", "a\r\nb: c", "\r"], ids=ascii)
def test_line_end_in_a_request_head_is_an_error(bad: str) -> None:
    """Whatever went wrong before, no value can start another header."""
    for method, target, headers in (("GET", "/", {"a": bad}), ("GET", "/", {bad: "a"}), ("GET", bad, {}), (bad, "/", {})):
        with pytest.raises(ValueError, match="line end"):
            render_request_head(method, target, headers)


@pytest.mark.parametrize("value", ["plain", "\xc3\xa9\xe2\x82\xac", "\xe9\xff\x80", "=?utf-8?q?x?="], ids=ascii)
@pytest.mark.parametrize("body", [b"", b"small", bytes(200_000)], ids=len)
async def test_metadata_bytes_arrive_as_they_are(value: str, body: bytes) -> None:
    """ASCII, UTF-8 and bytes that are neither go out unchanged, with bodies of all sizes, and are signed as sent."""
    async with serving() as server, connected(server) as backend:
        server.script(WRITTEN)
        await put(backend, body=body, metadata={"odd": value}, headers={"content-disposition": value})

        raw = dict(server.received[0].raw_headers)
        assert raw[b"x-amz-meta-odd"] == raw[b"content-disposition"] == value.encode("latin-1")
        assert server.received[0].body == body


async def test_bodiless_requests_carry_odd_bytes_too() -> None:
    """A copy has no body, and still any metadata."""
    async with serving() as server, connected(server, probe_bucket="none") as backend:
        server.script(Reply(body=b"<CopyObjectResult><ETag>x</ETag></CopyObjectResult>"))
        await copy(backend, metadata={"odd": "\xe9"})

        request = server.received[0]
        assert dict(request.raw_headers)[b"x-amz-meta-odd"] == b"\xe9"
        assert request.body == b""
        assert request.headers["content-length"] == "0"


async def copy(backend: S3Backend, *, metadata: dict[str, str] | None = None, condition: Condition | None = None) -> str:
    """One CopyObject; its ETag."""
    written = await backend.copy_object(
        "bucket",
        "key",
        source_bucket="from",
        source_key="a b/é?",
        source_version_id="v 1",
        source_etag="tag",
        headers={},
        metadata=metadata or {},
        condition=condition,
    )
    return written.etag


async def test_copy_replaces_and_pins_its_source() -> None:
    """Source path and version are encoded, its ETag quoted, metadata always replaced, and no Content-Type made up."""
    async with serving() as server, connected(server) as backend:
        server.script(Reply(body=b"<CopyObjectResult><ETag>&quot;new&quot;</ETag></CopyObjectResult>"))
        assert await copy(backend) == "new"

        headers = server.received[0].headers
        assert headers["x-amz-copy-source"] == "/from/a%20b/%C3%A9%3F?versionId=v%201"
        assert headers["x-amz-copy-source-if-match"] == '"tag"'
        assert headers["x-amz-metadata-directive"] == "REPLACE"
        assert "content-type" not in headers


async def test_condition_on_a_copy_is_never_sent_to_a_store_that_was_not_seen_to_honour_it() -> None:
    """Few stores know conditional copies; the others would overwrite without a word."""
    async with serving() as server, connected(server) as backend:
        with pytest.raises(BackendError) as caught:
            await copy(backend, condition=Condition(if_absent=True))

        assert (caught.value.code, caught.value.outcome) == ("NotImplemented", Outcome.REFUSED)
        assert server.received == []


async def test_conditions_are_headers_with_quoted_etags() -> None:
    """Strict stores answer 412 to bare ETags."""
    async with serving() as server, connected(server) as backend:
        server.script(WRITTEN, WRITTEN)
        await put(backend, condition=Condition(if_match="tag"))  # type: ignore[arg-type]
        await put(backend, condition=Condition(if_absent=True))  # type: ignore[arg-type]

        assert server.received[0].headers["if-match"] == '"tag"'
        assert server.received[1].headers["if-none-match"] == "*"


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 3_000_000])
async def test_body_is_signed_over_plain_http(size: int) -> None:
    """Without TLS the signature holds the body's SHA-256, so that a store refuses changed bytes."""
    body = bytes(size)
    async with serving() as server, connected(server) as backend:
        server.script(WRITTEN)
        await put(backend, body=body)

        request = server.received[0]
        assert request.body == body
        assert request.headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
        assert request.headers["content-length"] == str(size)


async def test_parts_are_signed_over_plain_http() -> None:
    """The signature holds the part's SHA-256; an MD5 beside it would cost twice as much and say the same."""
    async with serving() as server, connected(server) as backend:
        server.script(WRITTEN)
        assert await backend.upload_part("bucket", "key", "the id", 7, Pieces.of(b"pa", b"rt")) == ETAG

        request = server.received[0]
        assert request.headers["x-amz-content-sha256"] == hashlib.sha256(b"part").hexdigest()
        assert "content-md5" not in request.headers
        assert request.query == {"partNumber": "7", "uploadId": "the id"}


async def test_pieces_are_sent_one_by_one() -> None:
    """A large body is never joined: each piece is asked for when the one before is on its way."""
    pieces = 8
    alive: list[int] = []

    class Watched:
        size = pieces * 400_000

        def __iter__(self) -> Iterator[Buffer]:
            for number in range(pieces):
                alive.append(number)
                yield bytes([number]) * 400_000

    async with serving() as server, connected(server) as backend:
        server.script(WRITTEN)
        await backend.upload_part("bucket", "key", "id", 1, Watched())

        assert server.received[0].body == b"".join(bytes([number]) * 400_000 for number in range(pieces))
        # Once for the digest, once for the wire.
        assert alive == [*range(pieces)] * 2


@pytest.mark.parametrize("size", [3, 8, 300_000])
async def test_payload_of_another_length_than_it_says_is_refused(size: int) -> None:
    """Neither a short nor a long body reaches the store under a wrong length."""
    async with serving() as server, connected(server) as backend:
        with pytest.raises(BackendError) as caught:
            await backend.put_object("bucket", "key", Pieces([bytes(5), bytes(size)], 9), headers={}, metadata={})

        assert (caught.value.code, caught.value.outcome) == ("IncompleteBody", Outcome.REFUSED)
        assert server.received == []


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\x00b", "a\x7fb"], ids=ascii)
async def test_control_characters_never_reach_a_header(bad: str) -> None:
    """They would end the header, or be dropped on the way."""
    async with serving() as server, connected(server) as backend:
        for changes in ({"metadata": {"x": bad}}, {"metadata": {bad: "x"}}, {"headers": {"content-type": bad}}):
            with pytest.raises(BackendError) as caught:
                await put(backend, **changes)
            assert caught.value.code == "InvalidArgument"

        assert server.received == []


@pytest.mark.parametrize(
    ("bucket", "key", "code"),
    [
        ("", "key", "InvalidBucketName"),
        ("a/b", "key", "InvalidBucketName"),
        ("..", "key", "InvalidBucketName"),
        ("bucket", "", "InvalidArgument"),
        ("bucket", "k" * 1025, "KeyTooLongError"),
        ("bucket", "\ud800", "InvalidURI"),
    ],
    ids=ascii,
)
async def test_names_that_would_address_something_else_are_refused(bucket: str, key: str, code: str) -> None:
    """Deleting the object with the empty key must not delete the bucket."""
    async with serving() as server, connected(server) as backend:
        with pytest.raises(BackendError) as caught:
            await backend.delete_object(bucket, key)

        assert caught.value.code == code
        assert server.received == []


async def test_redirects_are_not_followed() -> None:
    """A wrong region or endpoint is told as what it is, and no other host is asked."""
    async with serving() as other, serving() as server, connected(server) as backend:
        server.script(Reply(307, headers={"location": other.url + "/bucket/key", "x-amz-bucket-region": "eu-west-9"}))
        with pytest.raises(BackendError, match="eu-west-9") as caught:
            await put(backend)

        assert (caught.value.code, caught.value.status, caught.value.outcome) == ("ServiceUnavailable", 503, Outcome.REFUSED)
        assert other.connections == 0
        assert len(server.received) == 1


async def test_connections_are_kept() -> None:
    """Requests one after the other share a connection, downloads that were read to their end included."""
    async with serving() as server, connected(server) as backend:
        for _ in range(5):
            server.script(WRITTEN, object_reply(b"body"), error_reply("NoSuchKey", 404))
            await put(backend)
            await (await backend.get_object("bucket", "key")).read()
            with pytest.raises(BackendError):
                await backend.head_object("bucket", "key")

        assert server.connections == 1


async def test_every_attempt_is_counted_and_observed() -> None:
    """Counters are by method of the backend; the observer learns status, bytes either way and time, 0 being no answer."""
    seen: list[tuple[str, int, int, int]] = []
    observe: Observer = lambda operation, status, sent, received, seconds: seen.append((operation, status, sent, received))  # noqa: E731
    async with serving() as server:
        server.script(error_reply("AccessDenied", 403), error_reply("AccessDenied", 403))
        backend = S3Backend(options(server.url), StaticCredentials(KEYS), observe=observe)
        await backend.start()
        seen.clear()
        backend.requests.clear()
        server.script(Reply(drop=True), WRITTEN, object_reply(b"12345"))
        await put(backend)
        await (await backend.get_object("bucket", "key")).read()
        await backend.close()

        assert seen == [("put_object", 0, 4, 0), ("put_object", 200, 4, 0), ("get_object", 200, 0, 5)]
        assert backend.requests == {"put_object": 2, "get_object": 1}


VALUES = st.binary(max_size=8).map(lambda value: value.translate(None, b"\0\r\n").strip(b" \t"))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from([b"A", b"a", b"B-c"]), VALUES)))
def test_repeated_headers_of_an_answer_are_joined(raw: list[tuple[bytes, bytes]]) -> None:
    """Names lose their case, values keep every byte, and repeated ones are one list (RFC 9110 5.3)."""
    lines = [name + b": " + value + b"\t " for name, value in raw]
    headers = parse_answer_head(b"\r\n".join([b"HTTP/1.1 200 OK", *lines]), bodiless=False).headers

    assert headers.keys() == {name.decode().lower() for name, _ in raw}
    for name in headers:
        expected = b",".join(value for other, value in raw if other.decode().lower() == name)
        assert headers[name].encode("latin-1") == expected


async def test_not_started() -> None:
    """A request before `start` is a mistake of the caller, not of the store."""
    backend = S3Backend(options("http://127.0.0.1:1"), StaticCredentials(KEYS))
    with pytest.raises(RuntimeError, match="not started"):
        await backend.head_object("bucket", "key")
