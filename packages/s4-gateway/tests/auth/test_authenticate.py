"""Verification of the Authorization header, and of what every mechanism shares."""

from collections.abc import Mapping
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s4_gateway import sigv4
from s4_gateway.auth import Authenticator, KeyStore
from s4_gateway.call import Call
from s4_gateway.errors import S3Error

from .helpers import ACCESS_KEY, NOW, SECRET_KEY, Body, authenticator, chunked_wire, make_call, signed_headers


def refused(call: Call, code: str, auth: Authenticator | None = None) -> S3Error:
    """The error of a call that must be refused with this code."""
    with pytest.raises(S3Error) as error:
        (auth or authenticator()).authenticate(call)
    assert error.value.code == code
    assert SECRET_KEY not in f"{error.value.message} {error.value.fields}"
    return error.value


def call_with(headers: Mapping[str, str], *, method: str = "GET", path: str = "/b/k", query: str = "", body: Body | None = None) -> Call:
    """A call with these headers."""
    return make_call(method, path, query, headers=headers, body=body)


def changed(field: str, value: str) -> dict[str, str]:
    """Rightly signed headers with one field of Authorization replaced."""
    headers = signed_headers()
    scheme, _, rest = headers["authorization"].partition(" ")
    fields = dict(part.split("=", 1) for part in rest.split(", "))
    fields[field] = value
    return {**headers, "authorization": f"{scheme} " + ", ".join(f"{name}={text}" for name, text in fields.items())}


def credential(text: str) -> dict[str, str]:
    """Headers with this Credential."""
    return changed("Credential", text)


def test_a_rightly_signed_request_gets_its_principal() -> None:
    """Key, body and everything else of the call stay as they are."""
    call = call_with(signed_headers())

    result = authenticator().authenticate(call)

    assert result.principal is not None
    assert result.principal.access_key == ACCESS_KEY
    assert (result.headers, result.raw_path, result.request_id) == (call.headers, call.raw_path, call.request_id)


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-2", "auto", "garage"])
def test_any_region_in_the_scope_is_accepted(region: str) -> None:
    """Clients keep the region that they are configured for."""
    headers = signed_headers(signer=sigv4.Signer(ACCESS_KEY, SECRET_KEY, region=region))

    assert authenticator().authenticate(call_with(headers)).principal is not None


def test_each_key_has_its_own_secret() -> None:
    """One user's secret does not sign for another."""
    auth = Authenticator(KeyStore({ACCESS_KEY: SECRET_KEY, "other": "other-secret"}), clock=lambda: NOW)

    for key, secret, fits in (("other", "other-secret", True), ("other", SECRET_KEY, False), (ACCESS_KEY, "other-secret", False)):
        call = call_with(signed_headers(signer=sigv4.Signer(key, secret)))
        if fits:
            principal = auth.authenticate(call).principal
            assert principal is not None
            assert principal.access_key == key
        else:
            refused(call, "SignatureDoesNotMatch", auth)


def test_anonymous_requests_are_denied() -> None:
    """No signature at all, also with a query of other parameters."""
    for query in ("", "list-type=2", "X-Amz-Expires=5"):
        assert refused(call_with({"host": "h"}, query=query), "AccessDenied").status == 403


def test_unknown_access_key() -> None:
    """The error names the key that was sent."""
    error = refused(call_with(signed_headers(signer=sigv4.Signer("AKIDUNKNOWN", SECRET_KEY))), "InvalidAccessKeyId")

    assert error.status == 403
    assert error.fields == {"AWSAccessKeyId": "AKIDUNKNOWN"}


def test_wrong_secret_tells_what_was_signed() -> None:
    """SignatureDoesNotMatch carries canonical request and string to sign, as text and bytes, and neither secret nor right signature."""
    headers = signed_headers(signer=sigv4.Signer(ACCESS_KEY, "wrong"), headers={"x-amz-meta-a": "\xff"})
    error = refused(call_with(headers), "SignatureDoesNotMatch")
    canonical = bytes.fromhex(error.fields["CanonicalRequestBytes"])

    assert error.status == 403
    assert error.fields["AWSAccessKeyId"] == ACCESS_KEY
    assert error.fields["SignatureProvided"] == headers["authorization"].rpartition("=")[2]
    assert error.fields["StringToSign"].splitlines()[-1] == sha256(canonical).hexdigest()
    assert bytes.fromhex(error.fields["StringToSignBytes"]).decode() == error.fields["StringToSign"]
    assert error.fields["CanonicalRequest"] == canonical.decode("utf-8", "replace")
    right = signed_headers(headers={"x-amz-meta-a": "\xff"})["authorization"].rpartition("=")[2]
    assert right not in str(error.fields)


@pytest.mark.parametrize("part", ["method", "path", "query", "header", "host", "date", "payload"])
def test_every_signed_part_counts(part: str) -> None:
    """A change of any signed part after signing is refused."""
    headers = signed_headers("GET", "/b/k", "prefix=a", headers={"range": "bytes=0-1"})
    authenticator().authenticate(call_with(headers, query="prefix=a"))
    wire = {"method": "GET", "path": "/b/k", "query": "prefix=a"}
    changes: dict[str, dict[str, str]] = {
        "method": {"method": "DELETE"}, "path": {"path": "/b/K"}, "query": {"query": "prefix=b"}, "header": {"range": "bytes=0-2"},
        "host": {"host": "i"}, "date": {"x-amz-date": "20130524T000001Z"}, "payload": {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
    }  # fmt: skip
    for name, value in changes[part].items():
        (wire if name in wire else headers)[name] = value

    refused(call_with(headers, method=wire["method"], path=wire["path"], query=wire["query"]), "SignatureDoesNotMatch")


@pytest.mark.parametrize("signature", ["", "0" * 64, "Z" * 64, "0" * 63, "\xff" * 64])
def test_signatures_of_any_form_are_compared(signature: str) -> None:
    """A malformed signature is one that does not match."""
    refused(call_with(changed("Signature", signature)), "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 ",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=host",
        "AWS4-HMAC-SHA256 Credential, SignedHeaders, Signature",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=host, Signature=0, ",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=host, Signature=0, Extra=1",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=host;, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=host;host, Signature=0",
        "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=host;a b, Signature=0",
    ],
)
def test_malformed_authorization_headers(authorization: str) -> None:
    """Missing, unknown and empty components are AuthorizationHeaderMalformed."""
    assert refused(call_with({**signed_headers(), "authorization": authorization}), "AuthorizationHeaderMalformed").status == 400


@pytest.mark.parametrize("field", ["Credential", "SignedHeaders", "Signature"])
def test_repeated_authorization_components_are_refused(field: str) -> None:
    """A component that comes twice is refused, also where both are the same."""
    headers = signed_headers()
    again = next(part for part in headers["authorization"].split(" ") if part.startswith(field)).rstrip(",")

    refused(call_with({**headers, "authorization": f"{headers['authorization']}, {again}"}), "AuthorizationHeaderMalformed")


@pytest.mark.parametrize(
    "text",
    [
        "", "a", f"{ACCESS_KEY}/20130524/us-east-1/s3", f"{ACCESS_KEY}/20130524/us-east-1/s3/aws4_request/x", "/20130524/r/s3/aws4_request",
        f"{ACCESS_KEY}/2013-05-24/us-east-1/s3/aws4_request", f"{ACCESS_KEY}/20130524//s3/aws4_request",
        f"{ACCESS_KEY}/20130524/{'r' * 65}/s3/aws4_request", f"{ACCESS_KEY}/20130524/us-east-1/sts/aws4_request",
        f"{ACCESS_KEY}/20130524/us-east-1/s3/aws5_request", f"{'a' * 129}/20130524/us-east-1/s3/aws4_request",
        f"{ACCESS_KEY}/20130523/us-east-1/s3/aws4_request", "\xe9/20130524/us-east-1/s3/aws4_request",
    ],
)  # fmt: skip
def test_malformed_credentials(text: str) -> None:
    """Shape, date, region, service and terminator of the scope are checked, and the date is x-amz-date's."""
    refused(call_with(credential(text)), "AuthorizationHeaderMalformed")


def test_components_may_be_separated_by_commas_alone() -> None:
    """Some clients leave the space behind the comma out."""
    headers = signed_headers()

    call = call_with({**headers, "authorization": headers["authorization"].replace(", ", ",")})
    assert authenticator().authenticate(call).principal is not None


@pytest.mark.parametrize(
    ("authorization", "code", "status"),
    [
        ("AWS AKID:c2lnbmF0dXJl", "InvalidRequest", 400),
        ("AWS4-ECDSA-P256-SHA256 Credential=a/20130524/s3/aws4_request, SignedHeaders=host, Signature=00", "NotImplemented", 501),
        ("Basic dTpw", "InvalidArgument", 400),
        ("Bearer token", "InvalidArgument", 400),
        ("", "InvalidArgument", 400),
        ("aws4-hmac-sha256 Credential=a", "InvalidArgument", 400),
    ],
)
def test_other_schemes_are_refused_by_name(authorization: str, code: str, status: int) -> None:
    """Signature versions 2 and 4A, and schemes that S3 never had."""
    assert refused(call_with({**signed_headers(), "authorization": authorization}), code).status == status


def test_region_sets_and_asymmetric_payloads_are_refused() -> None:
    """Every mark of Signature Version 4A is 501, whatever else the request has."""
    refused(call_with(signed_headers(headers={"x-amz-region-set": "*"})), "NotImplemented")
    for value in ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"):
        refused(call_with(signed_headers(payload_hash=value)), "NotImplemented")


@pytest.mark.parametrize("offset", [-901, -900, 900, 901])
def test_clock_window(offset: int) -> None:
    """15 minutes either way are accepted, a second more is not."""
    call = call_with(signed_headers())
    auth = authenticator(lambda: NOW + offset)
    if abs(offset) <= 900:
        assert auth.authenticate(call).principal is not None
    else:
        error = refused(call, "RequestTimeTooSkewed", auth)
        assert error.fields["RequestTime"] == "20130524T000000Z"
        assert error.fields["MaxAllowedSkewMilliseconds"] == "900000"


@pytest.mark.parametrize(
    "date", ["", "20130524", "20130524T000000", "20131324T000000Z", "20130524T250000Z", "Fri, 24 May 2013 00:00:00 GMT"]
)
def test_an_unusable_amz_date_is_refused(date: str) -> None:
    """x-amz-date has one form, and a Date beside it does not stand in for it."""
    headers = {**signed_headers(), "x-amz-date": date, "date": "Fri, 24 May 2013 00:00:00 GMT"}

    assert refused(call_with(headers), "AccessDenied").status == 403


@pytest.mark.parametrize("date", ["Fri, 24 May 2013 00:00:00 GMT", "20130524T000000Z", "Fri, 24 May 2013 02:00:00 +0200"])
def test_date_header_where_there_is_no_amz_date(date: str) -> None:
    """Clients may sign the Date header instead, in both its forms."""
    names = ["date", "host", "x-amz-content-sha256"]
    headers = {"date": date, "host": "h", "x-amz-content-sha256": sigv4.EMPTY_SHA256}
    canonical = sigv4.canonical_request("GET", "/b/k", "", headers=headers, names=names, payload_hash=sigv4.EMPTY_SHA256)
    scope = sigv4.scope("20130524", "us-east-1")
    key = sigv4.signing_key(SECRET_KEY, "20130524", "us-east-1")
    signature = sigv4.sign(key, sigv4.string_to_sign("20130524T000000Z", scope, canonical))
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"

    assert authenticator().authenticate(call_with(headers)).principal is not None
    refused(call_with({**headers, "date": "Fri, 24 May 2013 00:00:01 GMT"}), "SignatureDoesNotMatch")


@given(date=st.text(st.characters(max_codepoint=255), max_size=60))
@example("Fri, 24 May 99999 00:00:00 GMT")
@example("Mon, 32 Foo 2013 99:99:99 +9999")
@example("1 Jan 0001 00:00:00 +2359")
def test_any_date_is_an_answer(date: str) -> None:
    """No value of Date gives anything but an S3 error."""
    headers = {name: value for name, value in signed_headers().items() if name != "x-amz-date"}
    with pytest.raises(S3Error) as error:
        authenticator().authenticate(call_with({**headers, "date": date}))
    assert error.value.code in {"AccessDenied", "AuthorizationHeaderMalformed", "SignatureDoesNotMatch"}


@pytest.mark.parametrize("name", ["x-amz-meta-a", "x-amz-acl", "x-amz-copy-source", "x-amz-security-token"])
def test_unsigned_amz_headers_are_refused(name: str) -> None:
    """A header that changes what the request means must be signed."""
    error = refused(call_with({**signed_headers(), name: "v"}), "AccessDenied")

    assert error.fields == {"HeadersNotSigned": name}


def test_other_headers_need_no_signature() -> None:
    """Proxies add headers; only host and x-amz-* must be signed."""
    call = call_with({**signed_headers(), "x-forwarded-for": "::1", "user-agent": "x", "x-amzn-trace-id": "Root=1", "content-type": "a/b"})

    assert authenticator().authenticate(call).principal is not None


@pytest.mark.parametrize("left_out", ["host", "x-amz-date", "x-amz-content-sha256"])
def test_host_date_and_payload_hash_must_be_signed(left_out: str) -> None:
    """A signature that leaves one of them out is refused, even if it is right for the rest."""
    headers = {"host": "h", "x-amz-content-sha256": sigv4.EMPTY_SHA256, "x-amz-date": "20130524T000000Z"}
    names = sorted(headers.keys() - {left_out})
    canonical = sigv4.canonical_request("GET", "/b/k", "", headers=headers, names=names, payload_hash=sigv4.EMPTY_SHA256)
    scope = sigv4.scope("20130524", "us-east-1")
    key = sigv4.signing_key(SECRET_KEY, "20130524", "us-east-1")
    signature = sigv4.sign(key, sigv4.string_to_sign("20130524T000000Z", scope, canonical))
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"

    assert refused(call_with(headers), "AccessDenied").fields == {"HeadersNotSigned": left_out}


def test_signed_headers_that_are_absent_are_refused() -> None:
    """SignedHeaders must not name what the request does not have, not even if it was signed as empty."""
    headers = signed_headers(headers={"x-amz-meta-a": ""})
    del headers["x-amz-meta-a"]

    refused(call_with(headers), "SignatureDoesNotMatch")


@pytest.mark.parametrize("name", ["host", "x-amz-date", "x-amz-content-sha256", "range", "x-amz-acl"])
@pytest.mark.parametrize("same", [True, False])
def test_repeated_signed_headers_are_refused(name: str, same: bool) -> None:
    """A signed header that comes twice is refused, whichever of the two was signed."""
    headers = signed_headers(headers={"range": "bytes=0-1", "x-amz-acl": "private"})
    repeated = (name, headers[name] if same else "other")

    for pairs in ([repeated, *headers.items()], [*headers.items(), repeated]):
        with pytest.raises(S3Error):
            authenticator().authenticate(make_call("GET", "/b/k", "", headers=pairs))


def test_repeated_authorization_is_refused() -> None:
    """Two Authorization headers are never joined or chosen from."""
    headers = signed_headers()

    with pytest.raises(S3Error) as error:
        authenticator().authenticate(make_call("GET", "/b/k", "", headers=[*headers.items(), ("authorization", headers["authorization"])]))
    assert error.value.code == "AuthorizationHeaderMalformed"


def test_repeated_metadata_is_one_value() -> None:
    """x-amz-meta-* headers that repeat are signed as their comma-joined value, as S3 stores them."""
    headers = signed_headers(headers={"x-amz-meta-a": "1,2"})
    rest = [(name, value) for name, value in headers.items() if name != "x-amz-meta-a"]

    right = make_call("GET", "/b/k", "", headers=[("x-amz-meta-a", "1"), ("x-amz-meta-a", "2"), *rest])
    assert authenticator().authenticate(right).principal is not None
    wrong = make_call("GET", "/b/k", "", headers=[("x-amz-meta-a", "2"), ("x-amz-meta-a", "1"), *rest])
    refused(wrong, "SignatureDoesNotMatch")


def test_session_tokens_are_refused() -> None:
    """A static key has no session, and a token, even a signed one, is never ignored."""
    headers = signed_headers(signer=sigv4.Signer(ACCESS_KEY, SECRET_KEY, session_token="token"))

    assert refused(call_with(headers), "InvalidToken").status == 400


def test_header_and_query_together_are_refused() -> None:
    """A request has one signature."""
    query = sigv4.Signer(ACCESS_KEY, SECRET_KEY).presign("GET", "/b/k", "", headers={"host": "h"}, expires=60, when=NOW)

    refused(call_with(signed_headers(query=query), query=query), "InvalidArgument")


def test_payload_hash_is_required_and_has_four_forms() -> None:
    """A missing x-amz-content-sha256 is InvalidRequest, an unknown form InvalidArgument."""
    headers = signed_headers()
    del headers["x-amz-content-sha256"]
    refused(call_with({**headers, "authorization": headers["authorization"].replace(";x-amz-content-sha256", "")}), "InvalidRequest")
    for value in ("", "0" * 63, "unsigned-payload", "STREAMING-UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-EVENTS", "g" * 64):
        refused(call_with(signed_headers(payload_hash=value)), "InvalidArgument")


async def test_a_literal_payload_hash_is_promised_to_the_reader() -> None:
    """The body says which SHA-256 it must have, in lower case, and is otherwise the same."""
    digest = sha256(b"data").hexdigest()
    call = call_with(signed_headers("PUT", payload_hash=digest.upper()), method="PUT", body=Body([b"da", b"ta"], size=4))

    body = authenticator().authenticate(call).body

    assert (body.sha256, body.size, body.announced_trailers, body.trailers) == (digest, 4, frozenset(), {})
    assert [bytes(piece) async for piece in body] == [b"da", b"ta"]


def test_a_body_that_is_absent_must_have_been_signed_so() -> None:
    """Nobody reads the body of a GET, so its hash is compared at once."""
    call = call_with(signed_headers(payload_hash=sha256(b"data").hexdigest()))

    assert refused(call, "XAmzContentSHA256Mismatch").fields["S3ComputedContentSHA256"] == sigv4.EMPTY_SHA256


def test_unsigned_payload_leaves_the_body_alone() -> None:
    """Nothing is promised, nothing wrapped."""
    body = Body([b"x"], size=1)
    call = call_with(signed_headers("PUT", payload_hash=sigv4.UNSIGNED_PAYLOAD), method="PUT", body=body)

    assert authenticator().authenticate(call).body is body


STREAMING = {
    sigv4.STREAMING_SIGNED: False,
    sigv4.STREAMING_SIGNED_TRAILER: True,
    sigv4.STREAMING_UNSIGNED_TRAILER: True,
}


@pytest.mark.parametrize(("payload_hash", "trailer"), STREAMING.items())
async def test_streaming_bodies_are_decoded(payload_hash: str, trailer: bool) -> None:
    """The three aws-chunked forms, from the signature of the request to the trailer."""
    announcement = {"x-amz-trailer": "x-amz-checksum-crc32"} if trailer else {}
    headers = signed_headers("PUT", payload_hash=payload_hash, headers={"x-amz-decoded-content-length": "6", **announcement})
    trailers = {"x-amz-checksum-crc32": "AAAAAA=="} if trailer else {}
    signed = payload_hash != sigv4.STREAMING_UNSIGNED_TRAILER
    wire = chunked_wire(
        [b"four", b"ty"],
        seed=headers["authorization"].rpartition("=")[2] if signed else None,
        trailers=trailers,
        sign_trailer=signed and trailer,
    )
    call = call_with(headers, method="PUT", body=Body([wire], size=len(wire)))

    body = authenticator().authenticate(call).body

    assert (body.size, body.announced_trailers) == (6, trailers.keys())
    assert b"".join([bytes(piece) async for piece in body]) == b"fourty"
    assert body.trailers == trailers


@pytest.mark.parametrize("payload_hash", STREAMING)
@pytest.mark.parametrize(
    ("headers", "code", "status"),
    [
        ({}, "MissingContentLength", 411),
        ({"x-amz-decoded-content-length": ""}, "InvalidArgument", 400),
        ({"x-amz-decoded-content-length": "-1"}, "InvalidArgument", 400),
        ({"x-amz-decoded-content-length": "+1"}, "InvalidArgument", 400),
        ({"x-amz-decoded-content-length": "1e3"}, "InvalidArgument", 400),
        ({"x-amz-decoded-content-length": "9" * 19}, "InvalidArgument", 400),
        ({"x-amz-decoded-content-length": "1", "x-amz-trailer": "x-amz-meta-a"}, "InvalidRequest", 400),
        ({"x-amz-decoded-content-length": "1", "x-amz-trailer": ""}, "InvalidRequest", 400),
        ({"x-amz-decoded-content-length": "1", "x-amz-trailer": ",".join(["x-amz-checksum-crc32"] * 17)}, "InvalidRequest", 400),
    ],
)
def test_streaming_bodies_need_usable_announcements(payload_hash: str, headers: dict[str, str], code: str, status: int) -> None:
    """Decoded length and trailer names are checked before the body is touched."""
    body = Body([b"x"], size=1)
    call = call_with(signed_headers("PUT", payload_hash=payload_hash, headers=headers), method="PUT", body=body)

    assert refused(call, code).status == status
    assert body.read == 0


@pytest.mark.parametrize("payload_hash", [sigv4.UNSIGNED_PAYLOAD, sigv4.EMPTY_SHA256, sigv4.STREAMING_SIGNED])
def test_a_trailer_needs_a_payload_that_has_one(payload_hash: str) -> None:
    """A trailer that cannot come is refused instead of waited for."""
    headers = {"x-amz-trailer": "x-amz-checksum-crc32", "x-amz-decoded-content-length": "1"}
    call = call_with(signed_headers("PUT", payload_hash=payload_hash, headers=headers), method="PUT", body=Body([b"x"], size=None))

    refused(call, "InvalidRequest")


@pytest.mark.parametrize("payload_hash", [sigv4.UNSIGNED_PAYLOAD, sha256(b"x").hexdigest()])
@pytest.mark.parametrize(("declared", "size", "fits"), [("1", 1, True), ("1", 2, False), ("1", None, False), ("", 1, False)])
def test_a_decoded_length_needs_a_chunked_payload(payload_hash: str, declared: str, size: int | None, fits: bool) -> None:
    """Without framing a decoded length can only be the body's own: other bodies would be stored with their framing in them."""
    headers = signed_headers("PUT", payload_hash=payload_hash, headers={"x-amz-decoded-content-length": declared})
    call = call_with(headers, method="PUT", body=Body([b"x"], size=size))

    if fits:
        assert authenticator().authenticate(call).body.size == size
    else:
        refused(call, "InvalidRequest")


@pytest.mark.parametrize(("size", "close"), [(0, False), (5, True), (None, True)])
def test_a_refusal_reads_nothing_and_says_whether_a_body_is_left(size: int | None, close: bool) -> None:
    """A bad signature is answered before a byte of the body came; the connection is then of no more use."""
    body = Body([b"x"], size=size)
    call = call_with({**signed_headers("PUT"), "x-amz-date": "20130524T000001Z"}, method="PUT", body=body)

    assert refused(call, "SignatureDoesNotMatch").close is close
    assert body.read == 0


PATHS = [
    "/",
    "/b",
    "/b/",
    "/b//",
    "/b/a//b",
    "/b/../c",
    "/b/./c",
    "/b/..",
    "/b/a+b",
    "/b/a%20b",
    "/b/%C3%BC",
    "/b/%FF",
    "/b/~-_.",
    "/b/%25",
]


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_not_normalised(path: str) -> None:
    """Dots and slashes are signed as they are."""
    headers = signed_headers(path=path)

    assert authenticator().authenticate(call_with(headers, path=path)).principal is not None


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("/b/a%7eb", "/b/a~b"), ("/b/%41", "/b/A"), ("/b/a!b", "/b/a%21b"), ("/b/a%2fb", "/b/a/b"), ("/b/%zz", "/b/%25zz"),
        ("/b/%ff", "/b/%FF"),        ("/b/a+b", "/b/a%2Bb"), ("/b/%2B", "/b/%2B"), ("", "/"), ("/b/a%252Fb", "/b/a%252Fb"),
    ],
)  # fmt: skip
def test_canonical_paths(sent: str, canonical: str) -> None:
    """A path is decoded once and encoded again, byte by byte."""
    assert sigv4.canonical_path(sent.encode()) == canonical


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("", ""), ("acl", "acl="), ("b=2&a=1", "a=1&b=2"), ("a=2&a=1", "a=1&a=2"), ("a=b=c", "a=b%3Dc"), ("a=%FF", "a=%FF"),
        ("a=%ff", "a=%FF"),        ("a=b+c", "a=b%20c"), ("a=b%2Bc", "a=b%2Bc"), ("a=/", "a=%2F"), ("a=%7E", "a=~"),
        ("&&a=1&", "a=1"), ("a-=1&a=2", "a=2&a-=1"),
        ("A=1&a=2&%41=0", "A=0&A=1&a=2"), ("a=%zz", "a=%25zz"), ("=x", "=x"),
    ],
)  # fmt: skip
def test_canonical_queries(sent: str, canonical: str) -> None:
    """A query is decoded, encoded byte by byte, and sorted by encoded name and then value."""
    assert sigv4.canonical_query(sigv4.query_pairs(sent.encode())) == canonical


@given(raw=st.binary(max_size=60))
def test_canonical_paths_decode_to_the_same_bytes(raw: bytes) -> None:
    """Any bytes survive the way into a canonical path, which is its own canonical form."""
    path = sigv4.canonical_path(b"/" + sigv4.encode_path(raw).encode())

    assert sigv4.canonical_path(path.encode()) == path == "/" + sigv4.encode_path(raw)


@given(pairs=st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.binary(max_size=9)), max_size=5))
def test_canonical_queries_decode_to_the_same_pairs(pairs: list[tuple[bytes, bytes]]) -> None:
    """Any pairs survive the way into a canonical query, which is its own canonical form."""
    query = sigv4.canonical_query(pairs)

    assert sorted(sigv4.query_pairs(query.encode())) == sorted(pairs)
    assert sigv4.canonical_query(sigv4.query_pairs(query.encode())) == query


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        ("a", "a"),
        ("", ""),
        ("  a  ", "a"),
        ("a   b", "a b"),
        ("a\tb", "a b"),
        ("\ta \t b\t", "a b"),
        ("\xa0a\x85", "\xa0a\x85"),
        ("   ", ""),
    ],
)
def test_canonical_values(value: str, canonical: str) -> None:
    """White space is ASCII white space only: latin-1 text holds halves of UTF-8 characters that look like it."""
    assert sigv4.canonical_value(value) == canonical


def test_signers_do_not_show_secrets() -> None:
    """Neither secret nor token is in the text of a signer."""
    assert "SECRET" not in repr(sigv4.Signer("k", "SECRET", "SECRET"))


@pytest.mark.parametrize("expires", [0, -1, 604801])
def test_presigning_refuses_lives_out_of_bounds(expires: int) -> None:
    """A URL that no server accepts is not made."""
    with pytest.raises(ValueError, match="604800"):
        sigv4.Signer("k", "s").presign("GET", "/", "", headers={"host": "h"}, expires=expires, when=NOW)
