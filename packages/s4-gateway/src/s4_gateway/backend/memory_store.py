"""Buckets, versions and uploads in memory: S3's rules as plain synchronous code, one call one atomic step."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import md5

from s4_format.etag import composite_etag, md5_etag

from s4_gateway.backend._rules import (
    check_bucket_name,
    check_key,
    check_manifest,
    check_metadata,
    check_part_number,
    check_part_sizes,
    list_token,
    refuse,
    token_name,
)
from s4_gateway.backend.abc import (
    Bucket,
    BucketState,
    Capabilities,
    Condition,
    Deleted,
    ListEntry,
    ListPage,
    OpenUpload,
    StoredObject,
    Written,
)

NULL_VERSION = "null"


class Versioning(Enum):
    """Versioning of a bucket; once on it can only be suspended."""

    NEVER = "never"
    ENABLED = "enabled"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class _Version:
    version_id: str
    modified: int
    body: bytes | None
    """None = a delete marker."""
    etag: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Part:
    body: bytes
    digest: bytes
    etag: str


@dataclass(slots=True)
class _Upload:
    key: str
    initiated: int
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    parts: dict[int, _Part] = field(default_factory=dict)


@dataclass(slots=True)
class _Bucket:
    created: int
    location: str | None
    versioning: Versioning = Versioning.NEVER
    locked: bool = False
    objects: dict[str, list[_Version]] = field(default_factory=dict)
    """Versions of each key, oldest first."""
    uploads: dict[str, _Upload] = field(default_factory=dict)


class MemoryStore:
    """The state that one or more `MemoryBackend` share.

    Args:
        capabilities: what the store grants; limits are enforced.
        clock: seconds since the epoch; cut to whole seconds.
        opaque_etags: ETags are random tokens, as stores with encryption give them, and not MD5s.
    """

    def __init__(self, capabilities: Capabilities, *, clock: Callable[[], float], opaque_etags: bool) -> None:
        self.capabilities = capabilities
        self._clock = clock
        self._opaque_etags = opaque_etags
        self._buckets: dict[str, _Bucket] = {}

    # Buckets

    def buckets(self) -> list[Bucket]:
        return [Bucket(name, bucket.created) for name, bucket in sorted(self._buckets.items())]

    def create_bucket(self, name: str, location: str | None) -> None:
        check_bucket_name(name)
        if name in self._buckets:
            raise refuse("BucketAlreadyOwnedByYou")
        self._buckets[name] = _Bucket(int(self._clock()), location)

    def delete_bucket(self, name: str) -> None:
        if self._bucket(name).objects:
            raise refuse("BucketNotEmpty")
        del self._buckets[name]

    def state(self, name: str) -> BucketState:
        bucket = self._bucket(name)
        return BucketState(bucket.location, bucket.versioning is not Versioning.NEVER, bucket.locked)

    def set_versioning(self, name: str, versioning: Versioning, *, locked: bool = False) -> None:
        """Switch versioning; `locked` only shows in the bucket's state."""
        bucket = self._bucket(name)
        bucket.versioning = versioning
        bucket.locked = locked

    def _bucket(self, name: str) -> _Bucket:
        try:
            return self._buckets[name]
        except KeyError:
            raise refuse("NoSuchBucket") from None

    # Objects

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        metadata: Mapping[str, str],
        condition: Condition | None = None,
    ) -> Written:
        place = self._bucket(bucket)
        check_key(key)
        check_metadata(metadata, self.capabilities.metadata_limit)
        if len(body) > self.capabilities.max_part_size:
            raise refuse("EntityTooLarge")
        self._check_condition(place, key, condition, granted=self.capabilities.conditional_put)
        etag = self._etag(md5_etag(md5(body, usedforsecurity=False).digest()))
        return self._commit(place, key, body=body, etag=etag, headers=headers, metadata=metadata)

    def head(self, bucket: str, key: str, version_id: str | None = None) -> tuple[StoredObject, bytes]:
        """The object and its stored body."""
        place = self._bucket(bucket)
        check_key(key)
        version = self._version(place, key, version_id)
        if version.body is None:
            raise refuse("NoSuchKey") if version_id is None else refuse("MethodNotAllowed", "The version is a delete marker.")
        stored = StoredObject(
            key=key,
            size=len(version.body),
            etag=version.etag,
            modified=version.modified,
            headers=version.headers,
            metadata=version.metadata,
            version_id=None if place.versioning is Versioning.NEVER else version.version_id,
        )
        return stored, version.body

    def delete(self, bucket: str, key: str, version_id: str | None = None) -> Deleted:
        place = self._bucket(bucket)
        check_key(key)
        if version_id is not None:
            return self._delete_version(place, key, version_id)
        if place.versioning is Versioning.NEVER:
            place.objects.pop(key, None)
            return Deleted(key)
        marker = _Version(self._next_version_id(place, key), int(self._clock()), None)
        place.objects.setdefault(key, []).append(marker)
        return Deleted(key, delete_marker=True, marker_version_id=marker.version_id)

    def copy(
        self,
        bucket: str,
        key: str,
        *,
        source: tuple[str, str, str | None],
        source_etag: str,
        headers: Mapping[str, str],
        metadata: Mapping[str, str],
        condition: Condition | None,
    ) -> Written:
        """Store the source's body anew: a copy of a multipart object gets the ETag of one PUT, as in S3."""
        stored, body = self.head(*source)
        if stored.etag != source_etag:
            raise refuse("PreconditionFailed")
        return self.put(bucket, key, body, headers=headers, metadata=metadata, condition=condition)

    def page(self, bucket: str, *, prefix: str, delimiter: str, start_after: str, token: str | None, limit: int) -> ListPage:
        place = self._bucket(bucket)
        after = start_after if token is None else token_name(token)
        names: dict[str, str | None] = {}
        # Code point order of str is UTF-8 byte order, because no key holds a surrogate.
        for key in sorted(key for key, versions in place.objects.items() if versions[-1].body is not None and key.startswith(prefix)):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            name = key if cut < 0 else key[: cut + len(delimiter)]
            if name > after:
                names[name] = key if cut < 0 else None
        shown = list(names.items())[:limit]
        more = 0 < limit < len(names)
        return ListPage(
            entries=[self._entry(key, place.objects[key][-1]) for _, key in shown if key is not None],
            prefixes=[name for name, key in shown if key is None],
            token=list_token(shown[-1][0]) if more else None,
        )

    def _entry(self, key: str, version: _Version) -> ListEntry:
        metadata = version.metadata if self.capabilities.lists_metadata else None
        return ListEntry(key, len(version.body or b""), version.etag, version.modified, metadata=metadata)

    def _version(self, place: _Bucket, key: str, version_id: str | None) -> _Version:
        versions = place.objects.get(key, [])
        if version_id is None and versions:
            return versions[-1]
        for version in versions:
            if version.version_id == version_id:
                return version
        raise refuse("NoSuchKey" if version_id is None else "NoSuchVersion")

    def _delete_version(self, place: _Bucket, key: str, version_id: str) -> Deleted:
        gone = self._drop(place, key, version_id)
        marker = gone is not None and gone.body is None
        return Deleted(key, version_id=version_id, delete_marker=marker, marker_version_id=version_id if marker else None)

    def _drop(self, place: _Bucket, key: str, version_id: str) -> _Version | None:
        versions = place.objects.get(key, [])
        gone = next((version for version in versions if version.version_id == version_id), None)
        if gone is not None:
            versions.remove(gone)
            if not versions:
                del place.objects[key]
        return gone

    def _next_version_id(self, place: _Bucket, key: str) -> str:
        """A new id, or the null version, whose predecessor then goes."""
        if place.versioning is Versioning.ENABLED:
            return secrets.token_hex(16)
        self._drop(place, key, NULL_VERSION)
        return NULL_VERSION

    def _commit(
        self, place: _Bucket, key: str, *, body: bytes, etag: str, headers: Mapping[str, str], metadata: Mapping[str, str]
    ) -> Written:
        version_id = self._next_version_id(place, key)
        modified = int(self._clock())
        version = _Version(version_id, modified, body, etag, dict(headers), dict(metadata))
        place.objects.setdefault(key, []).append(version)
        return Written(etag, modified, modified, None if place.versioning is Versioning.NEVER else version_id)

    def _check_condition(self, place: _Bucket, key: str, condition: Condition | None, *, granted: bool) -> None:
        if condition is None or condition == Condition():
            return
        if not granted:
            raise refuse("NotImplemented", "This store has no conditional writes.")
        versions = place.objects.get(key)
        current = versions[-1] if versions and versions[-1].body is not None else None
        if condition.if_absent and current is not None:
            raise refuse("PreconditionFailed")
        if condition.if_match is not None:
            if current is None:
                raise refuse("NoSuchKey")
            if current.etag != condition.if_match:
                raise refuse("PreconditionFailed")

    def _etag(self, plain: str) -> str:
        return secrets.token_hex(20) if self._opaque_etags else plain

    # Multipart uploads

    def create_upload(self, bucket: str, key: str, *, headers: Mapping[str, str], metadata: Mapping[str, str]) -> str:
        place = self._bucket(bucket)
        check_key(key)
        check_metadata(metadata, self.capabilities.metadata_limit)
        upload_id = secrets.token_hex(16)
        place.uploads[upload_id] = _Upload(key, int(self._clock()), dict(headers), dict(metadata))
        return upload_id

    def put_part(self, bucket: str, key: str, upload_id: str, *, number: int, body: bytes) -> str:
        upload = self._upload(self._bucket(bucket), key, upload_id)
        check_part_number(number)
        if len(body) > self.capabilities.max_part_size:
            raise refuse("EntityTooLarge")
        digest = md5(body, usedforsecurity=False).digest()
        part = _Part(body, digest, self._etag(md5_etag(digest)))
        upload.parts[number] = part
        return part.etag

    def complete(self, bucket: str, key: str, upload_id: str, *, parts: Sequence[tuple[int, str]], condition: Condition | None) -> Written:
        place = self._bucket(bucket)
        upload = self._upload(place, key, upload_id)
        check_manifest(parts)
        chosen = [upload.parts.get(number) for number, _ in parts]
        bodies: list[bytes] = []
        digests: list[bytes] = []
        for part, (_, etag) in zip(chosen, parts, strict=True):
            if part is None or part.etag != etag:
                raise refuse("InvalidPart")
            bodies.append(part.body)
            digests.append(part.digest)
        self._check_shape([number for number, _ in parts], [len(body) for body in bodies])
        self._check_condition(place, key, condition, granted=self.capabilities.conditional_complete)
        etag = self._etag(composite_etag(digests))
        written = self._commit(place, key, body=b"".join(bodies), etag=etag, headers=upload.headers, metadata=upload.metadata)
        del place.uploads[upload_id]
        return written

    def _check_shape(self, numbers: Sequence[int], sizes: Sequence[int]) -> None:
        check_part_sizes(sizes, min_part_size=self.capabilities.min_part_size)
        if not self.capabilities.strict_parts:
            return
        if list(numbers) != list(range(1, len(numbers) + 1)):
            raise refuse("InvalidPart", "Part numbers must be consecutive from 1.")
        if any(size != sizes[0] for size in sizes[:-1]) or sizes[-1] > sizes[0]:
            raise refuse("InvalidPart", "All parts must have one size, the last not a larger one.")

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        place = self._bucket(bucket)
        self._upload(place, key, upload_id)
        del place.uploads[upload_id]

    def uploads(self, bucket: str, prefix: str) -> list[OpenUpload]:
        found = [
            OpenUpload(upload.key, upload_id, upload.initiated)
            for upload_id, upload in self._bucket(bucket).uploads.items()
            if upload.key.startswith(prefix)
        ]
        return sorted(found, key=lambda upload: (upload.key, upload.initiated))

    def _upload(self, place: _Bucket, key: str, upload_id: str) -> _Upload:
        upload = place.uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise refuse("NoSuchUpload")
        return upload
