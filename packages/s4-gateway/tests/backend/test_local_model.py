"""Random histories: after each step the embedded store and the memory store hold the same, and no body is left over."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s4_gateway.backend.abc import Backend, BackendError, Capabilities, Condition, Pieces
from s4_gateway.backend.local import LocalBackend
from s4_gateway.backend.local.bodies import unpack_segments
from s4_gateway.backend.memory import MemoryBackend

from .local_helpers import NOTHING, blobs, query

KEYS = st.sampled_from(["a", "a/b", "b"])
SIZES = st.sampled_from([0, 10, 40_000])
CONDITIONS = st.sampled_from(["none", "none", "none", "absent", "same", "other"])

PUT = st.tuples(st.just("put"), KEYS, SIZES, CONDITIONS)
DELETE = st.tuples(st.just("delete"), KEYS)
COPY = st.tuples(st.just("copy"), KEYS, KEYS, CONDITIONS)
PARTS = st.tuples(
    st.just("parts"), KEYS, st.lists(SIZES, min_size=1, max_size=4), CONDITIONS, st.sampled_from(["complete", "abort", "leave"])
)
RESTART = st.tuples(st.just("restart"))


class _Steps:
    """Each step on one backend; refusals are outcomes."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def _etag(self, key: str) -> str:
        try:
            return (await self.backend.head_object("bucket", key)).etag
        except BackendError:
            return "nothing"

    async def _condition(self, key: str, name: str) -> Condition | None:
        match name:
            case "absent":
                return Condition(if_absent=True)
            case "same":
                return Condition(if_match=await self._etag(key))
            case "other":
                return Condition(if_match="0" * 32)
            case _:
                return None

    async def put(self, key: str, size: int, condition: str) -> None:
        payload = Pieces.of(key.encode() * size)
        metadata = {"size": str(size)}
        await self.backend.put_object(
            "bucket", key, payload, headers=NOTHING, metadata=metadata, condition=await self._condition(key, condition)
        )

    async def delete(self, key: str) -> None:
        await self.backend.delete_object("bucket", key)

    async def copy(self, source: str, target: str, condition: str) -> None:
        await self.backend.copy_object(
            "bucket",
            target,
            source_bucket="bucket",
            source_key=source,
            source_version_id=None,
            source_etag=await self._etag(source),
            headers={"content-type": "copy"},
            metadata=NOTHING,
            condition=await self._condition(target, condition),
        )

    async def parts(self, key: str, sizes: list[int], condition: str, end: str) -> None:
        upload = await self.backend.create_multipart("bucket", key, headers=NOTHING, metadata={"parts": str(len(sizes))})
        etags = []
        for number, size in enumerate(sizes, start=1):
            # Sent twice: the first one is dropped.
            await self.backend.upload_part("bucket", key, upload, number, Pieces.of(b"old" * size))
            etags.append((number, await self.backend.upload_part("bucket", key, upload, number, Pieces.of(b"%d" % number * size))))
        if end == "complete":
            await self.backend.complete_multipart("bucket", key, upload, etags[::2], condition=await self._condition(key, condition))
        elif end == "abort":
            await self.backend.abort_multipart("bucket", key, upload)

    async def run(self, step: tuple[object, ...]) -> str:
        try:
            await getattr(self, str(step[0]))(*step[1:])
        except BackendError as error:
            return error.code
        return "done"


async def _state(backend: Backend) -> dict[str, object]:
    """All objects with bodies, headers and metadata, without ETags and times: a copy of parts has another ETag in S3."""
    state: dict[str, object] = {}
    for entry in (await backend.list_objects("bucket")).entries:
        download = await backend.get_object("bucket", entry.key)
        state[entry.key] = (await download.read(), download.object.headers, entry.metadata)
    uploads = await backend.list_multipart("bucket")
    return {**state, "uploads": [upload.key for upload in uploads]}


def _check_bodies(directory: Path) -> None:
    """References are counted right, and files are there for the bodies that are files, and for no others."""
    holders = Counter(body for (body,) in query(directory, "SELECT body FROM objects UNION ALL SELECT body FROM parts"))
    for (content,) in query(directory, "SELECT content FROM bodies WHERE kind = 2"):
        assert isinstance(content, bytes)
        holders.update(segment.body for segment in unpack_segments(content))
    assert dict(holders) == dict(query(directory, "SELECT id, refs FROM bodies"))  # type: ignore[arg-type]
    assert {int(path.name, 16) for path in blobs(directory)} == {
        body for (body,) in query(directory, "SELECT id FROM bodies WHERE kind = 1")
    }
    assert query(directory, "SELECT * FROM trash") == []
    assert all(json.loads(str(metadata)) is not None for (metadata,) in query(directory, "SELECT metadata FROM objects"))


@given(steps=st.lists(st.one_of(PUT, PUT, DELETE, COPY, PARTS, RESTART), max_size=15))
@settings(max_examples=25, deadline=None)
def test_history(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]) -> None:
    """Same outcomes and same contents, step by step, over restarts; at the end every body has its holders."""
    directory = tmp_path_factory.mktemp("history")

    async def run() -> None:
        memory = MemoryBackend(capabilities=Capabilities(min_part_size=0, lists_metadata=True))
        local = LocalBackend(directory)
        await local.start()
        model, real = _Steps(memory), _Steps(local)
        for backend in (memory, local):
            await backend.create_bucket("bucket")
        for step in steps:
            if step == ("restart",):
                await local.close()
                await local.start()
            else:
                assert await real.run(step) == await model.run(step), step
            assert await _state(local) == await _state(memory), step
        await local.close()
        # Purges that the stop cut short are done by this start.
        await local.start()
        for _ in range(200):
            if not query(directory, "SELECT 1 FROM trash"):
                break
            await asyncio.sleep(0.01)
        await local.close()
        _check_bodies(directory)

    asyncio.run(run())
