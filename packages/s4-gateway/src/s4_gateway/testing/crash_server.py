"""A server to be killed: processes that write to one embedded store and tell what was acknowledged.

`python -m s4_gateway.testing.crash_server DIRECTORY SEED PROCESSES` holds the directory's lock and forks processes that write until they
are killed, each of which is followed by another. They tell on standard output, one JSON line each, what they begin and what is done.
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Literal, NoReturn

from s4_gateway.backend.abc import BackendError, Buffer
from s4_gateway.backend.local import DirectoryLock, LocalBackend

BUCKET = "crash-test"
WORKERS = 12
"""Tasks that write, shared out among the processes."""
KEYS_A_WORKER = 4
CONTESTED_KEYS = 4
"""Keys that all of them write."""

Action = Literal["put", "copy", "multipart", "delete"]
_ACTIONS: tuple[Action, ...] = ("put", "put", "put", "multipart", "copy", "delete")
_SIZES = (0, 700, 4096, 33_000, 90_000, 400_000)
_GONE = ("NoSuchKey", "NoSuchBucket")


@dataclass(frozen=True, slots=True)
class Body:
    """A body by the numbers it is made from: parts of (seed, size)."""

    parts: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        return sum(size for _, size in self.parts)

    def pieces(self) -> list[bytes]:
        return [random.Random(seed).randbytes(size) for seed, size in self.parts]


class _SlowPayload:
    """A body in small pieces, so that a kill finds some of it written."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.size = len(body)

    def __iter__(self) -> Iterator[Buffer]:
        for start in range(0, self.size, 16_384):
            yield self._body[start : start + 16_384]


def serve_until_killed(directory: Path, seed: int, processes: int) -> NoReturn:
    """Keep so many processes writing to the store, each in the place of one that died."""
    lock = DirectoryLock(directory)
    lock.acquire()
    numbers = {_fork(directory, lock, number, seed, processes): number for number in range(processes)}
    while True:
        pid, _ = os.wait()
        seed += 1
        number = numbers.pop(pid)
        numbers[_fork(directory, lock, number, seed, processes)] = number


def _fork(directory: Path, lock: DirectoryLock, number: int, seed: int, processes: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        asyncio.run(write_until_killed(directory, lock, seed, range(number, WORKERS, processes)))
    except BaseException as error:  # noqa: BLE001 - whatever ends a process is a finding, and it must not return to the parent's code
        _tell("fault", {"message": f"a process ended by itself: {error!r}"})
    os._exit(1)


async def write_until_killed(directory: Path, lock: DirectoryLock, seed: int, workers: range) -> None:
    """Write to the store from several tasks, each with keys of its own, and read everybody's, until the process dies."""
    backend = LocalBackend(directory, lock=lock)
    await backend.start()
    try:
        await backend.create_bucket(BUCKET)
    except BackendError as error:
        if error.code != "BucketAlreadyOwnedByYou":
            raise
    _tell("started", {"pid": os.getpid()})
    writers = [_Worker(backend, number, seed).run() for number in workers]
    await asyncio.gather(*writers, _contend(backend, seed), _read(backend, seed))


async def _contend(backend: LocalBackend, seed: int) -> None:
    """Overwrite and delete keys that other processes write too."""
    choice = random.Random(f"{seed}-{os.getpid()}")
    while True:
        key = f"contested/{choice.randrange(CONTESTED_KEYS)}"
        body = Body(((choice.getrandbits(48), choice.choice(_SIZES)),))
        _tell("contested", {"key": key, "parts": body.parts})
        if choice.random() < 0.2:
            await backend.delete_object(BUCKET, key)
        else:
            await backend.put_object(BUCKET, key, _SlowPayload(body.pieces()[0]), headers={}, metadata={})


async def _read(backend: LocalBackend, seed: int) -> None:
    """Read what anybody wrote: it may be gone or replaced at any time, but is whole when it is there."""
    choice = random.Random(f"{seed} {os.getpid()}")
    while True:
        page = await backend.list_objects(BUCKET)
        for entry in choice.sample(page.entries, min(10, len(page.entries))):
            try:
                download = await backend.get_object(BUCKET, entry.key)
                body = await download.read()
            except BackendError as error:
                if error.code not in _GONE:
                    _tell("fault", {"message": f"{entry.key} cannot be read beside its writers: {error}"})
                continue
            etag = download.object.etag
            if "-" not in etag and etag != md5(body, usedforsecurity=False).hexdigest():
                _tell("fault", {"message": f"{entry.key} is read with bytes of another body"})
        await asyncio.sleep(0.01)


class _Worker:
    def __init__(self, backend: LocalBackend, number: int, seed: int) -> None:
        self._backend = backend
        self._choice = random.Random(f"{seed}-{number}")
        self._keys = [f"worker-{number:02d}/{key}" for key in range(KEYS_A_WORKER)]

    async def run(self) -> None:
        """One action after the other."""
        while True:
            action = self._choice.choice(_ACTIONS)
            key = self._choice.choice(self._keys)
            count = self._choice.randint(1, 5) if action == "multipart" else 1
            body = Body(tuple((self._choice.getrandbits(48), self._choice.choice(_SIZES)) for _ in range(count)))
            source = self._choice.choice(self._keys)
            line = {"key": key, "action": action, "parts": body.parts, "source": source}
            _tell("begun", line)
            done = await self._act(action, key, body, source)
            _tell("acknowledged" if done else "refused", line)

    async def _act(self, action: Action, key: str, body: Body, source: str) -> bool:
        match action:
            case "put":
                payload = _SlowPayload(body.pieces()[0])
                await self._backend.put_object(BUCKET, key, payload, headers={}, metadata={})
            case "delete":
                await self._backend.delete_object(BUCKET, key)
            case "copy":
                return await self._copy(key, source)
            case "multipart":
                await self._multipart(key, body)
        return True

    async def _copy(self, key: str, source: str) -> bool:
        listed = (await self._backend.list_objects(BUCKET, prefix=source)).entries
        if not listed:
            return False
        await self._backend.copy_object(
            BUCKET,
            key,
            source_bucket=BUCKET,
            source_key=source,
            source_version_id=None,
            source_etag=listed[0].etag,
            headers={},
            metadata={},
        )
        return True

    async def _multipart(self, key: str, body: Body) -> None:
        upload = await self._backend.create_multipart(BUCKET, key, headers={}, metadata={})
        etags = await asyncio.gather(
            *(
                self._backend.upload_part(BUCKET, key, upload, number, _SlowPayload(piece))
                for number, piece in enumerate(body.pieces(), start=1)
            )
        )
        await self._backend.complete_multipart(BUCKET, key, upload, list(enumerate(etags, start=1)))


def _tell(event: str, line: Mapping[str, object]) -> None:
    # One write of less than PIPE_BUF bytes: a kill never cuts a line.
    os.write(1, json.dumps({"event": event, **line}).encode() + b"\n")


if __name__ == "__main__":
    serve_until_killed(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
