"""Proving a stored object: every frame, and everything that its metadata and its trailer say about the whole."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from s4_format import Buffer, Manifest, Trailer, composite_etag, md5_etag, read_trailer, scan_frames

from s4_codecs._buffer import as_bytes_view
from s4_codecs.checksums import ALGORITHMS, Digests
from s4_codecs.decode import open_decoder
from s4_codecs.drive import decode_threaded
from s4_codecs.errors import ChecksumMismatchError, IndexMismatchError, Reason, SizeMismatchError

_ETAG = "etag"
_TRAILER = "trailer"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was proven."""

    original_size: int
    """Plaintext bytes."""
    stored_size: int
    """Bytes of the body."""
    frames: int
    """Frames of the body; 0 for an unframed one."""
    checked: frozenset[str]
    """What was compared with the plaintext beyond the frames' own checksums: "etag", "trailer", and names of algorithms."""


def verify_object(body: Buffer, metadata: Manifest | Mapping[str, str], *, dictionary: bytes | None = None, workers: int = 0) -> Verified:
    """Decode a whole stored body and compare it with everything that metadata and trailer promise.

    A body without S4 metadata promises nothing: all that is said of it is its length.

    Raises:
        ChecksumMismatchError: all frames are sound, but they are not the object that metadata or trailer describe.
        IndexMismatchError: the trailer describes other frames than there are.
        CodecError, FormatError: the body is damaged, truncated, encrypted, malformed, or not decodable here.
    """
    manifest = metadata if isinstance(metadata, Manifest) else Manifest.from_metadata(metadata)
    view = as_bytes_view(body)
    if manifest.compressed_size is not None and manifest.compressed_size != len(view):
        message = f"the body has {len(view)} bytes, {manifest.compressed_size} promised"
        raise SizeMismatchError(message, reason=Reason.BODY_TRUNCATED)
    decoder = open_decoder(manifest, dictionary=dictionary)
    trailer = read_trailer(view, body_size=len(view)) if manifest.trailer else None
    frames = _count_frames(view, manifest, trailer)
    promises = list(_promises(manifest, trailer))
    etags = list(_etags(manifest, trailer))
    digests = Digests({algorithm for algorithm, _ in promises} | {"md5" for etag in etags if "-" not in etag})
    part_md5s = _PartDigests(part.original_size for part in trailer.parts) if trailer else None
    for buffer in decode_threaded(decoder, (view,), workers=workers):
        digests.update(buffer)
        if part_md5s is not None:
            part_md5s.update(buffer)
    for algorithm, value in promises:
        _compare(algorithm, digests.base64(algorithm), value)
    checked = {algorithm for algorithm, _ in promises}
    for etag in etags:
        found = _etag_like(etag, digests, part_md5s)
        if found is not None:
            _compare(_ETAG, found, etag)
            checked.add(_ETAG)
    return Verified(digests.size, len(view), frames, frozenset(checked | ({_TRAILER} if trailer else set())))


def _count_frames(view: bytes | memoryview, manifest: Manifest, trailer: Trailer | None) -> int:
    if not (manifest.framed or manifest.multipart or manifest.trailer):
        return 0
    found, _ = scan_frames(view)
    if trailer is not None and trailer.frames != found:
        raise IndexMismatchError("the trailer describes other frames than the body has")
    return len(found)


def _promises(manifest: Manifest, trailer: Trailer | None) -> Iterator[tuple[str, str]]:
    """Algorithm and base64 value of every checksum of the whole plaintext; composite ones are not of the plaintext."""
    if manifest.crc32c is not None:
        yield "crc32c", b64encode(manifest.crc32c.to_bytes(4, "big")).decode("ascii")
    if manifest.crc64nvme is not None:
        yield "crc64nvme", manifest.crc64nvme
    stated = [*manifest.checksums.items(), *(trailer.attributes.checksums.items() if trailer else ())]
    yield from ((algorithm, value) for algorithm, value in stated if algorithm in ALGORITHMS and "-" not in value)


def _etags(manifest: Manifest, trailer: Trailer | None) -> Iterator[str]:
    for etag in (manifest.logical_etag, trailer.attributes.logical_etag if trailer else None):
        if etag is not None:
            yield etag


def _etag_like(etag: str, digests: Digests, parts: "_PartDigests | None") -> str | None:
    """The object's own ETag of the same kind; None for a composite one whose parts nothing names."""
    if "-" not in etag:
        return md5_etag(digests.raw("md5"))
    return None if parts is None else parts.etag()


class _PartDigests:
    """MD5 of each part of a plaintext that arrives in other pieces."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self._sizes = iter(sizes)
        self._md5s: list[bytes] = []
        self._running = Digests(("md5",))
        self._left = next(self._sizes, None)
        self._close_full_parts()

    def update(self, buffer: Buffer) -> None:
        view = memoryview(buffer)
        while view and self._left is not None:
            head, view = view[: self._left], view[self._left :]
            self._running.update(head)
            self._left -= len(head)
            self._close_full_parts()

    def _close_full_parts(self) -> None:
        while self._left == 0:
            self._md5s.append(self._running.raw("md5"))
            self._running = Digests(("md5",))
            self._left = next(self._sizes, None)

    def etag(self) -> str | None:
        """The composite ETag; None when there are no parts."""
        return composite_etag(self._md5s) if self._md5s else None


def _compare(what: str, found: str, promised: str) -> None:
    if found != promised:
        raise ChecksumMismatchError(f"{what} of the decoded object is {found}, {promised} promised")
