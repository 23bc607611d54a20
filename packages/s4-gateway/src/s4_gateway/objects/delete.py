"""Deletes: the key and its sidecar in one request; buckets that hold only our own objects (data-paths.md 3.8 and section 6)."""

from collections.abc import Sequence

from s4_format import DICTIONARY_PREFIX, is_reserved, sidecar_key

from s4_gateway.backend.abc import BackendError, Deleted, Pieces
from s4_gateway.errors import S3Error
from s4_gateway.objects.buckets import BucketStates
from s4_gateway.objects.core import Core

BATCH = 1000
MAX_PURGED = 100_000
"""Reserved objects that one DeleteBucket clears away; a bucket with more is answered BucketNotEmpty and swept first."""


class Deleter:
    """Deletes logical objects."""

    def __init__(self, core: Core, states: BucketStates) -> None:
        self._core = core
        self._states = states

    async def delete(self, bucket: str, key: str, version: str | None) -> Deleted:
        """Delete one key, or one version of it."""
        return (await self.delete_many(bucket, [(key, version)]))[0]

    async def delete_many(self, bucket: str, targets: Sequence[tuple[str, str | None]]) -> Sequence[Deleted]:
        """One outcome per target, in order. Sidecars go with their objects; on versioned buckets they stay, since a delete would only add
        a marker, and their binding makes them inert.
        """
        if not targets:
            return []
        if (await self._states.get(bucket)).versioned:
            outcomes = list(await self._core.backend.delete_objects(bucket, targets))
        else:
            both = [pair for key, version in targets for pair in ((key, version), (sidecar_key(key), None))]
            done: list[Deleted] = []
            for at in range(0, len(both), BATCH):
                done.extend(await self._core.backend.delete_objects(bucket, both[at : at + BATCH]))
            # A sidecar that stays behind is inert; only the object's own outcome is the client's.
            outcomes = done[0::2]
        for outcome in outcomes:
            self._core.cache.drop(bucket, outcome.key)
        return outcomes

    async def delete_bucket(self, bucket: str) -> None:
        """Delete a bucket in which nothing but reserved objects is left; dictionaries go last and come back if the backend refuses.

        Raises:
            S3Error, BackendError: BucketNotEmpty, NoSuchBucket, ...
        """
        names = await self._reserved_names(bucket)
        dictionaries = [name for name in names if name.startswith(DICTIONARY_PREFIX)]
        kept = [(name, await self._read(bucket, name)) for name in dictionaries]
        for some in (sorted(set(names) - set(dictionaries)), dictionaries):
            for at in range(0, len(some), BATCH):
                await self._core.backend.delete_objects(bucket, [(name, None) for name in some[at : at + BATCH]])
        try:
            await self._core.backend.delete_bucket(bucket)
        except BackendError:
            for name, (body, headers, metadata) in kept:
                await self._core.backend.put_object(bucket, name, Pieces.of(body), headers=headers, metadata=metadata)
            raise
        self._states.forget(bucket)

    async def _reserved_names(self, bucket: str) -> list[str]:
        """All names, if all are reserved.

        Raises:
            S3Error: BucketNotEmpty at the first client object.
        """
        names: list[str] = []
        token: str | None = None
        while True:
            page = await self._core.backend.list_objects(bucket, token=token, limit=BATCH)
            if not all(is_reserved(entry.key) for entry in page.entries) or len(names) > MAX_PURGED:
                raise S3Error("BucketNotEmpty", fields={"BucketName": bucket})
            names.extend(entry.key for entry in page.entries)
            token = page.token
            if token is None:
                return names

    async def _read(self, bucket: str, name: str) -> tuple[bytes, dict[str, str], dict[str, str]]:
        download = await self._core.backend.get_object(bucket, name)
        async with download:
            return await download.read(), dict(download.object.headers), dict(download.object.metadata)
