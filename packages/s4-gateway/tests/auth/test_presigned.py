"""Presigned URLs: life, parameters, and headers that were moved into the query."""

from collections.abc import Mapping
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway import sigv4
from s4_gateway.auth import Authenticator
from s4_gateway.call import Call
from s4_gateway.errors import S3Error

from .helpers import ACCESS_KEY, NOW, SECRET_KEY, Body, authenticator, make_call

SIGNER = sigv4.Signer(ACCESS_KEY, SECRET_KEY)
HOST = {"host": "h"}


def presign(query: str = "", *, method: str = "GET", expires: int = 60, headers: Mapping[str, str] = HOST, when: int = NOW) -> str:
    """The query of a presigned URL."""
    return SIGNER.presign(method, "/b/k", query, headers=headers, expires=expires, when=when)


def call_of(query: str, *, method: str = "GET", headers: Mapping[str, str] = HOST, body: Body | None = None) -> Call:
    """A call of the URL."""
    return make_call(method, "/b/k", query, headers=headers, body=body)


def refused(call: Call, code: str, auth: Authenticator | None = None) -> S3Error:
    """The error of a call that must be refused with this code."""
    with pytest.raises(S3Error) as error:
        (auth or authenticator()).authenticate(call)
    assert error.value.code == code
    return error.value


def replaced(query: str, name: str, value: str | None) -> str:
    """The query with one parameter replaced, or dropped."""
    parts = [part for part in query.split("&") if part.partition("=")[0] != name]
    return "&".join(parts if value is None else [*parts, f"{name}={quote(value, safe='')}"])


@pytest.mark.parametrize("offset", [-900, 0, 60])
def test_a_url_is_good_from_the_skew_before_its_date_to_its_end(offset: int) -> None:
    """Both ends of its life are inclusive."""
    assert authenticator(lambda: NOW + offset).authenticate(call_of(presign())).principal is not None


def test_expired_urls_are_denied_as_in_s3() -> None:
    """AccessDenied `Request has expired` with the times; being late is no clock skew."""
    error = refused(call_of(presign()), "AccessDenied", authenticator(lambda: NOW + 61))

    assert error.message == "Request has expired"
    assert error.fields == {"X-Amz-Expires": "60", "Expires": "2013-05-24T00:01:00Z", "ServerTime": "2013-05-24T00:01:01Z"}


def test_urls_of_the_future_are_denied() -> None:
    """A date more than the skew ahead is not yet valid, so that the 7-day cap cannot be stretched."""
    refused(call_of(presign()), "AccessDenied", authenticator(lambda: NOW - 901))


@pytest.mark.parametrize("expires", ["604801", "-1", "1.5", "", "1e3", "\uff11", "+60", "9" * 30])
def test_lives_out_of_bounds_are_refused(expires: str) -> None:
    """X-Amz-Expires is a number of seconds up to seven days."""
    assert refused(call_of(replaced(presign(), "X-Amz-Expires", expires)), "AuthorizationQueryParametersError").status == 400


def test_the_longest_life_is_seven_days() -> None:
    """604,800 seconds are accepted to their end."""
    call = call_of(presign(expires=604800))

    assert authenticator(lambda: NOW + 604800).authenticate(call).principal is not None


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"])
def test_all_six_parameters_are_required_and_signed(name: str) -> None:
    """A URL without one of them is refused as such; with another value it does not match or is refused too."""
    query = presign()

    refused(call_of(replaced(query, f"X-Amz-{name}", None)), "AuthorizationQueryParametersError")
    refused(call_of(f"{query}&X-Amz-{name}=x"), "AuthorizationQueryParametersError")
    with pytest.raises(S3Error):
        authenticator().authenticate(call_of(replaced(query, f"X-Amz-{name}", "x")))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA1"), ("X-Amz-Credential", "a/b"), ("X-Amz-Date", "2013-05-24"),
        ("X-Amz-SignedHeaders", "host;host"),        ("X-Amz-Credential", f"{ACCESS_KEY}/20130523/us-east-1/s3/aws4_request"),
        ("X-Amz-SignedHeaders", "host;\n"),
        ("X-Amz-Credential", f"{ACCESS_KEY}/20130524/us-east-1/sts/aws4_request"),
    ],
)  # fmt: skip
def test_malformed_parameters(name: str, value: str) -> None:
    """Each parameter has one form."""
    assert refused(call_of(replaced(presign(), name, value)), "AuthorizationQueryParametersError").status == 400


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256",
        "X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Credential=a%2F20130524%2Fs3%2Faws4_request&X-Amz-Region-Set=%2A&X-Amz-Signature=00",
        "X-Amz-Region-Set=us-east-1",
    ],
)
def test_version_4a_is_always_not_implemented(query: str) -> None:
    """A URL of Signature Version 4A, whole or damaged, never counts as unsigned."""
    assert refused(call_of(query), "NotImplemented").status == 501


@pytest.mark.parametrize("change", ["&prefix=b", "&versionId=1"])
def test_added_parameters_do_not_match(change: str) -> None:
    """Every parameter is signed."""
    refused(call_of(presign("prefix=a") + change), "SignatureDoesNotMatch")


def test_parameters_are_canonical_at_byte_level() -> None:
    """Order, encoding and bytes that are no UTF-8."""
    query = presign("prefix=%FF&x=a/b&empty")

    assert authenticator().authenticate(call_of("&".join(reversed(query.split("&"))))).principal is not None
    refused(call_of(query.replace("%FF", "%FE")), "SignatureDoesNotMatch")


def test_unsigned_amz_headers_are_refused() -> None:
    """Whoever uses a URL cannot add what its signer did not sign."""
    for name in ("x-amz-acl", "x-amz-meta-a", "x-amz-content-sha256"):
        error = refused(call_of(presign(), headers={**HOST, name: "v"}), "AccessDenied")
        assert error.fields == {"HeadersNotSigned": name}


def test_headers_moved_into_the_query_are_headers() -> None:
    """SDKs move x-amz-* headers into the URL: they come back as headers, in both forms that handlers read."""
    query = presign("X-Amz-Meta-Colour=%C3%BC&x-amz-acl=private", method="PUT")

    call = authenticator().authenticate(call_of(query, method="PUT"))

    assert call.headers == {"host": "h", "x-amz-meta-colour": "\xc3\xbc", "x-amz-acl": "private"}
    assert dict(call.raw_headers)[b"x-amz-meta-colour"] == b"\xc3\xbc"


def test_a_header_is_not_given_twice() -> None:
    """The same name as header and as parameter is refused, whatever the values."""
    headers = {**HOST, "x-amz-acl": "private"}
    query = presign("x-amz-acl=private", headers=headers)

    refused(call_of(query, headers=headers), "AuthorizationQueryParametersError")


@pytest.mark.parametrize("query", ["x-amz-meta-a=b%0D%0Ax-amz-acl:%20public-read", "x-amz-meta-a=%00", "x-amz-a%20b=c", "x-amz-meta-%0A=c"])
def test_parameters_cannot_smuggle_headers(query: str) -> None:
    """What percent-decoding gives must be a valid header field."""
    refused(call_of(presign(query)), "AuthorizationQueryParametersError")


def test_copy_sources_must_be_headers() -> None:
    """The operation is chosen by headers, so a copy cannot be asked for in the query."""
    refused(call_of(presign("x-amz-copy-source=b%2Fk", method="PUT"), method="PUT"), "NotImplemented")


def test_session_tokens_are_refused() -> None:
    """A static key has no session."""
    query = sigv4.Signer(ACCESS_KEY, SECRET_KEY, "token").presign("GET", "/b/k", "", headers=HOST, expires=60, when=NOW)

    refused(call_of(query), "InvalidToken")


def test_unknown_key_and_wrong_secret() -> None:
    """As with headers."""
    other = sigv4.Signer("AKIDOTHER", SECRET_KEY).presign("GET", "/b/k", "", headers=HOST, expires=60, when=NOW)
    wrong = sigv4.Signer(ACCESS_KEY, "wrong").presign("GET", "/b/k", "", headers=HOST, expires=60, when=NOW)

    refused(call_of(other), "InvalidAccessKeyId")
    error = refused(call_of(wrong), "SignatureDoesNotMatch")
    assert error.fields["CanonicalRequest"].endswith("UNSIGNED-PAYLOAD")
    assert "X-Amz-Signature" not in error.fields["CanonicalRequest"]


async def test_the_payload_is_unsigned_unless_the_signer_gave_its_hash() -> None:
    """A hash in the query or in a signed header binds the body."""
    body = Body([b"data"], size=4)
    assert authenticator().authenticate(call_of(presign(method="PUT"), method="PUT", body=body)).body is body

    digest = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"
    query = _presigned_with_hash(digest)
    assert authenticator().authenticate(call_of(query, method="PUT", body=body)).body.sha256 == digest


def _presigned_with_hash(digest: str) -> str:
    pairs = [
        (b"X-Amz-Algorithm", b"AWS4-HMAC-SHA256"),
        (b"X-Amz-Credential", f"{ACCESS_KEY}/20130524/us-east-1/s3/aws4_request".encode()),
        (b"X-Amz-Content-Sha256", digest.encode()),
        (b"X-Amz-Date", b"20130524T000000Z"),
        (b"X-Amz-Expires", b"60"),
        (b"X-Amz-SignedHeaders", b"host"),
    ]
    query = sigv4.canonical_query(pairs)
    canonical = sigv4.canonical_request("PUT", "/b/k", query, headers=HOST, names=["host"], payload_hash=digest)
    text = sigv4.string_to_sign("20130524T000000Z", "20130524/us-east-1/s3/aws4_request", canonical)
    return f"{query}&X-Amz-Signature={sigv4.sign(sigv4.signing_key(SECRET_KEY, '20130524', 'us-east-1'), text)}"


@given(query=st.text(st.sampled_from("X-Amz-Signature=&%0F+;/!"), max_size=80))
def test_any_query_is_an_answer(query: str) -> None:
    """No query gives anything but an S3 error."""
    with pytest.raises(S3Error):
        authenticator().authenticate(call_of(f"X-Amz-Algorithm=AWS4-HMAC-SHA256&{query}"))
