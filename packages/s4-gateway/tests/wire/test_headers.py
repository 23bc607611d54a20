"""Typed headers and parameters."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.errors import S3Error
from s4_gateway.wire.headers import (
    CopySource,
    copy_source,
    int_param,
    object_response_headers,
    part_number,
    response_overrides,
    stored_headers,
)

from .helpers import parse

WIRE_TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"))
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80)


def put(headers: dict[str, str] | list[tuple[bytes, bytes]]) -> tuple[dict[str, str], dict[str, str]]:
    """What a PUT with these headers keeps."""
    return stored_headers(parse("PUT", "/bkt/k", [*_pairs(headers), (b"content-length", b"0")]))


def _pairs(headers: dict[str, str] | list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return headers if isinstance(headers, list) else [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def test_what_is_kept() -> None:
    """Exactly S3's system headers and user metadata are kept; Expires stays the text it is."""
    system = {
        "cache-control": "no-store",
        "content-disposition": 'attachment; filename="a"',
        "content-encoding": "gzip",
        "content-language": "de",
        "content-type": "text/plain; charset=utf-8",
        "expires": "whenever",
    }
    headers = {**system, "x-amz-meta-colour": "red", "x-amz-acl": "private", "content-md5": "x", "host": "h"}
    assert put(headers) == (system, {"colour": "red"})


@given(st.dictionaries(st.from_regex(r"[a-rt-z][a-z0-9_-]{0,9}", fullmatch=True), WIRE_TEXT, max_size=4))
def test_metadata_survives_byte_for_byte(metadata: dict[str, str]) -> None:
    """Every byte of a value that came on the wire is in the answer, whatever its charset."""
    raw = [(f"x-amz-meta-{name}".encode(), value.encode("latin-1")) for name, value in metadata.items()]
    system, stored = put(raw)
    answer = object_response_headers(system, stored)
    assert {name: answer[name.decode()].encode("latin-1") for name, _ in raw} == dict(raw)


def test_repeated_metadata_is_joined() -> None:
    """A metadata header sent twice is one value, joined by a comma, as S3 does."""
    assert put([(b"x-amz-meta-a", b"1"), (b"x-amz-meta-a", b"2")]) == ({}, {"a": "1,2"})


def test_clients_cannot_set_our_metadata() -> None:
    """`s4-*` from a client is dropped, and never shown."""
    assert put({"x-amz-meta-s4-codec": "evil", "x-amz-meta-s4": "mine"}) == ({}, {"s4": "mine"})
    assert object_response_headers({}, {"s4-codec": "cpu-zstd", "a": "b"}) == {
        "accept-ranges": "bytes",
        "content-type": "binary/octet-stream",
        "x-amz-meta-a": "b",
    }


def test_metadata_needs_a_name() -> None:
    """A bare prefix cannot be stored and is not dropped silently."""
    with pytest.raises(S3Error, match="InvalidArgument"):
        put({"x-amz-meta-": "v"})


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("gzip", "gzip"),
        ("gzip, br", "gzip, br"),
        ("aws-chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("gzip,aws-chunked", "gzip"),
        ("AWS-Chunked , gzip, br", "gzip,br"),
        ("aws-chunked,", None),
        ("", None),
    ],
)
def test_framing_is_no_content_encoding(sent: str, kept: str | None) -> None:
    """aws-chunked describes the transfer and is not stored; everything else is, unchanged."""
    assert put({"content-encoding": sent})[0].get("content-encoding") == kept


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("bucket/key", CopySource("bucket", "key")),
        ("/bucket/key", CopySource("bucket", "key")),
        ("bucket/a//b/../c", CopySource("bucket", "a//b/../c")),
        ("bucket/a%2Fb%3Fc", CopySource("bucket", "a/b?c")),
        ("bucket%2Fkey", CopySource("bucket", "key")),
        ("bucket/a+b%2Bc", CopySource("bucket", "a b+c")),
        ("bucket/%C3%A9", CopySource("bucket", "é")),
        ("bucket/\xc3\xa9", CopySource("bucket", "é")),
        ("bucket/key?versionId=abc", CopySource("bucket", "key", "abc")),
        ("bucket/key?versionId=null", CopySource("bucket", "key", "null")),
        ("bucket/key%3FversionId=abc", CopySource("bucket", "key?versionId=abc")),
    ],
)
def test_copy_sources(value: str, source: CopySource) -> None:
    """A copy source is URL-encoded, with or without a slash in front, maybe with a version."""
    assert copy_source({"x-amz-copy-source": value}) == source


@given(KEYS)
def test_any_key_can_be_copied(key: str) -> None:
    """A key encoded as botocore does comes out as it was."""
    assert copy_source({"x-amz-copy-source": f"bucket/{quote(key, safe='/~')}"}) == CopySource("bucket", key)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "InvalidArgument"),
        ("bucket", "InvalidArgument"),
        ("bucket/", "InvalidArgument"),
        ("//key", "InvalidArgument"),
        ("bucket/key?versionId=", "InvalidArgument"),
        ("bucket/%FF", "InvalidArgument"),
        ("bucket/" + "k" * 1025, "KeyTooLongError"),
        ("arn:aws:s3:us-west-2:123456789012:accesspoint/mine/object/key", "NotImplemented"),
        ("arn%3Aaws:s3:::bucket/key", "NotImplemented"),
    ],
)
def test_bad_copy_sources(value: str, code: str) -> None:
    """What names no bucket and key is refused with S3's code."""
    with pytest.raises(S3Error) as caught:
        copy_source({"x-amz-copy-source": value})
    assert caught.value.code == code


def test_overrides() -> None:
    """Each `response-*` parameter sets its header; others set none."""
    query = {"response-content-type": "text/html", "response-expires": "never", "response-etag": "x", "versionId": "null"}
    assert response_overrides(query) == {"content-type": "text/html", "expires": "never"}


@pytest.mark.parametrize("value", ["a\r\nset-cookie: b", "a\nb", "\x00", "\x7f", "日本.txt"])
def test_overrides_cannot_break_the_head(value: str) -> None:
    """A value that no header can carry is refused, so that nothing is injected and nothing is garbled."""
    with pytest.raises(S3Error, match="InvalidArgument"):
        response_overrides({"response-content-disposition": value})


@pytest.mark.parametrize(("value", "number"), [("", 1000), ("0", 0), ("7", 7), ("2147483647", 2147483647)])
def test_integers(value: str, number: int) -> None:
    """An integer within its bounds, or the default."""
    assert int_param({"max-keys": value}, "max-keys", default=1000, low=0, high=2**31 - 1) == number
    assert int_param({}, "max-keys", default=1000, low=0, high=2**31 - 1) == 1000


@pytest.mark.parametrize("value", ["-1", "2147483648", "ten", "1_0", "1.0", "0x1", "\u0661", "1 0", "9" * 5000])
def test_other_integers_are_refused(value: str) -> None:
    """What Python might take for a number is no number for S3."""
    with pytest.raises(S3Error) as caught:
        int_param({"max-keys": value}, "max-keys", default=1000, low=0, high=2**31 - 1)
    assert caught.value.code == "InvalidArgument"
    assert caught.value.fields["ArgumentName"] == "max-keys"


def test_part_numbers() -> None:
    """Parts are numbered 1 to 10,000."""
    assert part_number({}) is None
    assert [part_number({"partNumber": value}) for value in ("1", "10000")] == [1, 10000]
    for value in ("", "0", "10001", "-1", "one", "\u0661"):
        with pytest.raises(S3Error, match="InvalidArgument"):
            part_number({"partNumber": value})
