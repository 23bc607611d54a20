"""aws-chunked bodies: signed, signed with a trailer, and with an unsigned trailer."""

from hashlib import sha256

from s4_gateway import sigv4
from s4_gateway.auth.chunked import ChunkedDecoder, SignatureChain
from s4_gateway.errors import S3Error

from fuzzing.target import Target, cuts, outcome, require

KEY = sigv4.signing_key("known-to-the-fuzzer", "20130524", "us-east-1")
STAMP, SCOPE, SEED_SIGNATURE = "20130524T000000Z", sigv4.scope("20130524", "us-east-1"), "0" * 64
TRAILER = b"x-amz-checksum-crc32:sOO8/Q=="
ANNOUNCED = frozenset({"x-amz-checksum-crc32"})


def _chain() -> SignatureChain:
    return SignatureChain(KEY, "client", STAMP, SCOPE, SEED_SIGNATURE)


def _decoder(form: int, size: int) -> ChunkedDecoder:
    """By the two lowest bits: 0 unsigned with trailer, 1 signed, 2 signed with trailer, 3 unsigned without one."""
    match form & 3:
        case 0:
            return ChunkedDecoder(size, announced=ANNOUNCED)
        case 1:
            return ChunkedDecoder(size, chain=_chain())
        case 2:
            return ChunkedDecoder(size, announced=ANNOUNCED, signed_trailer=True, chain=_chain())
        case _:
            return ChunkedDecoder(size)


def _read(form: int, size: int, pieces: list[bytes]) -> tuple[bytes, dict[str, str]]:
    decoder = _decoder(form, size)
    body = b"".join(bytes(piece) for data in pieces for piece in decoder.feed(data))
    decoder.finish()
    require(len(body) == size, "a clean end means the declared bytes")
    return body, decoder.trailers


def _written(form: int, pieces: list[bytes]) -> bytes:
    """The body as a client frames and signs it."""
    signed, previous, wire = (form & 3) in (1, 2), SEED_SIGNATURE, b""
    for piece in [*pieces, b""]:
        line = b"%x" % len(piece)
        if signed:
            previous = sigv4.sign(KEY, sigv4.chunk_string_to_sign(STAMP, SCOPE, previous, sha256(piece).hexdigest()))
            line += b";chunk-signature=" + previous.encode()
        wire += line + b"\r\n" + (piece + b"\r\n" if piece else b"")
    if (form & 3) in (0, 2):
        wire += TRAILER + b"\r\n"
    if (form & 3) == 2:
        signature = sigv4.sign(KEY, sigv4.trailer_string_to_sign(STAMP, SCOPE, previous, sha256(TRAILER + b"\n").hexdigest()))
        wire += b"x-amz-trailer-signature:" + signature.encode() + b"\r\n"
    return wire + b"\r\n"


def check_decoder(data: bytes) -> None:
    """Cut anywhere, a body is read the same, or refused the same."""
    if len(data) < 2:
        return
    form, size, wire = data[0], data[1], data[2:]
    whole = outcome(lambda: _read(form, size, [wire]))
    require(outcome(lambda: _read(form, size, cuts(wire, form))) == whole, "a cut body is read as a whole one")
    require(outcome(lambda: _read(form, size, [wire[i : i + 1] for i in range(len(wire))])) == whole, "so it is byte by byte")


def check_tampering(data: bytes) -> None:
    """What was framed comes back; one changed byte of a signed body never gives another body or trailer."""
    if len(data) < 4:
        return
    form, place, flip, body = data[0], data[1] << 8 | data[2], data[3], data[4:]
    pieces = cuts(body, place)
    wire = _written(form, pieces)
    truth = _read(form, len(body), cuts(wire, place))
    require(truth[0] == body, "what was framed comes back")
    require(outcome(lambda: _read(form, len(body), [wire[: place % len(wire)]]))[0] == "refused", "a body that is cut off is refused")  # type: ignore[index]
    if (form & 3) in (1, 2) and flip:
        changed = bytearray(wire)
        changed[place % len(wire)] ^= flip
        try:
            found = _read(form, len(body), [bytes(changed)])
        except S3Error:
            return
        require(found == truth, "a signed body is what was signed or nothing")


CODES = frozenset({"IncompleteBody", "SignatureDoesNotMatch", "MalformedTrailerError"})
MODULES = ("s4_gateway.auth.chunked",)

TARGETS = (
    Target(
        "aws-chunked",
        check_decoder,
        modules=MODULES,
        seeds=tuple(bytes([form, 11]) + _written(form, [b"hello ", b"world"]) for form in range(4)),
        words=(b"\r\n", b"0\r\n", b";chunk-signature=", TRAILER, b"x-amz-trailer-signature:", b"0" * 64, b"\n\r\n", b":"),
        codes=CODES,
    ),
    Target(
        "tampering",
        check_tampering,
        modules=MODULES,
        seeds=(b"\x01\x00\x07\x01hello world", b"\x02\x00\x60\x20hello world", b"\x00\x00\x00\x00hello world"),
        codes=CODES,
        max_bytes=1024,
    ),
)
