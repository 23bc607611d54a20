"""What others put into the bucket: plain objects, and objects of the reference as it stores them (no trailer, no write token)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from s4_codecs import EncodeOptions, ObjectEncoder
from s4_format import CodecId, FrameHeader, FrameTable, FrameTableBuilder, Manifest, Sidecar, crc32c, padding_for, padding_header

from .values import Part, composite_etag, md5


@dataclass(frozen=True, slots=True)
class Foreign:
    """A stored body and what clients are to see of it."""

    stored: bytes
    metadata: Mapping[str, str]
    etag: str | None
    """Logical; empty = the store's own."""
    parts: tuple[Part, ...] = ()
    frames: FrameTable | None = None
    """Of the sidecar that belongs to it."""

    def sidecar(self, store_etag: str) -> bytes | None:
        """The index that the reference writes beside it."""
        if self.frames is None or len(self.frames) < 2:
            return None
        return Sidecar(self.frames, len(self.stored), len(self.stored), store_etag).encode()


def foreign(form: str, bodies: Sequence[bytes], *, frame_size: int, min_part: int) -> Foreign:
    """An object of one of the forms of `steps.FOREIGN`."""
    body = b"".join(bodies)
    match form:
        case "plain":
            return Foreign(body, {}, "")
        case "raw" | "unstamped raw":
            etag = md5(body) if form == "raw" else None
            said = Manifest(
                codec=CodecId.PASSTHROUGH, original_size=len(body), compressed_size=len(body), crc32c=crc32c(body), logical_etag=etag
            )
            return Foreign(body, said.to_metadata(), etag or "")
        case "framed" | "unstamped":
            return _framed(body, frame_size, stamped=form == "framed")
        case _:
            return _parts(bodies, min_part, stamped=form == "stamped parts")


def _framed(body: bytes, frame_size: int, *, stamped: bool) -> Foreign:
    encoder = ObjectEncoder(EncodeOptions(), size=len(body), frame_size=frame_size, raw_passthrough_limit=0)
    tasks = [*encoder.feed(body), *encoder.finish()]
    stored = b"".join(bytes(piece) for task in tasks for piece in encoder.accept(task.run()))
    etag = md5(body) if stamped else None
    said = Manifest(
        codec=CodecId.CPU_ZSTD,
        original_size=len(body),
        compressed_size=len(stored),
        crc32c=encoder.crc32c,
        framed=True,
        logical_etag=etag,
    )
    return Foreign(stored, said.to_metadata(), etag, frames=encoder.frames)


def _table(frames: Sequence[tuple[int, int]], stored: Sequence[bytes]) -> FrameTable:
    builder = FrameTableBuilder()
    for (original, size), item in zip(frames, stored, strict=True):
        builder.append(original, size)
        builder.skip(len(item) - size)
    return builder.build()


def _parts(bodies: Sequence[bytes], min_part: int, *, stamped: bool) -> Foreign:
    """One frame per part, padded to the least size but for the last. Where there are several, the index beside a stamped object tells them
    apart; an object that was never stamped is read frame by frame.
    """
    stored: list[bytes] = []
    frames: list[tuple[int, int]] = []
    for body in bodies:
        frame = FrameHeader(CodecId.PASSTHROUGH, len(body), len(body), crc32c(body)).pack() + body
        length = padding_for(len(frame), min_part) if len(stored) < len(bodies) - 1 else None
        frames.append((len(body), len(frame)))
        stored.append(frame if length is None else frame + padding_header(length) + bytes(length))
    parts = tuple(Part(number, body, md5(body), 0) for number, body in enumerate(bodies, 1))
    size = sum(map(len, bodies)) if stamped else None
    etag = composite_etag([part.etag for part in parts]) if stamped else None
    said = Manifest(codec=CodecId.CPU_ZSTD, multipart=True, original_size=size, logical_etag=etag)
    told = len(parts) > 1 or not stamped
    return Foreign(b"".join(stored), said.to_metadata(), etag, parts if told else (), _table(frames, stored) if stamped else None)
