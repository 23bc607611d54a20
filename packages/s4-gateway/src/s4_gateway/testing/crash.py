"""kill -9 under load: a process writes to an embedded store, is killed, and what it had acknowledged must be there.

`python -m s4_gateway.testing.crash DIRECTORY SEED` is the process: it writes until it is killed and tells on standard output, one JSON line
each, what it begins and what was acknowledged. `CrashDriver` starts it, kills it, opens the store and compares.
"""

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Literal

from s4_gateway.backend.abc import BackendError, Buffer, Download
from s4_gateway.backend.local import LocalBackend
from s4_gateway.backend.local.bodies import BodyKind, file_name, group_directory, unpack_segments

BUCKET = "crash-test"
WORKERS = 12
KEYS_A_WORKER = 4

Action = Literal["put", "copy", "multipart", "delete"]
_ACTIONS: tuple[Action, ...] = ("put", "put", "put", "multipart", "copy", "delete")
_SIZES = (0, 700, 4096, 33_000, 90_000, 400_000)


@dataclass(frozen=True, slots=True)
class Body:
    """A body by the numbers it is made from: parts of (seed, size)."""

    parts: tuple[tuple[int, int], ...]

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


# The process that is killed


async def write_until_killed(directory: Path, seed: int) -> None:
    """Write to the store from several tasks, each with keys of its own, until the process dies."""
    backend = LocalBackend(directory)
    await backend.start()
    if BUCKET not in [bucket.name for bucket in await backend.list_buckets()]:
        await backend.create_bucket(BUCKET)
    await asyncio.gather(*(_Worker(backend, number, seed).run() for number in range(WORKERS)))


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


# The driver


@dataclass(slots=True)
class CrashReport:
    """What the rounds came to."""

    rounds: int = 0
    acknowledged: int = 0
    """Writes that the killed processes had acknowledged."""
    in_flight: int = 0
    """Writes that a kill interrupted."""
    faults: list[str] = field(default_factory=list)
    """What was not as it must be; empty is good."""


class CrashDriver:
    """Kills writers on one directory, round after round, and keeps account of what must be there.

    Args:
        directory: of the store; made by the first round.
        seed: decides what is written and when the kills come, as far as the machine allows.
        sweep_seconds: time in which the files that a killed process left must be gone.
    """

    def __init__(self, directory: Path, *, seed: int, sweep_seconds: float = 30.0) -> None:
        self._sweep_seconds = sweep_seconds
        self.report = CrashReport()
        self._directory = directory
        self._choice = random.Random(seed)
        self._objects: dict[str, Body] = {}
        """What is at each key, as the last look found it."""

    async def round(self, *, longest_seconds: float) -> None:
        """Let a process write for a random time, kill it, and check the store."""
        lines = await asyncio.to_thread(self._run_and_kill, self._choice.uniform(0.05, longest_seconds))
        possible = self._account(lines)
        backend = LocalBackend(self._directory)
        await backend.start()
        try:
            await self._check_objects(backend, possible)
            for upload in await backend.list_multipart(BUCKET):
                await backend.abort_multipart(BUCKET, upload.key, upload.upload_id)
            await self._check_bodies()
        finally:
            await backend.close()
        self.report.rounds += 1

    def _run_and_kill(self, seconds: float) -> list[bytes]:
        """The lines of a process that was killed some time after its first one."""
        command = [sys.executable, "-m", "s4_gateway.testing.crash", str(self._directory), str(self._choice.getrandbits(32))]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - this module itself.
            assert process.stdout is not None
            try:
                lines = [process.stdout.readline()]
                deadline = time.monotonic() + seconds
                while time.monotonic() < deadline and (line := process.stdout.readline()):
                    lines.append(line)
            finally:
                process.kill()
            lines += process.stdout.readlines()
            if process.wait() != -9:
                self.report.faults.append(f"the writing process ended by itself with {process.returncode}")
        return lines

    def _account(self, lines: list[bytes]) -> dict[str, list[Body | None]]:
        """What may be at each key: the outcome of its last acknowledged write, or of the one after it."""
        possible: dict[str, list[Body | None]] = {key: [body] for key, body in self._objects.items()}
        for raw in lines:
            line = json.loads(raw)
            key, event = line["key"], line["event"]
            before = possible.get(key, [None])
            if event == "begun":
                self.report.in_flight += 1
                possible[key] = [*before, *self._outcomes(line, possible)]
            else:
                self.report.in_flight -= 1
                self.report.acknowledged += event == "acknowledged"
                possible[key] = before[1:] if event == "acknowledged" else before[:1]
        return possible

    def _outcomes(self, line: Mapping[str, object], possible: dict[str, list[Body | None]]) -> list[Body | None]:
        match line["action"]:
            case "delete":
                return [None]
            case "copy":
                return possible.get(str(line["source"]), [None])[:1]
            case _:
                parts = line["parts"]
                assert isinstance(parts, list)
                return [Body(tuple((seed, size) for seed, size in parts))]

    async def _check_objects(self, backend: LocalBackend, possible: dict[str, list[Body | None]]) -> None:
        found: dict[str, Body] = {}
        listed = {entry.key: entry for entry in (await backend.list_objects(BUCKET)).entries}
        for key, bodies in possible.items():
            if key not in listed:
                if None not in bodies:
                    self.report.faults.append(f"{key} is lost")
                continue
            try:
                download = await backend.get_object(BUCKET, key)
                data = await download.read()
            except BackendError as error:
                self.report.faults.append(f"{key} cannot be read: {error}")
                continue
            body = next((body for body in bodies if body is not None and b"".join(body.pieces()) == data), None)
            if body is None:
                self.report.faults.append(f"{key} holds {len(data)} bytes that nobody wrote or that were overwritten")
            elif not _fits(download, body):
                self.report.faults.append(f"{key} has the ETag of another body")
            else:
                found[key] = body
        self.report.faults += [f"{key} came from nowhere" for key in listed.keys() - possible.keys()]
        self._objects = found

    async def _check_bodies(self) -> None:
        """References, bodies and files agree one to one, once the sweep and the purge have come to their end."""
        deadline = time.monotonic() + self._sweep_seconds
        while fault := disagreement(self._directory):
            if time.monotonic() > deadline:
                self.report.faults.append(fault)
                return
            await asyncio.sleep(0.05)


def disagreement(directory: Path) -> str:
    """How references, bodies and files of a store differ from each other; empty if they agree one to one."""
    with closing(sqlite3.connect(directory / "store.sqlite3")) as connection:
        connection.execute("BEGIN")  # One snapshot for all that follows.
        bodies = {body: (kind, refs) for body, kind, refs in connection.execute("SELECT id, kind, refs FROM bodies")}
        holders = Counter(body for (body,) in connection.execute("SELECT body FROM objects UNION ALL SELECT body FROM parts"))
        lists = connection.execute("SELECT content FROM bodies WHERE kind = ? UNION ALL SELECT content FROM trash", (int(BodyKind.LIST),))
        for (content,) in lists:
            holders.update(segment.body for segment in unpack_segments(content))
    wrong = {body for body, (_, refs) in bodies.items() if refs != holders[body]} | holders.keys() - bodies.keys()
    if wrong:
        return f"{len(wrong)} bodies have another count of references than references"
    blobs = directory / "blobs"
    named = {str(blobs / group_directory(body) / file_name(body)) for body, (kind, _) in bodies.items() if kind == BodyKind.FILE}
    there = {f"{above}/{name}" for above, _, files in os.walk(blobs) for name in files}
    return "" if named == there else f"{len(named - there)} blobs are missing, {len(there - named)} are left over"


def _fits(download: Download, body: Body) -> bool:
    """The ETag is that of a PUT or of a multipart upload of the body's parts."""
    pieces = body.pieces()
    digests = [md5(piece, usedforsecurity=False) for piece in pieces]
    composite = md5(b"".join(digest.digest() for digest in digests), usedforsecurity=False).hexdigest()
    return download.object.etag in (digests[0].hexdigest(), f"{composite}-{len(pieces)}")


def run_rounds(directory: Path, *, rounds: int, seed: int, longest_seconds: float = 1.0) -> CrashReport:
    """That many rounds on one directory; the caller asserts that the report has no faults."""
    driver = CrashDriver(directory, seed=seed)

    async def run() -> None:
        for _ in range(rounds):
            await driver.round(longest_seconds=longest_seconds)

    asyncio.run(run())
    return driver.report


if __name__ == "__main__":
    asyncio.run(write_until_killed(Path(sys.argv[1]), int(sys.argv[2])))
