"""What a running gateway holds: memory, descriptors, files."""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from servers.gateways import Gateway

MIB = 2**20
_RSS = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Vitals:
    """One look at all processes of a gateway. Sizes in bytes."""

    seconds: float
    """Since the first look."""
    rss: int
    descriptors: int
    threads: int
    temp_files: int
    """Open files that have no name any more."""
    objects: int
    """Files of stored bodies of the embedded store."""
    sqlite: int
    wal: int
    """Write-ahead logs of SQLite."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """What is looked at, without the time."""
        return tuple(field.name for field in fields(cls) if field.name != "seconds")


class Watcher:
    """Looks at one gateway.

    Args:
        gateway: runs on this machine.
        folders: its state, and its data where it is over the embedded store.
    """

    def __init__(self, gateway: Gateway, *folders: Path) -> None:
        self._pid = gateway.process.process.pid
        self._folders = folders
        self._began = time.monotonic()

    def look(self) -> Vitals:
        """How it is now."""
        pids = list(_tree(self._pid))
        open_files = [name for pid in pids for name in _descriptors(pid)]
        sizes = dict(item for folder in self._folders for item in _sizes(folder))
        return Vitals(
            seconds=time.monotonic() - self._began,
            rss=sum(map(_resident, pids)),
            descriptors=len(open_files),
            threads=sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids),
            temp_files=sum(name.endswith("(deleted)") for name in open_files),
            objects=sum(size for path, size in sizes.items() if ".sqlite3" not in path.name),
            sqlite=sum(size for path, size in sizes.items() if path.name.endswith(".sqlite3")),
            wal=sum(size for path, size in sizes.items() if path.name.endswith(".sqlite3-wal")),
        )


def _tree(pid: int) -> Iterator[int]:
    """The process and those that it started."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _tree(int(child))


def _resident(pid: int) -> int:
    found = _RSS.search(Path(f"/proc/{pid}/status").read_text())
    assert found, "the kernel does not tell VmRSS"
    return int(found[1]) * 1024


def _descriptors(pid: int) -> Iterator[str]:
    """What the open descriptors of a process are, without its standard streams: those are files of whoever started it."""
    for path in Path(f"/proc/{pid}/fd").iterdir():
        if path.name in ("0", "1", "2"):
            continue
        try:
            yield str(path.readlink())
        except FileNotFoundError:
            # Closed since the folder was read.
            continue


def _sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root) / name
            try:
                yield path, path.stat().st_size
            except FileNotFoundError:
                continue
