"""Copies within a target: the stored body as it is, with all that makes it readable where it goes (data-paths.md section 2)."""

from dataclasses import replace

from s4_format import Layout, dictionary_key, strip_reserved

from s4fs import stamp
from s4fs.commit import confirmed
from s4fs.dictionaries import bucket_of
from s4fs.face import Face, FaceFinder
from s4fs.options import SIDECAR_ABOVE_BYTES
from s4fs.sidecar import write_sidecar
from s4fs.stored import UNCONDITIONAL, Moved
from s4fs.targets import Target
from s4fs.targets.abc import Headers

ATTEMPTS = 3


async def copy_object(target: Target, finder: FaceFinder, source: str, path: str, *, sidecars: bool, headers: Headers) -> None:
    """Copy one object. Its dictionary goes along to another bucket, before it; its index is bound to the copy, after it.

    Args:
        target: where both lie.
        finder: tells what the source is.
        source, path: bare names.
        sidecars: whether a large copy gets one.
        headers: what to change of what is stored beside the body.

    Raises:
        FileNotFoundError, IsADirectoryError: of the source.
        BlockingIOError: the source is being replaced faster than it can be copied.
        OSError: the target refuses.
    """
    for _ in range(ATTEMPTS):
        stored = await target.head(source)
        try:
            large = target.keeps_metadata and stored.size > SIDECAR_ABOVE_BYTES // 1024
            face = await finder.find(stored, frames=large and sidecars)
            if face is None:
                raise AssertionError("only listings leave a face open")
            await _copy(target, face, path, sidecars=sidecars, headers=headers)
        except Moved:
            finder.forget(source)
        else:
            return
    raise BlockingIOError(f"the object is being replaced faster than it can be copied: {source!r}")


async def _copy(target: Target, face: Face, path: str, *, sidecars: bool, headers: Headers) -> None:
    stored, manifest = face.stored, face.manifest
    if face.layout is Layout.FOREIGN or not target.keeps_metadata:
        await target.copy(stored, path, replace(headers, metadata={**stored.metadata, **headers.metadata}))
        return
    await _copy_dictionary(target, face, path)
    token = stamp.new_token()
    # A copy is another write than its source, and must not be taken for it.
    own = {key: value for key, value in stored.metadata.items() if key not in strip_reserved(stored.metadata)}
    own |= replace(manifest, write_token=token).to_metadata()
    metadata = {**strip_reserved(stored.metadata), **headers.metadata, **own}
    write = target.copy(stored, path, replace(headers, metadata=metadata))
    etag = await confirmed(target, path, token, write, UNCONDITIONAL)
    if sidecars and face.frames is not None:
        await write_sidecar(target, path, etag=etag, stored_size=stored.size, frames=face.frames, digested=None)


async def _copy_dictionary(target: Target, face: Face, path: str) -> None:
    dictionary_id = face.manifest.dict_id
    if dictionary_id is None or bucket_of(face.stored.path) == bucket_of(path):
        return
    key = dictionary_key(dictionary_id)
    there = f"{bucket_of(path)}/{key}"
    try:
        await target.head(there)
    except FileNotFoundError:
        dictionary = await target.head(f"{bucket_of(face.stored.path)}/{key}")
        await target.copy(dictionary, there, Headers(dictionary.metadata))
