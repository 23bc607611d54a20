"""Requests as a client would make them, and the call that the wire layer makes of them."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import unquote_to_bytes

from s4_gateway import sigv4
from s4_gateway.auth import Authenticator, KeyStore
from s4_gateway.backend.abc import Buffer
from s4_gateway.call import Call

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW = 1_369_353_600
"""2013-05-24T00:00:00Z, the day of AWS's published examples."""


@dataclass
class Body:
    """A request body that comes in the given pieces and counts what was read of it."""

    pieces: Iterable[bytes] = ()
    size: int | None = 0
    sha256: str | None = None
    announced_trailers: frozenset[str] = frozenset()
    trailers: Mapping[str, str] = field(default_factory=dict)
    read: int = 0

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        for piece in self.pieces:
            self.read += 1
            yield piece


def make_call(
    method: str,
    path: str,
    query: str,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    body: Body | None = None,
) -> Call:
    """A call with these wire parts; repeated headers are joined as the wire layer joins them."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    raw = tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs)
    joined: dict[str, str] = {}
    for name, value in raw:
        text = name.decode("latin-1")
        joined[text] = f"{joined[text]}, {value.decode('latin-1')}" if text in joined else value.decode("latin-1")
    return Call(
        operation="GetObject",
        method=method,
        bucket="b",
        key="k",
        query={
            unquote_to_bytes(name).decode("utf-8", "replace"): unquote_to_bytes(value).decode("utf-8", "replace")
            for name, _, value in (part.partition("=") for part in query.split("&") if part)
        },
        headers=joined,
        request_id="0" * 16,
        raw_path=path.encode("ascii"),
        raw_query=query.encode("ascii"),
        raw_headers=raw,
        resource=path,
        source_ip=None,
        body=body if body is not None else Body(),
    )


def authenticator(clock: Callable[[], float] = lambda: NOW) -> Authenticator:
    """Knows the one example pair."""
    return Authenticator(KeyStore({ACCESS_KEY: SECRET_KEY}), clock=clock)


def signed_headers(
    method: str = "GET",
    path: str = "/b/k",
    query: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    payload_hash: str = sigv4.EMPTY_SHA256,
    signer: sigv4.Signer | None = None,
    when: float = NOW,
) -> dict[str, str]:
    """Headers of a rightly signed request."""
    signer = signer or sigv4.Signer(ACCESS_KEY, SECRET_KEY)
    return signer.sign(method, path, query, headers={"host": "h", **(headers or {})}, payload_hash=payload_hash, when=when)


def chunked_wire(
    chunks: Iterable[bytes],
    *,
    seed: str | None = None,
    trailers: Mapping[str, str] | None = None,
    sign_trailer: bool = False,
    timestamp: str = "20130524T000000Z",
    region: str = "us-east-1",
) -> bytes:
    """The aws-chunked wire form, straight from the specification; `seed` None leaves chunks unsigned."""
    scope = f"20130524/{region}/s3/aws4_request"
    key = sigv4.signing_key(SECRET_KEY, "20130524", region)
    wire = []
    previous = seed or ""
    for chunk in (*chunks, b""):
        line = f"{len(chunk):x}"
        if seed is not None:
            digest = sha256(chunk).hexdigest()
            text = f"AWS4-HMAC-SHA256-PAYLOAD\n{timestamp}\n{scope}\n{previous}\n{sigv4.EMPTY_SHA256}\n{digest}"
            previous = sigv4.sign(key, text)
            line += f";chunk-signature={previous}"
        wire += [line.encode(), b"\r\n", chunk, b"\r\n" if chunk else b""]
    wire += [f"{name}:{value}\r\n".encode() for name, value in (trailers or {}).items()]
    if sign_trailer:
        lines = "".join(f"{name}:{value}\n" for name, value in (trailers or {}).items())
        text = f"AWS4-HMAC-SHA256-TRAILER\n{timestamp}\n{scope}\n{previous}\n{sha256(lines.encode()).hexdigest()}"
        wire.append(f"x-amz-trailer-signature:{sigv4.sign(key, text)}\r\n".encode())
    wire.append(b"\r\n")
    return b"".join(wire)
