"""Deletes: the key and its sidecar in one request; buckets that hold only our own objects (data-paths.md 3.8 and section 6)."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from s4_format import DICTIONARY_PREFIX, MULTIPART_PREFIX, is_reserved

from s4_gateway.backend.abc import BackendError, Deleted, ListEntry, Pieces
from s4_gateway.errors import S3Error
from s4_gateway.objects.buckets import BucketStates
from s4_gateway.objects.core import Core
from s4_gateway.objects.dictionaries import MAX_DICTIONARY_BYTES
from s4_gateway.objects.sidecar import sidecar_name
from s4_gateway.objects.uploads.roster import Roster

BATCH = 1000
MAX_PURGED = 100_000
"""Reserved objects that one DeleteBucket clears away; a bucket with more is answered BucketNotEmpty and swept first."""
MAX_DICTIONARIES = 32
"""Dictionaries that are held while the backend decides; a bucket with more is answered BucketNotEmpty."""

Target = tuple[str, str | None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A dictionary, to be put back if the bucket stays."""

    name: str
    body: bytes
    headers: Mapping[str, str]
    metadata: Mapping[str, str]


class Deleter:
    """Deletes logical objects."""

    def __init__(self, core: Core, states: BucketStates, roster: Roster) -> None:
        self._core = core
        self._states = states
        self._roster = roster

    async def delete(self, bucket: str, key: str, version: str | None) -> Deleted:
        """Delete one key, or one version of it."""
        return (await self.delete_many(bucket, [(key, version)]))[0]

    async def delete_many(self, bucket: str, targets: Sequence[Target]) -> Sequence[Deleted]:
        """One outcome per target, in order. Sidecars go with their objects; on versioned buckets they stay, since a delete would only add
        a marker, and their binding makes them inert.

        Args:
            bucket: of all of them.
            targets: at most 1,000 (key, version id) pairs.

        Raises:
            BackendError: the request failed as a whole.
        """
        if not targets:
            return []
        sidecars: list[Target] = []
        if not (await self._states.get(bucket)).versioned:
            names = dict.fromkeys(sidecar_name(key) for key, _ in targets)
            sidecars = [(name, None) for name in names if name is not None]
        together = len(targets) + len(sidecars) <= BATCH
        outcomes = await self._core.backend.delete_objects(bucket, [*targets, *sidecars] if together else targets)
        for key, _ in targets:
            self._core.cache.drop(bucket, key)
        if sidecars and not together:
            await self._drop_sidecars(bucket, sidecars)
        return outcomes[: len(targets)]

    async def _drop_sidecars(self, bucket: str, sidecars: Sequence[Target]) -> None:
        """A sidecar that stays behind is inert: only the objects' own outcomes are the client's."""
        try:
            await self._core.backend.delete_objects(bucket, sidecars)
        except BackendError as error:
            _log.warning("sidecars of deleted objects in %r stay behind: %s", bucket, error)

    async def delete_bucket(self, bucket: str) -> None:
        """Delete a bucket in which nothing but reserved objects is left; dictionaries go last and come back if the backend refuses.

        A bucket that keeps versions is the backend's to judge: what a listing shows is not all that it holds.

        Raises:
            S3Error, BackendError: BucketNotEmpty, NoSuchBucket, ...
        """
        self._states.forget(bucket)
        if (await self._states.get(bucket)).versioned:
            await self._core.backend.delete_bucket(bucket)
        else:
            entries = await self._reserved(bucket)
            dictionaries = [entry for entry in entries if entry.key.startswith(DICTIONARY_PREFIX)]
            kept = [await self._keep(bucket, entry) for entry in dictionaries]
            if any(entry.key.startswith(MULTIPART_PREFIX) for entry in entries):
                await self._roster.end_all(bucket)
            others = [entry.key for entry in entries if not entry.key.startswith(DICTIONARY_PREFIX)]
            await self._core.to_the_end(self._purge_and_delete(bucket, others, kept))
        self._states.forget(bucket)

    async def _purge_and_delete(self, bucket: str, others: Sequence[str], kept: Sequence[_Kept]) -> None:
        try:
            for some in (others, [each.name for each in kept]):
                for at in range(0, len(some), BATCH):
                    await self._core.backend.delete_objects(bucket, [(name, None) for name in some[at : at + BATCH]])
            await self._core.backend.delete_bucket(bucket)
        except BaseException:
            await self._put_back(bucket, kept)
            raise

    async def _put_back(self, bucket: str, kept: Sequence[_Kept]) -> None:
        for each in kept:
            try:
                await self._core.backend.put_object(bucket, each.name, Pieces.of(each.body), headers=each.headers, metadata=each.metadata)
            except BackendError as error:
                # Gone with its bucket, if the refusal was only a lost answer.
                log = _log.info if error.code == "NoSuchBucket" else _log.error
                log("dictionary %r of bucket %r could not be put back: %s", each.name, bucket, error)

    async def _reserved(self, bucket: str) -> list[ListEntry]:
        """All objects, if all are reserved.

        Raises:
            S3Error: BucketNotEmpty at the first client object, and for more of ours than one request can clear away.
        """
        entries: list[ListEntry] = []
        token: str | None = None
        while True:
            page = await self._core.backend.list_objects(bucket, token=token, limit=BATCH)
            entries.extend(page.entries)
            dictionaries = sum(entry.key.startswith(DICTIONARY_PREFIX) for entry in page.entries)
            if not all(is_reserved(entry.key) for entry in page.entries) or len(entries) > MAX_PURGED or dictionaries > MAX_DICTIONARIES:
                raise S3Error("BucketNotEmpty", fields={"BucketName": bucket})
            token = page.token
            if token is None:
                return entries

    async def _keep(self, bucket: str, entry: ListEntry) -> _Kept:
        download = await self._core.backend.get_object(bucket, entry.key)
        async with download:
            if download.object.size > MAX_DICTIONARY_BYTES:
                # No gateway put it there.
                raise S3Error("BucketNotEmpty", fields={"BucketName": bucket})
            return _Kept(entry.key, await download.read(), dict(download.object.headers), dict(download.object.metadata))
