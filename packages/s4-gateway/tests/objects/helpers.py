"""A gateway over a memory backend, and what tests of stored objects say again and again."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from s4_codecs import EncodeOptions
from s4_format import iter_items, read_trailer

from s4_gateway.backend.abc import Capabilities, StoredObject
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.objects.options import StoreOptions
from s4_gateway.testing.client import Answer, GatewayClient, make_gateway

MIB = 2**20
BUCKET = "bucket"


@lru_cache(maxsize=8)
def text(size: int, seed: int = 0) -> bytes:
    """Compressible bytes."""
    lines = b"".join(b"%08d seed %d: an entirely ordinary line of some log\n" % (number, seed) for number in range(size // 55 + 1))
    return lines[:size]


@lru_cache(maxsize=8)
def noise(size: int, seed: int = 0) -> bytes:
    """Incompressible bytes."""
    return random.Random(seed).randbytes(size)


@dataclass(frozen=True, slots=True)
class Rig:
    """A client of a gateway, and the backend behind it."""

    client: GatewayClient
    backend: MemoryBackend

    async def stored(self, key: str) -> tuple[StoredObject, bytes]:
        """A stored object, behind the gateway's back."""
        download = await self.backend.get_object(BUCKET, key)
        return download.object, await download.read()

    async def names(self) -> list[str]:
        """All keys in the bucket, reserved ones too."""
        return [entry.key for entry in (await self.backend.list_objects(BUCKET)).entries]

    @asynccontextmanager
    async def counting(self) -> AsyncIterator[Counter[str]]:
        """Requests that the backend gets inside the block."""
        before = Counter(self.backend.requests)
        spent: Counter[str] = Counter()
        yield spent
        spent.update(Counter(self.backend.requests) - before)

    async def put(self, key: str, body: bytes, **headers: str) -> Answer:
        """PutObject; must succeed."""
        answer = await self.client.request("PUT", BUCKET, key, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
        assert answer.status == 200, answer.body
        return answer

    async def get(self, key: str, **headers: str) -> Answer:
        """GetObject."""
        return await self.client.request("GET", BUCKET, key, headers={k.replace("_", "-"): v for k, v in headers.items()})

    async def create(self, key: str, **headers: str) -> str:
        """CreateMultipartUpload; the upload id."""
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        answer = await self.client.request("POST", BUCKET, key, query={"uploads": ""}, headers=sent)
        assert answer.status == 200, answer.body
        return answer.text("UploadId") or ""

    async def part(self, key: str, upload: str, number: int, body: bytes) -> str:
        """UploadPart; its ETag."""
        answer = await self.client.request("PUT", BUCKET, key, query={"partNumber": str(number), "uploadId": upload}, body=body)
        assert answer.status == 200, answer.body
        return answer.etag or ""

    async def complete(self, key: str, upload: str, parts: Sequence[tuple[int, str]], **headers: str) -> Answer:
        """CompleteMultipartUpload."""
        rows = "".join(f'<Part><PartNumber>{number}</PartNumber><ETag>"{etag}"</ETag></Part>' for number, etag in parts)
        xml = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>"
        sent = {k.replace("_", "-"): v for k, v in headers.items()}
        return await self.client.request("POST", BUCKET, key, query={"uploadId": upload}, body=xml.encode(), headers=sent)

    async def upload(self, key: str, bodies: Sequence[bytes]) -> Answer:
        """A whole multipart upload."""
        upload = await self.create(key)
        etags = [(number, await self.part(key, upload, number, body)) for number, body in enumerate(bodies, 1)]
        return await self.complete(key, upload, etags)


@asynccontextmanager
async def rig(backend: MemoryBackend | None = None, *, state_dir: Path | None = None, **options: object) -> AsyncIterator[Rig]:
    """A started gateway with one bucket. Options are fields of StoreOptions."""
    backend = backend or MemoryBackend()
    chosen = replace(StoreOptions(encode=EncodeOptions()), **options)  # type: ignore[arg-type]
    async with make_gateway(backend, options=chosen, state_dir=state_dir) as client:
        if not await backend.list_buckets():
            await backend.create_bucket(BUCKET)
        backend.requests.clear()
        yield Rig(client, backend)


def embedded_like() -> MemoryBackend:
    """A backend without a minimum part size, as the embedded store."""
    return MemoryBackend(capabilities=Capabilities(min_part_size=0))


def has_trailer(body: bytes) -> bool:
    """Whether a stored body ends in a trailer that proves itself."""
    return read_trailer(body, body_size=len(body)).frames is not None


def items(body: bytes) -> list[str]:
    """Kinds of the stored items, in order."""
    return [type(item).__name__ for item in iter_items(body)]
