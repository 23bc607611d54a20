"""CopyObject: the stored body is copied inside the backend, metadata always written anew (data-paths.md section 2)."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from s4_format import CodecId, Layout, Manifest, dictionary_key, select_reserved, strip_reserved

from s4_gateway.backend.abc import BackendError, Condition, Pieces, Written
from s4_gateway.errors import S3Error
from s4_gateway.objects.attributes import Attributes
from s4_gateway.objects.commit import commit, new_token, told_time
from s4_gateway.objects.core import Core
from s4_gateway.objects.dictionaries import Dictionaries
from s4_gateway.objects.face import Face, Moved, Wanted
from s4_gateway.objects.intake import Expected
from s4_gateway.objects.logical_body import LogicalBody
from s4_gateway.objects.options import MAX_PUT_BYTES
from s4_gateway.objects.put import LogicalCondition, PutRequest, Putter
from s4_gateway.objects.reader import Reader, ReadRequest
from s4_gateway.objects.sidecar import sidecar_due, write_sidecar
from s4_gateway.objects.stamp import check_client_metadata, core_metadata, metadata_bytes, multipart_metadata
from s4_gateway.state.cache import Entry

TOO_LARGE_SOURCE = "The specified copy source is larger than the maximum allowable size for a copy source"
MAX_COPIED_BYTES = 5 * 2**30
"""Stored bytes that one backend copy takes (S3: 5 GiB); an incompressible object of that size is stored with frame headers."""
ATTEMPTS = 3
"""How often a copy starts again when its source was replaced under it."""


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """One copy. `headers` and `metadata` are None for the COPY directive, the client's for REPLACE."""

    bucket: str
    key: str
    source_bucket: str
    source_key: str
    source_version: str | None
    check: Callable[[Face], None]
    """Source conditions, on the logical object."""
    headers: Mapping[str, str] | None = None
    metadata: Mapping[str, str] | None = None
    condition: LogicalCondition = field(default_factory=LogicalCondition)

    @property
    def onto_itself(self) -> bool:
        return (self.bucket, self.key, None) == (self.source_bucket, self.source_key, self.source_version)

    def client_headers(self, face: Face) -> Mapping[str, str]:
        """System headers of the copy."""
        return face.stored.headers if self.headers is None else self.headers

    def client_metadata(self, face: Face) -> Mapping[str, str]:
        """Metadata of the copy that is the client's."""
        return strip_reserved(face.stored.metadata) if self.metadata is None else self.metadata


@dataclass(frozen=True, slots=True)
class CopyResult:
    """A committed copy."""

    attributes: Attributes
    modified: int
    source_version: str | None
    version_id: str | None


class Copier:
    """Copies logical objects."""

    def __init__(self, core: Core, reader: Reader, putter: Putter) -> None:
        self._core = core
        self._reader = reader
        self._putter = putter
        self._dictionaries = Dictionaries(core)

    async def copy(self, request: CopyRequest) -> CopyResult:
        """Copy one object.

        Raises:
            S3Error: InvalidRequest (self-copy that changes nothing, above 5 GiB), PreconditionFailed, MetadataTooLarge.
            BackendError: as the store said, e.g. NoSuchKey for the source.
        """
        if request.onto_itself and request.metadata is None:
            raise S3Error(
                "InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing it."
            )
        face = await self._source(request)
        for _ in range(ATTEMPTS):
            condition = await self._putter.resolve(request.bucket, request.key, request.condition)
            token = new_token()
            metadata = self._metadata(request, face, token)
            if metadata is None:
                return await self._rewrite(request)
            await self._bring_dictionary(request, face.manifest)
            try:
                return await self._core.to_the_end(self._copy(request, face, metadata, token, condition))
            except BackendError as error:
                if error.status != 412:
                    raise
                before, face = face, await self._source(request)
                if face.stored.etag == before.stored.etag:
                    await self._putter.confirm(error, request.bucket, request.key, request.condition)
                    if request.condition == LogicalCondition():
                        # The client asked for none: the store contradicts itself about the source.
                        raise S3Error("ServiceUnavailable", "The storage backend refuses its own ETag of the source; try again.") from error
                    raise
        raise S3Error("OperationAborted", "The copy source is being replaced faster than it can be copied; try again.")

    async def _source(self, request: CopyRequest) -> Face:
        face = await self._reader.head(
            request.source_bucket, request.source_key, version=request.source_version, wanted=Wanted(checksums=True)
        )
        request.check(face)
        if face.attributes.size > MAX_PUT_BYTES:
            raise S3Error("InvalidRequest", f"{TOO_LARGE_SOURCE}: {MAX_PUT_BYTES}")
        indexed = face.attributes.layout is Layout.FRAMED and not face.manifest.trailer
        if indexed and self._core.options.sidecars and face.attributes.size > self._core.options.sidecar_above:
            # Only the sidecar beside it knows its frames, and its parts: the copy gets one too.
            with suppress(Moved):
                face = await self._reader.with_index(request.source_bucket, face, version=request.source_version)
        return face

    def _metadata(self, request: CopyRequest, face: Face, token: str) -> Mapping[str, str] | None:
        """The copy's metadata; None where it does not fit, or the backend cannot copy so much, and the body itself must be written anew."""
        client = request.client_metadata(face)
        check_client_metadata(client, self._core.backend.capabilities)
        if face.stored.size > MAX_COPIED_BYTES:
            return None
        own = {**select_reserved(face.stored.metadata), **Manifest(write_token=token).to_metadata()}
        limit = self._core.backend.capabilities.metadata_limit
        if metadata_bytes(client) + metadata_bytes(own) <= limit:
            return {**client, **own}
        manifest = face.manifest
        if manifest.trailer and manifest.codec is not None and manifest.dict_id is None:
            core = multipart_metadata if manifest.multipart else core_metadata
            return {**client, **core(manifest.codec, token, size=manifest.original_size)}
        return None

    async def _copy(
        self, request: CopyRequest, face: Face, metadata: Mapping[str, str], token: str, condition: Condition | None
    ) -> CopyResult:
        write = self._core.backend.copy_object(
            request.bucket,
            request.key,
            source_bucket=request.source_bucket,
            source_key=request.source_key,
            source_version_id=request.source_version,
            source_etag=face.stored.etag,
            headers=request.client_headers(face),
            metadata=metadata,
            condition=condition,
        )
        written = await commit(self._core.backend, request.bucket, request.key, token, write)
        return await self._committed(request, face, written)

    async def _rewrite(self, request: CopyRequest) -> CopyResult:
        """Read the source and store it like a PUT. Headers and metadata are those of the very body that is read."""
        read = ReadRequest(request.source_bucket, request.source_key, request.source_version, check=request.check, reserved=True)
        opened = await self._reader.open(read)
        face = opened.face
        condition = request.condition
        guarded = request.onto_itself and condition == LogicalCondition() and self._core.backend.capabilities.conditional_complete
        if guarded:
            # What is written back must not hide what somebody else wrote meanwhile.
            condition = LogicalCondition(if_match=face.attributes.etag or "*")
        try:
            put = PutRequest(
                request.bucket,
                request.key,
                LogicalBody(opened),
                request.client_headers(face),
                request.client_metadata(face),
                Expected(also=frozenset(face.attributes.checksums) - {"crc64nvme"}),
                condition,
                ours=True,
            )
            done = await self._putter.put(put)
        except (S3Error, BackendError) as error:
            if guarded and error.status in (404, 412):
                raise S3Error("OperationAborted", "The object was replaced while it was copied onto itself; try again.") from error
            raise
        finally:
            await opened.chunks.aclose()
        return CopyResult(done.attributes, done.modified, face.stored.version_id, done.version_id)

    async def _bring_dictionary(self, request: CopyRequest, manifest: Manifest) -> None:
        """A dictionary object is readable only where its dictionary lies: put it into the destination bucket first.

        Raises:
            S3Error: InternalError: the source's dictionary is missing or damaged.
        """
        if manifest.dict_id is None or manifest.codec is not CodecId.CPU_ZSTD_DICT or request.bucket == request.source_bucket:
            return
        key = dictionary_key(manifest.dict_id)
        data, stored = await self._dictionaries.fetch(request.source_bucket, manifest.dict_id)
        conditional = self._core.backend.capabilities.conditional_put
        try:
            await self._core.backend.put_object(
                request.bucket,
                key,
                Pieces.of(data),
                headers=stored.headers,
                metadata=stored.metadata,
                condition=Condition(if_absent=True) if conditional else None,
            )
        except BackendError as error:
            # Its name is its content's digest: one that is there already is the same.
            if error.status not in (409, 412):
                raise

    async def _committed(self, request: CopyRequest, face: Face, written: Written) -> CopyResult:
        attributes = face.attributes
        if attributes.layout is Layout.FOREIGN or (attributes.etag == face.stored.etag and face.manifest.logical_etag is None):
            attributes = replace(attributes, etag=written.etag)
        size = face.stored.size
        self._core.cache.put(request.bucket, request.key, Entry(written.etag, size, written.earliest, written.latest, attributes))
        if sidecar_due(self._core, attributes):
            await write_sidecar(self._core, request.bucket, request.key, etag=written.etag, stored_size=size, attributes=attributes)
        return CopyResult(attributes, told_time(written), face.stored.version_id, written.version_id)
