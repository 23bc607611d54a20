"""The aws-chunked decoder: any cut of the wire gives the same result, and no damage passes."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway import sigv4
from s4_gateway.auth.chunked import MAX_LINE_BYTES, MAX_TRAILER_BYTES, ChunkedBody, ChunkedDecoder, SignatureChain
from s4_gateway.errors import ClientDisconnected, S3Error

from .helpers import ACCESS_KEY, SECRET_KEY, Body, chunked_wire

SEED = "5" * 64
CRC = {"x-amz-checksum-crc32": "AAAAAA=="}
MODES = {
    "signed": {"seed": SEED},
    "signed trailer": {"seed": SEED, "trailers": CRC, "sign_trailer": True},
    "unsigned trailer": {"trailers": CRC},
    "unsigned, no trailer": {},
}
modes = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def make_decoder(size: int, mode: dict[str, Any]) -> ChunkedDecoder:
    """A decoder for one of the modes."""
    chain = None
    if "seed" in mode:
        key = sigv4.signing_key(SECRET_KEY, "20130524", "us-east-1")
        chain = SignatureChain(key, ACCESS_KEY, "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", mode["seed"])
    return ChunkedDecoder(size, announced=frozenset(mode.get("trailers", ())), signed_trailer=mode.get("sign_trailer", False), chain=chain)


def decode(pieces: Iterable[bytes], size: int, mode: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Data and trailers of a whole body."""
    decoder = make_decoder(size, mode)
    data = b"".join([b"".join(decoder.feed(piece)) for piece in pieces])
    decoder.finish()
    return data, decoder.trailers


def refusal(pieces: Iterable[bytes], size: int, mode: dict[str, Any]) -> S3Error:
    """The error that a body gives."""
    with pytest.raises(S3Error) as error:
        decode(pieces, size, mode)
    assert error.value.close
    return error.value


def cut(wire: bytes, at: Sequence[int]) -> list[bytes]:
    """The wire cut at these offsets."""
    edges = [0, *sorted(at), len(wire)]
    return [wire[a:b] for a, b in pairwise(edges)]


CHUNKS = [b"a" * 300, b"\r\n0;chunk-signature=" * 9, b"c"]
PLAIN = b"".join(CHUNKS)


@given(data=st.data(), chunks=st.lists(st.binary(min_size=1, max_size=200), max_size=5), mode=st.sampled_from(list(MODES.values())))
def test_any_cut_gives_the_same_result(data: st.DataObject, chunks: list[bytes], mode: dict[str, Any]) -> None:
    """How the wire bytes are cut into reads changes nothing."""
    wire = chunked_wire(chunks, **mode)
    plain = b"".join(chunks)
    at = data.draw(st.lists(st.integers(0, len(wire)), max_size=12))

    assert decode(cut(wire, at), len(plain), mode) == (plain, dict(mode.get("trailers", {})))


@modes
def test_byte_by_byte(mode: dict[str, Any]) -> None:
    """A body that comes one byte at a time decodes."""
    wire = chunked_wire(CHUNKS, **mode)

    assert decode([wire[i : i + 1] for i in range(len(wire))], len(PLAIN), mode)[0] == PLAIN


@modes
def test_truncated_at_every_offset(mode: dict[str, Any]) -> None:
    """Every proper prefix of a body is refused."""
    wire = chunked_wire(CHUNKS, **mode)

    for end in range(len(wire)):
        assert refusal([wire[:end]], len(PLAIN), mode).code == "IncompleteBody", end


@pytest.mark.parametrize("name", ["signed", "signed trailer"])
def test_any_damaged_byte_is_refused(name: str) -> None:
    """Signed, every changed byte is refused, but for letter case of sizes and trailer names, and white space that ends a trailer line."""
    mode = MODES[name]
    wire = chunked_wire(CHUNKS, **mode)

    for offset in range(len(wire)):
        for bit in range(8):
            damaged = bytearray(wire)
            damaged[offset] ^= 1 << bit
            try:
                result = decode([bytes(damaged)], len(PLAIN), mode)
            except S3Error:
                continue
            assert bytes(damaged).lower().split() == wire.lower().split(), offset
            assert result == (PLAIN, mode.get("trailers", {}))


@given(offset=st.integers(0, 10_000), byte=st.integers(1, 255), mode=st.sampled_from(list(MODES.values())))
def test_damage_never_escapes_as_another_error(offset: int, byte: int, mode: dict[str, Any]) -> None:
    """Damage is an S3Error or changed data of the declared size, never another exception."""
    wire = bytearray(chunked_wire(CHUNKS, **mode))
    wire[offset % len(wire)] ^= byte
    try:
        data, _ = decode([bytes(wire)], len(PLAIN), mode)
    except S3Error:
        return
    assert len(data) == len(PLAIN)


@given(junk=st.binary(max_size=300))
def test_junk_is_refused_or_empty(junk: bytes) -> None:
    """Random bytes never decode to data."""
    try:
        result = decode([junk], 0, {})
    except S3Error:
        return
    assert result == (b"", {})


@modes
def test_trailing_junk_is_refused(mode: dict[str, Any]) -> None:
    """Nothing may follow the end of the body."""
    wire = chunked_wire(CHUNKS, **mode)

    for junk in (b"x", b"0\r\n\r\n", b"x-amz-checksum-sha1:AA==\r\n\r\n", wire):
        assert refusal([wire, junk], len(PLAIN), mode).code in {"IncompleteBody", "MalformedTrailerError"}


def test_pieces_are_views_of_the_input() -> None:
    """Data is handed on without a copy."""
    read = chunked_wire([b"x" * 1000])

    (piece,) = make_decoder(1000, {}).feed(read)

    assert piece.obj is read


@modes
@pytest.mark.parametrize("declared", [len(PLAIN) - 1, len(PLAIN) + 1, 0])
def test_other_length_than_declared_is_refused(mode: dict[str, Any], declared: int) -> None:
    """The data must have exactly x-amz-decoded-content-length bytes."""
    assert refusal([chunked_wire(CHUNKS, **mode)], declared, mode).code == "IncompleteBody"


def test_a_chunk_larger_than_declared_is_refused_at_its_line() -> None:
    """A huge chunk size costs nothing: no data is awaited."""
    for size in (b"7fffffffffffffff", b"ffffffffffffffff", b"11"):
        with pytest.raises(S3Error, match="x-amz-decoded-content-length"):
            make_decoder(16, {}).feed(size + b"\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"", b"x", b"-1", b"+1", b"0x1", b"1_0", b" 1", b"1 ", b"1;", b"1;a=b", b"11111111111111111", "\uff11".encode(),
        b"1;chunk-signature=" + b"0" * 64,
    ],
)  # fmt: skip
def test_malformed_unsigned_lines_are_refused(line: bytes) -> None:
    """Only plain hexadecimal sizes are chunk lines."""
    assert refusal([line + b"\r\nz\r\n0\r\n\r\n"], 1, {}).code == "IncompleteBody"


@pytest.mark.parametrize("line", [b"1", b"1;chunk-signature=", b"1;chunk-signature=" + b"0" * 63, b"1;chunk-signature=" + b"A" * 64])
def test_missing_and_malformed_signatures_are_refused(line: bytes) -> None:
    """A signed body needs a well-formed signature on every chunk."""
    assert refusal([line + b"\r\nz\r\n"], 1, MODES["signed"]).code == "IncompleteBody"


def test_line_feed_alone_does_not_end_a_chunk_line() -> None:
    """Chunk lines and data end with CRLF."""
    for wire in (b"1\nz\r\n0\r\n\r\n", b"1\r\nz\n0\r\n\r\n", b"1\r\nz\r\n0\n\r\n"):
        assert refusal([wire], 1, {}).code == "IncompleteBody"


def _feed_all(decoder: ChunkedDecoder, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        decoder.feed(piece)


@pytest.mark.parametrize("step", [1, 7, 5000])
def test_endless_lines_and_trailers_are_bounded(step: int) -> None:
    """Neither a chunk line nor a trailer is held beyond its bound."""
    for prefix, limit in ((b"", MAX_LINE_BYTES), (b"0\r\n", MAX_TRAILER_BYTES)):
        decoder = make_decoder(0, {})
        decoder.feed(prefix)
        with pytest.raises(S3Error, match="too long"):
            _feed_all(decoder, [b"1" * step] * (limit // step + 1))


def test_too_many_trailers_are_refused() -> None:
    """A trailer has at most 100 fields."""
    wire = b"0\r\n" + b"".join(b"a%d:b\r\n" % i for i in range(101)) + b"\r\n"

    assert refusal([wire], 0, {}).code == "MalformedTrailerError"


def test_swapped_chunks_are_refused() -> None:
    """Signatures are chained: two rightly signed chunks in another order are refused at the first."""
    wire = chunked_wire([b"a" * 10, b"b" * 10], seed=SEED)
    length = len(wire.split(b"a" * 10)[0]) + 12
    swapped = wire[length : 2 * length] + wire[:length] + wire[2 * length :]

    error = refusal([swapped], 20, MODES["signed"])

    assert error.code == "SignatureDoesNotMatch"
    assert error.fields["AWSAccessKeyId"] == ACCESS_KEY
    assert error.fields["StringToSign"].startswith(
        f"AWS4-HMAC-SHA256-PAYLOAD\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n{SEED}"
    )


def test_chunks_of_another_request_are_refused() -> None:
    """The first chunk's signature covers the request's own."""
    assert refusal([chunked_wire(CHUNKS, seed="6" * 64)], len(PLAIN), MODES["signed"]).code == "SignatureDoesNotMatch"


def test_nothing_is_taken_after_a_refusal() -> None:
    """A decoder that refused once never ends well."""
    wire = chunked_wire([b"a"], seed=SEED)
    decoder = make_decoder(1, MODES["signed"])
    with pytest.raises(S3Error):
        decoder.feed(wire.replace(b"\r\na\r\n", b"\r\nb\r\n"))
    with pytest.raises(S3Error):
        decoder.feed(wire)
    with pytest.raises(S3Error):
        decoder.finish()


@pytest.mark.parametrize(
    "trailer",
    [
        b"\r\n",
        b"x-amz-checksum-sha1:AAAAAA==\r\n\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-checksum-sha1:AA==\r\n\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:00\r\n\r\n",
        b"x-amz-checksum-crc32\r\n\r\n",
        b"x-amz-checksum-crc32 :AAAAAA==\r\n\r\n",
        b"x-amz-checksum-crc32:A\x00==\r\n\r\n",
        b"x-amz-checksum-crc32:\xff\r\n\r\n",
        b":AAAAAA==\r\n\r\n",
    ],
)
def test_trailers_other_than_announced_are_refused(trailer: bytes) -> None:
    """Exactly the announced fields, well-formed and each once: a missing one fails closed."""
    assert refusal([b"0\r\n" + trailer], 0, MODES["unsigned trailer"]).code == "MalformedTrailerError"


@pytest.mark.parametrize(
    "trailer",
    [
        b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        b"X-Amz-Checksum-CRC32: AAAAAA== \r\n\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\n\r\n\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\n\r\n",
    ],
)
def test_trailer_spellings_of_clients_are_accepted(trailer: bytes) -> None:
    """Letter case, white space around the value, and lines that end with LF alone, as widespread clients write them."""
    assert decode([b"0\r\n" + trailer], 0, MODES["unsigned trailer"]) == (b"", CRC)


def test_signed_trailer_with_bare_line_feeds_is_accepted() -> None:
    """The form `name:value LF CRLF x-amz-trailer-signature:...`, as one widespread client writes it."""
    mode = MODES["signed trailer"]
    wire = chunked_wire([b"a"], **mode).replace(b"AAAAAA==\r\n", b"AAAAAA==\n\r\n")

    assert decode([wire], 1, mode) == (b"a", CRC)


def test_a_signed_trailer_without_or_with_a_wrong_signature_is_refused() -> None:
    """A trailer of a signed upload must be signed, even an empty one."""
    mode = MODES["signed trailer"]
    unsigned = chunked_wire([b"a"], seed=SEED, trailers=CRC)
    wrong = chunked_wire([b"a"], **mode).replace(b"AAAAAA==", b"AAAAAQ==")
    empty = chunked_wire([], seed=SEED)

    assert refusal([unsigned], 1, mode).code == "SignatureDoesNotMatch"
    assert refusal([wrong], 1, mode).code == "SignatureDoesNotMatch"
    assert refusal([empty], 0, {**mode, "trailers": {}}).code == "SignatureDoesNotMatch"


def test_nothing_may_follow_the_trailer_signature() -> None:
    """The trailer signature is the last field, so that no field is outside it."""
    mode = MODES["signed trailer"]
    wire = chunked_wire([b"a"], seed=SEED, trailers={}, sign_trailer=True)
    wire = wire[:-2] + b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n"

    assert refusal([wire], 1, mode).code == "MalformedTrailerError"


async def test_body_hands_on_data_and_then_trailers() -> None:
    """The request body over a decoder: size, data, trailers."""
    mode = MODES["signed trailer"]
    wire = chunked_wire(CHUNKS, **mode)
    body = ChunkedBody(Body(cut(wire, range(0, len(wire), 50))), make_decoder(len(PLAIN), mode))
    assert (body.size, body.sha256, body.announced_trailers) == (len(PLAIN), None, CRC.keys())

    assert b"".join([bytes(piece) async for piece in body]) == PLAIN
    assert body.trailers == CRC


async def test_body_joins_small_chunks() -> None:
    """Many small chunks in one read are handed on as one piece."""
    chunks = [bytes([i % 251]) * 100 for i in range(5000)]
    plain = b"".join(chunks)
    wire = chunked_wire(chunks, seed=SEED)
    body = ChunkedBody(Body(cut(wire, range(0, len(wire), 300_000))), make_decoder(len(plain), MODES["signed"]))

    pieces = [bytes(piece) async for piece in body]

    assert b"".join(pieces) == plain
    assert len(pieces) == -(-len(wire) // 300_000)


async def test_body_that_ends_early_is_refused_at_its_end() -> None:
    """The iteration over a truncated body raises instead of ending."""
    body = ChunkedBody(Body([chunked_wire(CHUNKS, seed=SEED)[:-40]]), make_decoder(len(PLAIN), MODES["signed"]))

    with pytest.raises(S3Error) as error:
        _ = [piece async for piece in body]
    assert error.value.code == "IncompleteBody"


async def test_a_lost_connection_is_passed_on() -> None:
    """What the body below raises is not disguised."""

    def pieces() -> Iterable[bytes]:
        yield b"1\r\n"
        raise ClientDisconnected

    with pytest.raises(ClientDisconnected):
        _ = [piece async for piece in ChunkedBody(Body(pieces()), make_decoder(1, {}))]
