"""CopyObject: the stored body is copied inside the backend, metadata always written anew (data-paths.md section 2)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from s4_format import Manifest, dictionary_key, select_reserved, strip_reserved

from s4_gateway.backend.abc import BackendError, Pieces, Written
from s4_gateway.errors import S3Error
from s4_gateway.objects.attributes import Attributes, Layout
from s4_gateway.objects.commit import commit, new_token
from s4_gateway.objects.core import Core
from s4_gateway.objects.face import Face, Wanted
from s4_gateway.objects.intake import Expected
from s4_gateway.objects.logical_body import LogicalBody
from s4_gateway.objects.options import MAX_PUT_BYTES
from s4_gateway.objects.put import LogicalCondition, PutRequest, Putter
from s4_gateway.objects.reader import Reader, ReadRequest
from s4_gateway.objects.sidecar import sidecar_due, write_sidecar
from s4_gateway.objects.stamp import check_client_metadata, core_metadata, metadata_bytes, multipart_metadata
from s4_gateway.state.cache import Entry

TOO_LARGE_SOURCE = "The specified copy source is larger than the maximum allowable size for a copy source"


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
        face = await self._reader.head(
            request.source_bucket, request.source_key, version=request.source_version, wanted=Wanted(checksums=True)
        )
        request.check(face)
        if face.attributes.size > MAX_PUT_BYTES:
            raise S3Error(
                "InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120"
            )
        condition = await self._putter.resolve(request.bucket, request.key, request.condition)
        headers = face.stored.headers if request.headers is None else request.headers
        client = strip_reserved(face.stored.metadata) if request.metadata is None else request.metadata
        token = new_token()
        metadata = self._metadata(face, client, token)
        if metadata is None:
            return await self._rewrite(request, face, headers, client)
        await self._bring_dictionary(request, face.manifest)
        write = self._core.backend.copy_object(
            request.bucket,
            request.key,
            source_bucket=request.source_bucket,
            source_key=request.source_key,
            source_version_id=request.source_version,
            source_etag=face.stored.etag,
            headers=headers,
            metadata=metadata,
            condition=condition,
        )
        try:
            written = await commit(self._core.backend, request.bucket, request.key, token, write)
        except BackendError as error:
            if error.status == 412 and condition is None:
                raise S3Error("OperationAborted", "The copy source was replaced while it was copied; try again.") from error
            raise
        return await self._committed(request, face, written)

    def _metadata(self, face: Face, client: Mapping[str, str], token: str) -> Mapping[str, str] | None:
        """The copy's metadata; None where it does not fit and the body itself must be written anew."""
        check_client_metadata(client, self._core.backend.capabilities)
        own = {**select_reserved(face.stored.metadata), **Manifest(write_token=token).to_metadata()}
        limit = self._core.backend.capabilities.metadata_limit
        if metadata_bytes(client) + metadata_bytes(own) <= limit:
            return {**client, **own}
        manifest = face.manifest
        if manifest.trailer and manifest.codec is not None:
            core = multipart_metadata if manifest.multipart else core_metadata
            return {**client, **core(manifest.codec, token, size=manifest.original_size)}
        return None

    async def _rewrite(self, request: CopyRequest, face: Face, headers: Mapping[str, str], client: Mapping[str, str]) -> CopyResult:
        """A body without trailer whose metadata does not fit beside the client's: read it and store it with a trailer."""
        read = ReadRequest(request.source_bucket, request.source_key, request.source_version, check=request.check)
        opened = await self._reader.open(read)
        try:
            put = PutRequest(
                request.bucket,
                request.key,
                LogicalBody(opened),
                headers,
                client,
                Expected(also=frozenset(face.attributes.checksums) - {"crc64nvme"}),
                request.condition,
            )
            done = await self._putter.put(put)
        finally:
            await opened.chunks.aclose()
        stored = await self._core.backend.head_object(request.bucket, request.key)
        return CopyResult(done.attributes, stored.modified, face.stored.version_id, done.version_id)

    async def _bring_dictionary(self, request: CopyRequest, manifest: Manifest) -> None:
        """A dictionary object is readable only where its dictionary lies: put it into the destination bucket first."""
        if manifest.dict_id is None or request.bucket == request.source_bucket:
            return
        key = dictionary_key(manifest.dict_id)
        download = await self._core.backend.get_object(request.source_bucket, key)
        async with download:
            stored, data = download.object, await download.read()
        await self._core.backend.put_object(request.bucket, key, Pieces.of(data), headers=stored.headers, metadata=stored.metadata)

    async def _committed(self, request: CopyRequest, face: Face, written: Written) -> CopyResult:
        attributes = face.attributes
        if attributes.layout is Layout.FOREIGN or (attributes.etag == face.stored.etag and face.manifest.logical_etag is None):
            attributes = replace(attributes, etag=written.etag)
        size = face.stored.size
        self._core.cache.put(request.bucket, request.key, Entry(written.etag, size, written.earliest, written.latest, attributes))
        if sidecar_due(self._core, attributes):
            await write_sidecar(self._core, request.bucket, request.key, etag=written.etag, stored_size=size, attributes=attributes)
        return CopyResult(attributes, written.latest, face.stored.version_id, written.version_id)
