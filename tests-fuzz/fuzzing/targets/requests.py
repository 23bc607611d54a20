"""Whole requests behind their heads: address, query, operation, and the three signatures."""

from dataclasses import replace
from typing import Any

from s4_gateway import sigv4
from s4_gateway.auth.authenticate import Authenticator
from s4_gateway.auth.credentials import KeyStore
from s4_gateway.call import Call
from s4_gateway.errors import S3Error
from s4_gateway.serve.head import Head, parse_head
from s4_gateway.wire.request import RequestParser
from s4_gateway.wire.routes import OPERATIONS

from fuzzing.target import Target, require
from fuzzing.targets.heads import head_of

KEY, SECRET = "client", "known-to-the-fuzzer"
NOW = 1_369_353_600
"""24 May 2013, as in the examples of the API reference."""
AUTHENTICATOR = Authenticator(KeyStore({KEY: SECRET}), clock=lambda: NOW)
STRANGER = Authenticator(KeyStore({KEY: SECRET + "!"}), clock=lambda: NOW)
PATHS, HOSTS = RequestParser(domain=None), RequestParser(domain="s3.test")
SIGNER = sigv4.Signer(KEY, SECRET)

HEAD_CODES = frozenset({"InvalidRequest", "InvalidURI", "MethodNotAllowed", "NotImplemented"})
ADDRESS_CODES = HEAD_CODES | {"InvalidBucketName", "KeyTooLongError", "InvalidArgument", "MissingContentLength", "EntityTooLarge"}
AUTH_CODES = ADDRESS_CODES | {
    *("AccessDenied", "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError", "InvalidAccessKeyId", "InvalidToken"),
    *("RequestTimeTooSkewed", "SignatureDoesNotMatch", "XAmzContentSHA256Mismatch"),
}


async def _nothing() -> Any:
    raise AssertionError("a parser read the body")


def call_of(head: Head, parser: RequestParser) -> Call:
    """The call that the gateway makes of a head."""
    scope = {
        "type": "http",
        "method": head.method,
        "raw_path": head.path,
        "query_string": head.query,
        "headers": head.headers,
        "client": ("127.0.0.1", 1),
    }
    return parser.parse(scope, _nothing)


def check_request(data: bytes) -> None:
    """Address and query of a request keep their bounds, and their canonical form stands for the same bytes."""
    if not data:
        return
    head = parse_head(head_of(data[1:]))
    call = call_of(head, HOSTS if data[0] & 1 else PATHS)
    require(call.operation in OPERATIONS, "an operation is one of the table")
    require(len(call.key.encode()) <= 1024 and len(call.bucket) <= 255, "names are bounded")
    require("/" not in call.bucket and ".." not in call.bucket, "a bucket is one harmless name")
    require(bool(call.bucket) or not call.key, "a key lies in a bucket")
    pairs = sigv4.query_pairs(head.query)
    require(sorted(sigv4.query_pairs(sigv4.canonical_query(pairs).encode())) == sorted(pairs), "a canonical query has the same pairs")
    path = sigv4.canonical_path(head.path)
    require(sigv4.canonical_path(path.encode()) == path, "a canonical path is canonical")


def check_authentication(data: bytes) -> None:
    """Nothing that the fuzzer invents is authentic."""
    if not data:
        return
    call = call_of(parse_head(head_of(data[1:])), HOSTS if data[0] & 1 else PATHS)
    verified = AUTHENTICATOR.authenticate(call)
    require(verified.principal is not None, "a request that passes has a principal")
    require(_is_vouched(data), "nobody without the secret passes")


def _is_vouched(data: bytes) -> bool:
    """The seeds that were signed with the secret, whatever the fuzzer did to what their signatures do not cover."""
    return any(signature in data for signature in SIGNATURES)


def check_signed(data: bytes) -> None:
    """What our signer signs passes, and no longer after any change; in the header, and presigned."""
    if not data:
        return
    head = parse_head(head_of(data[1:]))
    single = len({name for name, _ in head.headers}) == len(head.headers)
    own = any(name in (b"authorization", b"date") or name.startswith(b"x-amz-") for name, _ in head.headers)
    if (
        not single
        or own
        or head.http_version != "1.1"
        or b"X-Amz" in head.query
        or b"Signature" in head.query
        or b"AWSAccessKeyId" in head.query
    ):
        return
    sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    if data[0] & 2:
        headers = SIGNER.sign(
            head.method, head.path.decode(), head.query.decode(), headers=sent, payload_hash=sigv4.UNSIGNED_PAYLOAD, when=NOW
        )
        signed = head._replace(headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()])
    else:
        query = SIGNER.presign(head.method, head.path.decode(), head.query.decode(), headers={"host": sent["host"]}, expires=60, when=NOW)
        signed = head._replace(query=query.encode())
    call = call_of(signed, PATHS)
    require(AUTHENTICATOR.authenticate(call).principal is not None, "what was signed passes")
    _refuses(STRANGER, call, "another secret's signature")
    _refuses(AUTHENTICATOR, replace(call, raw_path=call.raw_path + b"x"), "another path")
    _refuses(AUTHENTICATOR, replace(call, raw_query=call.raw_query + b"&z=1"), "another query")
    _refuses(AUTHENTICATOR, replace(call, method=call.method + "X"), "another method")


def _refuses(authenticator: Authenticator, call: Call, what: str) -> None:
    try:
        authenticator.authenticate(call)
    except S3Error as error:
        require(error.code == "SignatureDoesNotMatch", f"{what} is a mismatch, not {error.code}")
        return
    require(False, f"{what} is refused")


def _signed(method: str, path: str, query: str = "", body: str = "") -> bytes:
    headers = SIGNER.sign(method, path, query, headers={"host": "h"}, payload_hash=sigv4.UNSIGNED_PAYLOAD, when=NOW)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"\x02{method} {path}{'?' + query if query else ''} HTTP/1.1\r\n{lines}{body}\r\n".encode()


def _presigned(path: str) -> bytes:
    query = SIGNER.presign("GET", path, "", headers={"host": "h"}, expires=600, when=NOW)
    return f"\x00GET {path}?{query} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


def _signature(seed: bytes) -> bytes:
    return seed.rpartition(b"Signature=")[2][:64]


AUTHENTIC = (_signed("GET", "/bucket/key"), _signed("PUT", "/bucket/key", "partNumber=1&uploadId=x"), _presigned("/bucket/key"))
SIGNATURES = tuple(map(_signature, AUTHENTIC))

PLAIN = (
    b"\x00GET /bucket/a%2Fb//c/../d%20e+f?list-type=2&prefix=%C3%A9+x&delimiter=/ HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\x01PUT /key HTTP/1.1\r\nHost: bucket.s3.test:80\r\nContent-Length: 5\r\nx-amz-decoded-content-length: 3\r\n\r\n",
    b"\x02POST /bucket/key?uploads HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    b"\x02PUT /b12/key?partNumber=1&uploadId=y HTTP/1.1\r\nHost: h\r\nx: a  b\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"\x00DELETE /bucket/key?versionId=1 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\x02GET / HTTP/1.1\r\nHost: h\r\n\r\n",
)
V2 = (b"\x00GET /bucket/key?AWSAccessKeyId=client&Expires=1369353700&Signature=AAAAAAAAAAAAAAAAAAAAAAAAAAA%3D HTTP/1.1\r\nHost: h\r\n\r\n",)
ADDRESS_WORDS = (
    *(b"GET ", b"PUT ", b"POST ", b"DELETE ", b"HEAD ", b" HTTP/1.1\r\nHost: h\r\n", b"%2F", b"%00", b"%", b"+", b"&", b"?", b"..", b"//"),
    *(b"uploads", b"uploadId=", b"partNumber=", b"list-type=2", b"versionId=", b"delete", b"tagging", b"x-id="),
    *(b"Content-Length: 0\r\n", b"x-amz-copy-source: /b/k\r\n", b"x-amz-decoded-content-length: 3\r\n", b"bucket.s3.test", b"%F0%9F%98%80"),
)
AUTH_WORDS = (
    *(b"X-Amz-Algorithm=AWS4-HMAC-SHA256", b"&X-Amz-Credential=client/20130524/us-east-1/s3/aws4_request", b"&X-Amz-Date=20130524T000000Z"),
    *(b"&X-Amz-Expires=60", b"&X-Amz-SignedHeaders=host", b"&X-Amz-Signature=", b"&X-Amz-Security-Token=", b"AWS4-ECDSA-P256-SHA256"),
    *(b"Authorization: AWS4-HMAC-SHA256 Credential=client/20130524/us-east-1/s3/aws4_request", b", SignedHeaders=host;x-amz-date"),
    *(b", Signature=", b"x-amz-date: 20130524T000000Z\r\n", b"Date: Fri, 24 May 2013 00:00:00 GMT\r\n", b"x-amz-content-sha256: "),
    *(b"UNSIGNED-PAYLOAD\r\n", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER\r\n", b"x-amz-trailer: x-amz-checksum-crc32\r\n"),
    *(b"AWSAccessKeyId=client", b"&Expires=1369353700", b"&Signature=", b"&response-expires=", b"x-amz-meta-a: 1\r\n"),
)
MODULES = ("s4_gateway.wire.request", "s4_gateway.wire.routes", "s4_gateway.sigv4", "s4_gateway.wire.headers")
AUTH_MODULES = tuple(
    f"s4_gateway.auth.{name}" for name in ("authenticate", "authorization", "claim", "presigned", "presigned_v2", "payload")
)

TARGETS = (
    Target("request", check_request, modules=MODULES, seeds=PLAIN, words=ADDRESS_WORDS, codes=ADDRESS_CODES),
    Target(
        "authentication",
        check_authentication,
        modules=(*MODULES, *AUTH_MODULES),
        seeds=AUTHENTIC + V2 + PLAIN[:1],
        words=AUTH_WORDS + ADDRESS_WORDS,
        codes=AUTH_CODES,
    ),
    Target("signed", check_signed, modules=("s4_gateway.sigv4", *AUTH_MODULES), seeds=PLAIN, words=ADDRESS_WORDS, codes=ADDRESS_CODES),
)
