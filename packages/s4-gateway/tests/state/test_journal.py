"""The journal: what a process that is gone left open is found, what a living one works on is not."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from s4_gateway.errors import S3Error
from s4_gateway.state.journal import SETTLED_SECONDS, Journal, OpenedUpload

ONE = OpenedUpload("bucket", "key\x00with nul", "upload 1")
TWO = OpenedUpload("bucket", "key", "upload 2", "bucket/.s4mpu/id/backend")


def names(folder: Path) -> list[str]:
    """What lies in a directory."""
    return sorted(path.name for path in folder.iterdir())


async def test_rows_of_a_living_process_are_its_own(tmp_path: Path) -> None:
    """A second gateway over the same file does not take what the first one has open; when that one is gone, it does."""
    first, second = Journal(tmp_path / "journal"), Journal(tmp_path / "journal")
    await first.start()
    await first.opened(ONE)
    await first.opened(TWO)
    await second.start()
    assert await second.left_open() == []
    assert await first.left_open() == []
    await first.ended(ONE)
    await first.close()

    assert await second.left_open() == [TWO]
    await second.ended(TWO)
    assert await second.left_open() == []
    await second.close()
    assert names(tmp_path) == ["journal"]


async def test_killed_processes_leave_no_lock_files(tmp_path: Path) -> None:
    """The next start removes them, whether or not the dead had an upload open; those of the living stay."""
    living = Journal(tmp_path / "journal")
    await living.start()
    for number in range(3):
        (tmp_path / f"journal.{number:016x}.lock").touch()
    starting = Journal(tmp_path / "journal")
    await starting.start()
    assert len([name for name in names(tmp_path) if name.endswith(".lock")]) == 2
    await living.opened(ONE)
    assert await starting.left_open() == []
    await starting.close()
    await living.close()


async def test_starts_at_the_same_time(tmp_path: Path) -> None:
    """However the starts of many processes and their looking for dead ones interleave, each is known to live."""
    journals = [Journal(tmp_path / "journal") for _ in range(12)]
    await asyncio.gather(*(journal.start() for journal in journals))
    for number, journal in enumerate(journals):
        await journal.opened(OpenedUpload("bucket", "key", f"upload {number}"))
    assert [await journal.left_open() for journal in journals] == [[]] * 12
    for journal in journals:
        await journal.close()


async def test_abandoned_uploads_are_left_alone_for_a_while(tmp_path: Path) -> None:
    """Where the outcome is unknown something may still be under way: it is found only when that cannot be any more."""
    now = 1000.0
    journal = Journal(tmp_path / "journal", clock=lambda: now)
    await journal.start()
    await journal.opened(ONE)
    await journal.opened(TWO)
    await journal.abandoned(ONE)
    assert await journal.left_open() == []
    now += SETTLED_SECONDS
    assert await journal.left_open() == [ONE]
    await journal.close()


async def test_failures(tmp_path: Path) -> None:
    """A journal that cannot be written refuses new uploads with 503; the end of one is only a note and never fails."""
    journal = Journal(tmp_path / "journal")
    await journal.start()
    with sqlite3.connect(tmp_path / "journal") as other:
        other.execute("DROP TABLE opened_uploads")
    other.close()

    with pytest.raises(S3Error) as refused:
        await journal.opened(ONE)
    assert refused.value.code == "ServiceUnavailable"
    await journal.ended(ONE)
    await journal.abandoned(ONE)
    await journal.close()
