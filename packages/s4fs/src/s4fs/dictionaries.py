"""Dictionaries of cpu-zstd-dict objects: fetched from the object's own bucket and proven by their digest (wire-format.md section 8)."""

from hashlib import sha256

from s4_format import Layout, Manifest, dictionary_key

from s4fs.errors import DamagedObjectError
from s4fs.face import Face
from s4fs.memory import Lru
from s4fs.targets import Target

MAX_DICTIONARY_BYTES = 1 << 20
KEPT_BYTES = 4 << 20


class Dictionaries:
    """Reads dictionaries and keeps the last ones: they are named by their content, and never change."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._known: Lru[bytes] = Lru(KEPT_BYTES)

    async def of(self, face: Face) -> bytes | None:
        """The dictionary that an object needs; None for most.

        Raises:
            DamagedObjectError: it is not there, or not what its name and its own metadata say.
        """
        manifest = face.manifest
        if manifest.dict_id is None or manifest.codec_label != "cpu-zstd-dict" or face.layout is Layout.FOREIGN:
            return None
        path = f"{bucket_of(face.stored.path)}/{dictionary_key(manifest.dict_id)}"
        known = self._known.get(path)
        if known is None:
            known = await self._fetch(path, manifest.dict_id, face.stored.path)
            self._known.put(path, None, known, weight=len(known))
        return known

    async def _fetch(self, path: str, dictionary_id: str, needed_by: str) -> bytes:
        try:
            download = await self._target.fetch(path, None)
        except FileNotFoundError as error:
            raise DamagedObjectError(needed_by, f"the dictionary {dictionary_id} of the object is not in its bucket") from error
        try:
            if download.stored.size > MAX_DICTIONARY_BYTES:
                raise DamagedObjectError(path, f"a dictionary of {download.stored.size} bytes is larger than any that is written")
            data = b"".join([bytes(chunk) async for chunk in download])
        finally:
            await download.aclose()
        digest, stamped = sha256(data).hexdigest(), Manifest.from_metadata(download.stored.metadata).dict_sha256
        if digest[:16] != dictionary_id or stamped not in (None, digest):
            raise DamagedObjectError(path, "the dictionary does not have the digest that its name and metadata say")
        return data


def bucket_of(path: str) -> str:
    """The part of a path in which reserved folders lie: its bucket."""
    return path.lstrip("/").split("/", 1)[0]
