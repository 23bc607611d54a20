"""The examination of a store: database, rows, files, and the bytes of every object."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from s4_format import is_reserved

from s4_gateway.backend.local.blobs import BlobFiles
from s4_gateway.backend.local.bodies import BodyIds
from s4_gateway.backend.local.check.census import Census
from s4_gateway.backend.local.check.content import Contents, ObjectCheck, Wrong
from s4_gateway.backend.local.check.repair import repair
from s4_gateway.backend.local.check.report import Finding, Kind, Report, Weight
from s4_gateway.backend.local.faults import database_error, disk_error, unavailable
from s4_gateway.backend.local.files import FileLayer
from s4_gateway.backend.local.lock import DirectoryLock
from s4_gateway.backend.local.schema import FILE_NAME, MIGRATIONS, open_examiner

STALE_SECONDS = 7 * 24 * 3600.0
"""Uploads that were begun longer ago are told."""
_MAX_DAMAGES = 20
"""Lines of SQLite's own check."""

_OBJECTS = """
    SELECT b.name, o.key, o.body, o.size, o.etag, o.metadata FROM objects o JOIN buckets b ON b.id = o.bucket ORDER BY o.bucket, o.key
"""
_PARTS = """
    SELECT b.name, u.key, p.number, p.body, p.size, p.md5 FROM parts p JOIN uploads u ON u.id = p.upload JOIN buckets b ON b.id = u.bucket
"""
_UPLOADS = """
    SELECT b.name, u.key, u.initiated, (SELECT coalesce(sum(size), 0) FROM parts WHERE upload = u.id)
    FROM uploads u JOIN buckets b ON b.id = u.bucket ORDER BY u.initiated
"""
_UNREACHABLE = "SELECT key FROM {} WHERE bucket NOT IN (SELECT id FROM buckets)"
_ORPHAN_PARTS = "SELECT upload, number FROM parts WHERE upload NOT IN (SELECT id FROM uploads)"


def examine(
    directory: Path, *, mend: bool = False, read: bool = True, layer: FileLayer | None = None, clock: Callable[[], float] = time.time
) -> Report:
    """Examine a store that no server uses; blocks, and keeps servers off the directory meanwhile.

    Args:
        directory: of the store.
        mend: put right what is provable; damage stays as it is.
        read: read the bytes of all bodies; without it, their sizes alone are compared.
        layer: the system calls on blobs.
        clock: seconds since the epoch, to tell uploads that were begun long ago.

    Raises:
        BackendError: there is no store, a server uses it, or it cannot be examined; the message says which.
    """
    if not (directory / FILE_NAME).is_file():
        raise unavailable(f"there is no store in {directory}")
    lock = DirectoryLock(directory)
    lock.acquire()
    try:
        return _Examination(directory.absolute(), layer or FileLayer(), clock, read=read).run(mend=mend)
    except sqlite3.Error as error:
        raise database_error(error, f"examining {directory}") from error
    except OSError as error:
        raise disk_error(error, f"examining {directory}") from error
    finally:
        lock.release()


class _Examination:
    def __init__(self, directory: Path, layer: FileLayer, clock: Callable[[], float], *, read: bool) -> None:
        self._directory = directory
        self._clock = clock
        self._read = read
        self._blobs = BlobFiles(directory, layer, BodyIds(0))
        self._findings: list[Finding] = []
        self._orphan_files: set[int] = set()

    def run(self, *, mend: bool) -> Report:
        with closing(open_examiner(self._directory)) as connection:
            census = self._look(connection)
            objects = connection.execute("SELECT count(*) FROM objects").fetchone()[0] if census else 0
        if mend and census is not None and census.complete:
            if any(finding.meaning.weight is Weight.LEFTOVER for finding in self._findings):
                repair(self._directory, self._blobs, self._orphan_files)
            self._findings = [_repaired(finding) for finding in self._findings]
        if census is None:
            return Report(self._findings, 0, 0, 0, read=False)
        return Report(self._findings, objects, len(census.bodies), census.stored_bytes, read=self._read)

    def _look(self, connection: sqlite3.Connection) -> Census | None:
        """All that is found; None where the database cannot be trusted, so that nothing else is looked at."""
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != len(MIGRATIONS):
            raise unavailable(f"the store has schema {version}, not {len(MIGRATIONS)}: start its server once, or use its newer version")
        try:
            damages = [text for (text,) in connection.execute(f"PRAGMA integrity_check({_MAX_DAMAGES})") if text != "ok"]
            census = None if damages else Census.take(connection)
        except sqlite3.DatabaseError as error:
            damages, census = [str(error)], None
        self._findings += [Finding(Kind.DATABASE, FILE_NAME, text) for text in damages]
        if census is not None:
            self._findings += [*self._row_findings(connection, census), *census.wrong_counts()]
            self._findings += self._object_findings(connection, census)
            self._findings += self._file_findings(connection, census)
        return census

    def _row_findings(self, connection: sqlite3.Connection, census: Census) -> Iterator[Finding]:
        for table in ("objects", "uploads"):
            for (key,) in connection.execute(_UNREACHABLE.format(table)):
                yield Finding(Kind.UNREACHABLE, f"{table}: {_shown(key)}")
        for upload, number in connection.execute(_ORPHAN_PARTS):
            yield Finding(Kind.ORPHAN_PART, f"part {number} of {upload}")
        for body in census.broken_lists:
            yield Finding(Kind.LIST, f"body {body:016x}")
        dropped = connection.execute("SELECT count(*) FROM trash").fetchone()[0]
        if dropped:
            yield Finding(Kind.UNFINISHED, f"{dropped} dropped lists of parts")
        for (epoch,) in connection.execute("SELECT id FROM epochs"):
            yield Finding(Kind.UNFINISHED, f"run {epoch}", "it was killed, or left files that it could not remove")
        now = self._clock()
        for bucket, key, initiated, size in connection.execute(_UPLOADS):
            if now - initiated > STALE_SECONDS:
                days = int(now - initiated) // 86_400
                yield Finding(Kind.STALE_UPLOAD, f"{bucket}/{_shown(key)}", f"{days} days, {size} bytes")

    def _object_findings(self, connection: sqlite3.Connection, census: Census) -> Iterator[Finding]:
        """What is wrong with the bytes of objects and of parts."""
        contents = Contents(connection, self._blobs, census)
        dictionaries = {(bucket, _shown(key)): body for bucket, key, body, *_ in connection.execute(_OBJECTS) if is_reserved(_shown(key))}
        check = ObjectCheck(contents, dictionaries)
        for bucket, key, body, size, etag, metadata in connection.execute(_OBJECTS):
            try:
                self._check(check, bucket, body, size=size, etag=etag, metadata=metadata)
            except Wrong as wrong:
                yield Finding(wrong.kind, f"{bucket}/{_shown(key)}", wrong.detail)
        for bucket, key, number, body, size, digest in connection.execute(_PARTS):
            try:
                self._check(check, bucket, body, size=size, etag=bytes(digest).hex(), metadata="{}")
            except Wrong as wrong:
                yield Finding(wrong.kind, f"part {number} of the upload of {bucket}/{_shown(key)}", wrong.detail)

    def _check(self, check: ObjectCheck, bucket: str, body: int, *, size: int, etag: str, metadata: str) -> None:
        if not self._read:
            check.check_sizes(body, size=size)
            return
        try:
            parsed: dict[str, str] = json.loads(metadata) if metadata else {}
        except ValueError as error:
            raise Wrong(Kind.UNDECODABLE, f"its metadata: {error}") from error
        check.check(bucket, body, size=size, etag=etag, metadata=parsed)

    def _file_findings(self, connection: sqlite3.Connection, census: Census) -> Iterator[Finding]:
        """Files without a body, and files that are none of ours."""
        listed = {body for (body,) in connection.execute("SELECT id FROM removals")}
        there: set[int] = set()
        for path in self._blobs.all_files():
            body = self._blobs.body_at(path)
            if body is None:
                yield Finding(Kind.STRANGER, path)
                continue
            there.add(body)
            if body not in census.files and census.complete:
                self._orphan_files.add(body)
                if body not in listed:
                    yield Finding(Kind.ORPHAN_FILE, path)
        if listed:
            yield Finding(Kind.UNFINISHED, f"{len(listed)} removals of files", f"{len(listed & there)} of the files are there")


def _repaired(finding: Finding) -> Finding:
    if finding.meaning.weight is not Weight.LEFTOVER:
        return finding
    return Finding(finding.kind, finding.subject, finding.detail, repaired=True)


def _shown(key: bytes) -> str:
    return bytes(key).decode(errors="backslashreplace")
