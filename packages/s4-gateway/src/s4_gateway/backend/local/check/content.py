"""The bytes of objects: whether they are those that were stored, and decode to what the object's attributes say."""

import sqlite3
from collections.abc import Iterator, Mapping
from hashlib import md5

from s4_codecs import CodecError, CodecUnavailableError, EncryptedObjectError, verify_object
from s4_format import FormatError, Manifest, composite_etag, dictionary_key, md5_etag

from s4_gateway.backend.local.blobs import BlobFiles
from s4_gateway.backend.local.bodies import BodyKind
from s4_gateway.backend.local.check.census import Census
from s4_gateway.backend.local.check.report import Kind

CHUNK = 1 << 20
DECODED = 256 << 20
"""Objects of more stored bytes are compared with their ETag and not decoded: that takes the whole body in memory."""


class Wrong(Exception):
    """What is wrong with a body."""

    def __init__(self, kind: Kind, detail: str = "") -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Contents:
    """Reads bodies behind the store's back.

    Args:
        connection: to the database.
        blobs: the files.
        census: all bodies.
    """

    def __init__(self, connection: sqlite3.Connection, blobs: BlobFiles, census: Census) -> None:
        self._connection = connection
        self._blobs = blobs
        self._census = census

    def segments(self, body: int) -> list[tuple[int, int]]:
        """Bodies and sizes that make up a body.

        Raises:
            Wrong: it is not there, or its list cannot be read.
        """
        row = self._census.bodies.get(body)
        if row is None:
            raise Wrong(Kind.BODY_MISSING)
        if row.kind is not BodyKind.LIST:
            return [(body, row.size)]
        segments = self._census.lists.get(body)
        if segments is None or sum(segment.size for segment in segments) != row.size:
            raise Wrong(Kind.LIST)
        return [(segment.body, segment.size) for segment in segments]

    def pieces(self, body: int, size: int) -> Iterator[bytes]:
        """The bytes of a body that is no list, of exactly that size.

        Raises:
            Wrong: they are not there, or fewer or more.
        """
        row = self._census.bodies.get(body)
        if row is None:
            raise Wrong(Kind.BODY_MISSING, f"part {body:016x}")
        if row.kind is BodyKind.INLINE:
            content = self._connection.execute("SELECT content FROM bodies WHERE id = ?", (body,)).fetchone()[0] or b""
            if not len(content) == row.size == size:
                raise Wrong(Kind.FILE_SIZE, f"{len(content)} bytes, not {size}")
            yield content
            return
        yield from self._file_pieces(body, size)

    def check_size(self, body: int, size: int) -> None:
        """Look at the file's size alone; raises Wrong."""
        row = self._census.bodies.get(body)
        if row is None or row.kind is BodyKind.INLINE:
            for _ in self.pieces(body, size):
                pass
            return
        descriptor = self._open(body)
        try:
            found = self._blobs.size(descriptor)
        finally:
            self._blobs.close(descriptor)
        if found != size:
            raise Wrong(Kind.FILE_SIZE, f"{found} bytes, not {size}")

    def _file_pieces(self, body: int, size: int) -> Iterator[bytes]:
        descriptor = self._open(body)
        try:
            if (found := self._blobs.size(descriptor)) != size:
                raise Wrong(Kind.FILE_SIZE, f"{found} bytes, not {size}")
            offset = 0
            while offset < size:
                piece = self._blobs.read(descriptor, CHUNK, offset)
                if not piece:
                    raise Wrong(Kind.FILE_SIZE, f"{offset} bytes, not {size}")
                offset += len(piece)
                yield piece
        except OSError as error:
            raise Wrong(Kind.UNREADABLE, str(error)) from error
        finally:
            self._blobs.close(descriptor)

    def _open(self, body: int) -> int:
        try:
            return self._blobs.open(body)
        except FileNotFoundError:
            raise Wrong(Kind.FILE_MISSING, self._blobs.path_of(body)) from None
        except OSError as error:
            raise Wrong(Kind.UNREADABLE, str(error)) from error


class ObjectCheck:
    """Reads objects from end to end.

    Args:
        contents: the bodies.
        dictionaries: bucket and key of dictionaries to their bodies.
    """

    def __init__(self, contents: Contents, dictionaries: Mapping[tuple[str, str], int]) -> None:
        self._contents = contents
        self._dictionaries = dictionaries

    def check(self, bucket: str, body: int, *, size: int, etag: str, metadata: Mapping[str, str]) -> None:
        """Compare the bytes with the ETag, and what they decode to with metadata and trailer.

        Raises:
            Wrong: they differ.
        """
        segments = self._contents.segments(body)
        if (found := sum(part for _, part in segments)) != size:
            raise Wrong(Kind.FILE_SIZE, f"{found} bytes, not {size}")
        digests: list[bytes] = []
        whole = bytearray()
        for part, part_size in segments:
            digest = md5(usedforsecurity=False)
            for piece in self._contents.pieces(part, part_size):
                digest.update(piece)
                if size <= DECODED:
                    whole += piece
            digests.append(digest.digest())
        _compare_etag(etag, digests)
        if size > DECODED:
            raise Wrong(Kind.NOT_DECODED, f"it has more than {DECODED >> 20} MiB")
        self._decode(whole, bucket, metadata)

    def check_sizes(self, body: int, *, size: int) -> None:
        """Compare sizes alone; raises Wrong."""
        segments = self._contents.segments(body)
        if (found := sum(part for _, part in segments)) != size:
            raise Wrong(Kind.FILE_SIZE, f"{found} bytes, not {size}")
        for part, part_size in segments:
            self._contents.check_size(part, part_size)

    def _decode(self, whole: bytearray, bucket: str, metadata: Mapping[str, str]) -> None:
        try:
            manifest = Manifest.from_metadata(metadata)
            if manifest.is_s4:
                verify_object(whole, manifest, dictionary=self._dictionary(bucket, manifest))
        except (CodecUnavailableError, EncryptedObjectError) as error:
            raise Wrong(Kind.NOT_DECODED, str(error)) from error
        except (CodecError, FormatError) as error:
            raise Wrong(Kind.UNDECODABLE, str(error)) from error

    def _dictionary(self, bucket: str, manifest: Manifest) -> bytes | None:
        body = None if manifest.dict_id is None else self._dictionaries.get((bucket, dictionary_key(manifest.dict_id)))
        if body is None:
            return None
        return b"".join(piece for part, size in self._contents.segments(body) for piece in self._contents.pieces(part, size))


def _compare_etag(etag: str, digests: list[bytes]) -> None:
    """A body of several parts has a composite ETag; one of one part may have either."""
    if "-" in etag:
        found = composite_etag(digests)
    else:
        found = md5_etag(digests[0]) if len(digests) == 1 else "that of several parts"
    if found != etag:
        raise Wrong(Kind.CONTENT, f"the ETag of the bytes is {found}, not {etag}")
