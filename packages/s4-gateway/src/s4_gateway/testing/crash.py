"""kill -9 under load: servers write to an embedded store, are killed, and what they had acknowledged must be there.

`CrashDriver` starts a `crash_server`, kills processes of it and at last all of it, opens the store and compares.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import IO

from s4_gateway.backend.abc import BackendError, Download
from s4_gateway.backend.local import LocalBackend
from s4_gateway.backend.local.bodies import BodyKind, file_name, group_directory, unpack_segments
from s4_gateway.testing.crash_server import BUCKET, Body


@dataclass(slots=True)
class CrashReport:
    """What the rounds came to."""

    rounds: int = 0
    kills: int = 0
    """Single processes and whole servers."""
    acknowledged: int = 0
    """Writes that the killed processes had acknowledged."""
    in_flight: int = 0
    """Writes that a kill interrupted."""
    faults: list[str] = field(default_factory=list)
    """What was not as it must be; empty is good."""


@dataclass(slots=True)
class _Account:
    """What may be at a key: the outcome of its last acknowledged write, or of one that was begun after it."""

    settled: list[Body | None]
    under_way: list[Body | None] = field(default_factory=list)

    @property
    def possible(self) -> list[Body | None]:
        return [*self.settled, *self.under_way]

    def begin(self, outcomes: list[Body | None]) -> None:
        # What a killed process had begun may have come to pass: its successor builds on either.
        self.settled, self.under_way = self.possible, outcomes

    def end(self, *, done: bool) -> None:
        if done:
            self.settled = self.under_way
        self.under_way = []


class CrashDriver:
    """Kills servers on one directory, round after round, and keeps account of what must be there.

    Args:
        directory: of the store; made by the first round.
        seed: decides what is written and when the kills come, as far as the machine allows.
        processes: of each server.
        kills: processes killed in a round before the whole server is.
        sweep_seconds: time in which the files that a killed process left must be gone.
    """

    def __init__(self, directory: Path, *, seed: int, processes: int = 1, kills: int = 0, sweep_seconds: float = 30.0) -> None:
        self._sweep_seconds = sweep_seconds
        self.report = CrashReport()
        self._directory = directory
        self._choice = random.Random(seed)
        self._processes = processes
        self._kills = kills
        self._objects: dict[str, Body] = {}
        """What is at each key, as the last look found it."""
        self._contested: dict[str, list[Body]] = {}
        """All that was ever written to keys with several writers."""

    async def round(self, *, longest_seconds: float) -> None:
        """Let a server write for a random time, kill processes of it and then all of it, and check the store."""
        seconds = [self._choice.uniform(0.05, longest_seconds) for _ in range(self._kills + 1)]
        accounts = self._account(await asyncio.to_thread(self._run_and_kill, seconds))
        backend = LocalBackend(self._directory)
        await backend.start()
        try:
            await self._check_objects(backend, {key: account.possible for key, account in accounts.items()})
            for upload in await backend.list_multipart(BUCKET):
                await backend.abort_multipart(BUCKET, upload.key, upload.upload_id)
            await self._check_bodies()
        finally:
            await backend.close()
        self.report.rounds += 1

    def _run_and_kill(self, seconds: list[float]) -> list[bytes]:
        """The lines of a server that lost a process after each but the last of these times, and then all of them."""
        seed = str(self._choice.getrandbits(32))
        command = [sys.executable, "-m", "s4_gateway.testing.crash_server", str(self._directory), seed, str(self._processes)]
        lines: list[bytes] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as server:  # noqa: S603 - our own module.
            assert server.stdout is not None
            reader = threading.Thread(target=_collect, args=(server.stdout, lines), daemon=True)
            reader.start()
            try:
                for number, wait in enumerate(seconds, start=1):
                    living = self._living(server, lines, starts=self._processes + number - 1)
                    time.sleep(wait)
                    if number < len(seconds):
                        os.kill(self._choice.choice(living), signal.SIGKILL)
                        self.report.kills += 1
            finally:
                os.killpg(server.pid, signal.SIGKILL)
            self.report.kills += 1
            reader.join()
        return lines

    def _living(self, server: "subprocess.Popen[bytes]", lines: list[bytes], *, starts: int) -> list[int]:
        """The processes that were started last, once there have been so many starts: a killed one is followed at once."""
        pids: list[int] = []
        deadline = time.monotonic() + 60
        while len(pids) < starts:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start {starts} processes; it said {lines[-5:]!r}")
            time.sleep(0.002)
            pids = [json.loads(line)["pid"] for line in list(lines) if line.startswith(b'{"event": "started"')]
        return [pid for pid in pids if _lives(pid)]

    def _account(self, lines: list[bytes]) -> dict[str, _Account]:
        accounts = {key: _Account([body]) for key, body in self._objects.items()}
        for raw in lines:
            line = json.loads(raw)
            match line["event"]:
                case "begun":
                    self.report.in_flight += 1
                    accounts.setdefault(line["key"], _Account([None])).begin(self._outcomes(line, accounts))
                case "acknowledged" | "refused" as event:
                    self.report.in_flight -= 1
                    self.report.acknowledged += event == "acknowledged"
                    accounts[line["key"]].end(done=event == "acknowledged")
                case "contested":
                    self._contested.setdefault(line["key"], []).append(_body(line))
                case "fault":
                    self.report.faults.append(line["message"])
                case _:
                    pass
        return accounts

    def _outcomes(self, line: Mapping[str, object], accounts: dict[str, _Account]) -> list[Body | None]:
        match line["action"]:
            case "delete":
                return [None]
            case "copy":
                source = accounts.get(str(line["source"]))
                return source.possible if source is not None else [None]
            case _:
                return [_body(line)]

    async def _check_objects(self, backend: LocalBackend, possible: dict[str, list[Body | None]]) -> None:
        possible |= {key: [None, *bodies] for key, bodies in self._contested.items()}
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
            body = next((body for body in bodies if body is not None and body.size == len(data) and b"".join(body.pieces()) == data), None)
            if body is None:
                self.report.faults.append(f"{key} holds {len(data)} bytes that nobody wrote or that were overwritten")
            elif not _fits(download, body):
                self.report.faults.append(f"{key} has the ETag of another body")
            else:
                found[key] = body
        self.report.faults += [f"{key} came from nowhere" for key in listed.keys() - possible.keys()]
        self._objects = {key: body for key, body in found.items() if key not in self._contested}

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


def _body(line: Mapping[str, object]) -> Body:
    parts = line["parts"]
    assert isinstance(parts, list)
    return Body(tuple((seed, size) for seed, size in parts))


def _collect(stream: IO[bytes], lines: list[bytes]) -> None:
    lines.extend(stream)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def run_rounds(directory: Path, *, rounds: int, seed: int, processes: int = 1, kills: int = 0, longest_seconds: float = 1.0) -> CrashReport:
    """That many rounds on one directory; the caller asserts that the report has no faults."""
    driver = CrashDriver(directory, seed=seed, processes=processes, kills=kills)

    async def run() -> None:
        for _ in range(rounds):
            await driver.round(longest_seconds=longest_seconds)

    asyncio.run(run())
    return driver.report
