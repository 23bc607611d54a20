"""Spools: parts that wait in RAM and then in a file, whatever happens to the disk and to the client."""

import asyncio
import errno
from pathlib import Path

import pytest

from s4_gateway.errors import S3Error
from s4_gateway.objects.uploads.spool import Spool, SpoolQuota

from .helpers import BUCKET, MIB, Rig, noise, rig

QUOTA = 8 * MIB


def spool(gateway: Rig, quota: SpoolQuota) -> Spool:
    """An empty spool of a gateway."""
    return Spool(gateway.client.services.store.core, quota)


def quota_left(gateway: Rig) -> int:
    """Bytes that spool files may still take."""
    return gateway.client.services.store.uploads.parts._quota.left


async def test_payload_can_be_read_again_and_at_once(tmp_path: Path) -> None:
    """Retries read from the beginning, and a reading that was given up does not disturb the next one."""
    body = noise(4 * MIB + 3)
    async with rig(spool_memory=MIB, spool_dir=str(tmp_path)) as gateway:
        one = spool(gateway, SpoolQuota(QUOTA))
        for start in range(0, len(body), 700_001):
            await one.add(body[start : start + 700_001])
        given_up = iter(one)
        first = bytes(next(given_up))
        again = b"".join(one)
        rest = b"".join(given_up)
        one.close()
        one.close()

        assert one.size == 0
        assert (again, first + rest) == (body, body)
        assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - a look at an empty folder


async def test_full_quota_is_slow_down() -> None:
    """Parts beyond the quota get 503, and what they took is given back."""
    async with rig(spool_memory=MIB, spool_bytes=QUOTA) as gateway:
        upload = await gateway.create("key")
        query = {"partNumber": "1", "uploadId": upload}
        answer = await gateway.client.request("PUT", BUCKET, "key", query=query, body=noise(20 * MIB))
        assert (answer.status, answer.code) == (503, "SlowDown")
        assert quota_left(gateway) == QUOTA
        await gateway.part("key", upload, 1, noise(6 * MIB))
        assert quota_left(gateway) == QUOTA


@pytest.mark.parametrize("when", ["opening", "writing"])
async def test_disk_that_fails(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk or a lost folder is 503, leaves nothing and gives the quota back."""
    if when == "writing":

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "no space")

        monkeypatch.setattr(Spool, "_write", full)
    folder = tmp_path / "gone" if when == "opening" else tmp_path
    async with rig(spool_memory=MIB, spool_bytes=QUOTA, spool_dir=str(folder)) as gateway:
        upload = await gateway.create("key")
        query = {"partNumber": "1", "uploadId": upload}
        answer = await gateway.client.request("PUT", BUCKET, "key", query=query, body=noise(6 * MIB))

        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        assert quota_left(gateway) == QUOTA
        assert gateway.client.services.store.core.budget.used == 0
        listed = await gateway.client.request("GET", BUCKET, "key", query={"uploadId": upload})
        assert listed.texts("Part/PartNumber") == []


async def test_client_leaves_while_bytes_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write in a thread is waited for: the file is closed behind it, not under it."""
    started, go_on = asyncio.Event(), asyncio.Event()
    plain = Spool._write

    def slow(self: Spool, pieces: list[bytes]) -> None:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        plain(self, pieces)

    monkeypatch.setattr(Spool, "_write", slow)
    loop = asyncio.get_running_loop()
    async with rig(spool_memory=MIB, spool_bytes=QUOTA) as gateway:
        upload = await gateway.create("key")
        request = asyncio.create_task(gateway.part("key", upload, 1, noise(6 * MIB)))
        await started.wait()
        request.cancel()
        await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await request

        assert quota_left(gateway) == QUOTA


async def test_nothing_is_taken_beyond_the_quota() -> None:
    """The quota counts exactly."""
    quota = SpoolQuota(10)
    quota.take(10)
    with pytest.raises(S3Error):
        quota.take(1)
    quota.give(10)
    quota.take(10)
