"""What a program did to a directory, and every state in which a power cut may leave it.

A disk keeps what was synced: the bytes of a file by a sync of the file, the names in a directory by a sync of the directory. Of what was
not, it may keep anything: some writes and not others, a part of a write, some names and not others. `DiskHistory` records operations with
their beginnings and ends; `DiskHistory.states` tells what may be on the disk at a moment.

That is stricter than real file systems: the sync of a new file, for one, does not save its name.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

NEVER = 1 << 62


@dataclass(slots=True, eq=False)
class Operation:
    """One change or one sync. Moments are counted by the beginnings and ends of operations."""

    begun: int
    ended: int = NEVER


@dataclass(slots=True, eq=False)
class Change(Operation):
    """What lives on when it is synced."""

    safe: int = NEVER
    """The moment from which it is on the disk for sure: the end of a sync that began after its end."""
    doomed: bool = False
    """A sync of it failed. Systems forget then what was to be written, so that a later sync succeeds without it."""


@dataclass(slots=True, eq=False)
class Write(Change):
    """Bytes at an offset of a file."""

    offset: int = 0
    data: bytes = b""


@dataclass(slots=True, eq=False)
class Truncate(Change):
    """A new size of a file, no larger than before."""

    size: int = 0


@dataclass(slots=True, eq=False)
class Naming(Change):
    """What a name stands for from now on; None = nothing."""

    target: "Node | None" = None


@dataclass(slots=True, eq=False)
class Node:
    """A file or a directory, whatever it is called."""

    is_directory: bool
    changes: list[Write | Truncate] = field(default_factory=list)
    names: dict[str, list[Naming]] = field(default_factory=lambda: defaultdict(list))

    def all_changes(self) -> Iterator[Change]:
        yield from self.changes
        for namings in self.names.values():
            yield from namings


Keep = Callable[[Change], float]
"""How much of a change that was not synced the disk keeps: 0 = nothing, 1 = all; of a write any part from its beginning."""


def nothing(_: Change) -> float:
    """The disk keeps what was synced, and no more."""
    return 0.0


def everything(_: Change) -> float:
    """The disk keeps all: what the program itself sees."""
    return 1.0


class DiskHistory:
    """Records what happens below a directory, whose own name is safe. Called from any thread.

    Args:
        root: the directory; paths are absolute, and those elsewhere are none of its business.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._lock = threading.Lock()
        self._top = Node(is_directory=True)
        self.moment = 0
        self.syncs: set[int] = set()
        """Moments of the ends of syncs."""

    def covers(self, path: str) -> bool:
        """Whether the path is below the directory."""
        return path.startswith(self._root + "/")

    def tick(self) -> int:
        """The next moment."""
        with self._lock:
            self.moment += 1
            return self.moment

    def node(self, path: str) -> Node:
        """What the program sees at a path."""
        node = self._top
        for name in self._names(path):
            target = node.names[name][-1].target
            assert target is not None, f"{path} is not there"
            node = target
        return node

    def exists(self, path: str) -> bool:
        """Whether the program sees something there."""
        node: Node | None = self._top
        for name in self._names(path):
            namings = node.names.get(name) if node is not None else None
            node = namings[-1].target if namings else None
        return node is not None

    @contextmanager
    def writing(self, node: Node, offset: int, data: bytes) -> Iterator[None]:
        """Around a write."""
        change = Write(self.tick(), offset=offset, data=data)
        node.changes.append(change)
        yield
        change.ended = self.tick()

    @contextmanager
    def truncating(self, node: Node, size: int) -> Iterator[None]:
        """Around a cut."""
        change = Truncate(self.tick(), size=size)
        node.changes.append(change)
        yield
        change.ended = self.tick()

    @contextmanager
    def naming(self, path: str, target: Node | None) -> Iterator[None]:
        """Around the making or the removal of a name."""
        above, _, name = path.rpartition("/")
        change = Naming(self.tick(), target=target)
        namings = self.node(above).names[name]
        namings.append(change)
        try:
            yield
        except OSError:
            namings.remove(change)
            raise
        change.ended = self.tick()

    def synced(self, node: Node, begun: int) -> None:
        """A sync has succeeded: what ended before it began is safe from now on."""
        ended = self.tick()
        self.syncs.add(ended)
        for change in node.all_changes():
            if change.ended < begun and not change.doomed:
                change.safe = min(change.safe, ended)

    def sync_failed(self, node: Node) -> None:
        """A sync has failed: what it was to save will not be saved by another one."""
        for change in node.all_changes():
            change.doomed |= change.safe == NEVER

    def content(self, moment: int, keep: Keep) -> dict[str, bytes | None]:
        """What the disk holds after a power cut at a moment: relative paths of files and directories (None)."""
        found: dict[str, bytes | None] = {}
        self._collect(self._top, "", moment, keep, found)
        return found

    def _names(self, path: str) -> list[str]:
        return [name for name in path.removeprefix(self._root).split("/") if name]

    def _collect(self, directory: Node, path: str, moment: int, keep: Keep, found: dict[str, bytes | None]) -> None:
        for name, namings in directory.names.items():
            target: Node | None = None
            known = 0
            for number, naming in enumerate(namings):
                if naming.safe < moment:  # Whatever came before it, this is what the name stands for.
                    target, known = naming.target, number + 1
            for naming in namings[known:]:
                if naming.begun >= moment or keep(naming) < 1:
                    break  # Changes of one name come in their order.
                target = naming.target
            if target is None:
                continue
            if target.is_directory:
                found[path + name] = None
                self._collect(target, f"{path}{name}/", moment, keep, found)
            else:
                found[path + name] = _bytes(target, moment, keep)


def _bytes(file: Node, moment: int, keep: Keep) -> bytes:
    content = bytearray()
    for change in file.changes:
        if change.begun >= moment:
            break
        part = 1.0 if change.safe < moment else keep(change)
        if part <= 0:
            continue
        if isinstance(change, Truncate):
            del content[change.size :]
            continue
        data = change.data[: round(len(change.data) * part)]
        content.extend(bytes(max(0, change.offset - len(content))))
        content[change.offset : change.offset + len(data)] = data
    return bytes(content)
