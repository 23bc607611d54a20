"""A server of several processes on one store, each of which does what a test tells it: `StoreServer` is the test's end.

Run as a program it is the server: it takes the directory's lock and forks one process for each socket that it was given.
"""

import asyncio
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from s4_gateway.backend.abc import BackendError, Buffer, Condition, Download, Pieces
from s4_gateway.backend.local import DirectoryLock, LocalBackend

BUCKET = "bucket"


def body_of(seed: int, size: int) -> bytes:
    """The body that a test names by two numbers."""
    return random.Random(seed).randbytes(size)


class Process:
    """The test's end of one process."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._file = link.makefile("rw", encoding="utf-8")
        self.pid: int = self.receive()

    def send(self, action: str, **arguments: object) -> None:
        """Begin something; several may be under way, and answer in the order in which they end."""
        self._file.write(json.dumps([action, arguments]) + "\n")
        self._file.flush()

    def receive(self) -> Any:
        """The next answer; a refusal is `{"code": ...}`."""
        line = self._file.readline()
        assert line, "the process has ended"
        return json.loads(line)

    def call(self, action: str, **arguments: object) -> Any:
        """Do it and wait for the answer."""
        self.send(action, **arguments)
        return self.receive()

    def kill(self) -> None:
        """kill -9; returns when the process is gone."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._file.readline() == ""

    def close(self) -> None:
        """Ends the process in an orderly way; returns when it is gone."""
        self._link.shutdown(socket.SHUT_WR)
        assert self._file.read() == ""

    def forget(self) -> None:
        """The test's end is closed, which ends a process that lives."""
        self._file.close()
        self._link.close()


class StoreServer:
    """A parent that holds the lock, and its processes; more can be forked at any time."""

    def __init__(self, directory: Path) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, str(Path(__file__).resolve()), str(directory), str(theirs.fileno())]
        self.parent = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self._link = ours
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self._processes:
            process.forget()
        self._link.close()
        self.parent.kill()
        self.parent.wait()

    def fork(self) -> Process:
        """Another process, with the store open."""
        ours, theirs = socket.socketpair()
        socket.send_fds(self._link, [b"fork"], [theirs.fileno()])
        theirs.close()
        ours.settimeout(60)
        process = Process(ours)
        self._processes.append(process)
        return process


# The server


class _Slow:
    """A body whose second half comes when the test says so."""

    def __init__(self, body: bytes, go_on: threading.Event) -> None:
        self._body = body
        self._go_on = go_on
        self.size = len(body)

    def __iter__(self) -> Iterator[Buffer]:
        yield self._body[: self.size // 2]
        assert self._go_on.wait(60)
        yield self._body[self.size // 2 :]


class _Actions:
    """What a process can be told to do."""

    def __init__(self, backend: LocalBackend) -> None:
        self._backend = backend
        self._downloads: dict[str, Download] = {}
        self._go_on = threading.Event()

    async def put(self, key: str, seed: int, size: int, *, absent: bool = False) -> str:
        condition = Condition(if_absent=True) if absent else None
        payload = Pieces.of(body_of(seed, size))
        return (await self._backend.put_object(BUCKET, key, payload, headers={}, metadata={}, condition=condition)).etag

    async def put_slowly(self, key: str, seed: int, size: int) -> str:
        payload = _Slow(body_of(seed, size), self._go_on)
        return (await self._backend.put_object(BUCKET, key, payload, headers={}, metadata={})).etag

    async def go_on(self) -> None:
        self._go_on.set()

    async def upload(self, key: str, parts: list[tuple[int, int]]) -> str:
        upload_id = await self._backend.create_multipart(BUCKET, key, headers={}, metadata={})
        etags = [
            (number, await self._backend.upload_part(BUCKET, key, upload_id, number, Pieces.of(body_of(*part))))
            for number, part in enumerate(parts, start=1)
        ]
        return (await self._backend.complete_multipart(BUCKET, key, upload_id, etags)).etag

    async def get(self, key: str) -> str:
        return _digest(await (await self._backend.get_object(BUCKET, key)).read())

    async def open(self, key: str) -> int:
        self._downloads[key] = await self._backend.get_object(BUCKET, key)
        return self._downloads[key].object.size

    async def rest(self, key: str) -> str:
        return _digest(await self._downloads.pop(key).read())

    async def delete(self, key: str) -> None:
        await self._backend.delete_object(BUCKET, key)

    async def create_bucket(self, bucket: str) -> None:
        await self._backend.create_bucket(bucket)

    async def delete_bucket(self, bucket: str) -> None:
        await self._backend.delete_bucket(bucket)

    async def buckets(self) -> list[str]:
        return [bucket.name for bucket in await self._backend.list_buckets()]

    async def keys(self) -> list[str]:
        return [entry.key for entry in (await self._backend.list_objects(BUCKET)).entries]

    async def churn(self, seed: int, writes: int) -> list[int]:
        """Overwrite, delete and read a few keys that other processes work on too; the writes done and the whole bodies read."""
        choice = random.Random(seed)
        read = 0
        for _ in range(writes):
            key = f"churn-{choice.randrange(4)}"
            match choice.randrange(6):
                case 0:
                    await self.delete(key)
                case 1:
                    await self.upload(key, [(choice.getrandbits(32), 50_000) for _ in range(3)])
                case 2:
                    await self.put(key, choice.getrandbits(32), 3_000)
                case _:
                    await self.put(key, choice.getrandbits(32), 1_500_000)
            try:
                download = await self._backend.get_object(BUCKET, f"churn-{choice.randrange(4)}")
            except BackendError as error:
                if error.code != "NoSuchKey":
                    raise
                continue
            body, etag = await download.read(), download.object.etag
            digests = [hashlib.md5(body[start : start + 50_000]).digest() for start in range(0, 150_000, 50_000)]
            composite = hashlib.md5(b"".join(digests)).hexdigest() + "-3"
            assert etag in (hashlib.md5(body).hexdigest(), composite), "a body that nobody wrote"
            read += 1
        return [writes, read]


async def _serve(directory: Path, lock: DirectoryLock, link: socket.socket) -> None:
    backend = LocalBackend(directory, lock=lock)
    await backend.start()
    actions = _Actions(backend)
    reader, writer = await asyncio.open_connection(sock=link)

    def answer(value: object) -> None:
        writer.write(json.dumps(value).encode() + b"\n")

    async def act(action: str, arguments: dict[str, Any]) -> None:
        try:
            answer(await getattr(actions, action)(**arguments))
        except BackendError as error:
            answer({"code": error.code, "message": error.message})

    answer(os.getpid())
    async with asyncio.TaskGroup() as tasks:
        while line := await reader.readline():
            tasks.create_task(act(*json.loads(line)))
    await backend.close()
    writer.close()


def _digest(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def main() -> None:
    """Fork a process for each socket that comes, until the test is gone."""
    directory, descriptor = Path(sys.argv[1]), int(sys.argv[2])
    lock = DirectoryLock(directory)
    lock.acquire()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    orders = socket.socket(fileno=descriptor)
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, 16, 1)
        if not message:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            orders.close()
            asyncio.run(_serve(directory, lock, socket.socket(fileno=descriptors[0])))
            os._exit(0)
        os.close(descriptors[0])


if __name__ == "__main__":
    main()
