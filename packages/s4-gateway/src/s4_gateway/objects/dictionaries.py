"""Dictionaries of cpu-zstd-dict objects: fetched from the object's own bucket and checked against their name (wire-format.md section 8)."""

from collections import OrderedDict
from hashlib import sha256

from s4_format import dictionary_key

from s4_gateway.backend.abc import BackendError, StoredObject
from s4_gateway.errors import S3Error
from s4_gateway.objects.core import Core

MAX_DICTIONARY_BYTES = 1 << 20
"""Largest dictionary that training, start and reading accept alike."""
KEPT = 16


class Dictionaries:
    """Reads dictionaries and keeps the last ones."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._known: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    async def get(self, bucket: str, dictionary_id: str) -> bytes:
        """The dictionary with this id.

        Raises:
            S3Error, BackendError: as `fetch`.
        """
        known = self._known.get((bucket, dictionary_id))
        if known is not None:
            self._known.move_to_end((bucket, dictionary_id))
            return known
        data, _ = await self.fetch(bucket, dictionary_id)
        self._known[bucket, dictionary_id] = data
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return data

    async def fetch(self, bucket: str, dictionary_id: str) -> tuple[bytes, StoredObject]:
        """The dictionary and how it is stored.

        Raises:
            S3Error: InternalError: it is not there, too large, or not the one that its name says.
            BackendError: it could not be read.
        """
        try:
            download = await self._core.backend.get_object(bucket, dictionary_key(dictionary_id))
        except BackendError as error:
            if error.status == 404:
                raise S3Error("InternalError", f"The object's dictionary {dictionary_id} is not in its bucket.") from error
            raise
        async with download:
            if download.object.size > MAX_DICTIONARY_BYTES:
                raise S3Error("InternalError", "The object's dictionary is larger than 1 MiB.")
            data = await download.read()
        if sha256(data).hexdigest()[:16] != dictionary_id:
            raise S3Error("InternalError", "The object's dictionary does not have the digest that its name says.")
        return data, download.object
