"""Blobs: the bodies that are files, at `blobs/EPOCH/HIGH/LOW/ID`, all in hexadecimal.

A blob is written and synced under its final name before a transaction names it, and unlinked only after the transaction that drops its
last reference. So a crash leaves at most files that no body names, which `sweep` finds.
"""

import errno
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from hashlib import md5
from pathlib import Path

from s4_gateway.backend._rules import exact_pieces
from s4_gateway.backend.abc import Buffer, Payload
from s4_gateway.backend.local.bodies import BodyIds, Content, epoch_directory, file_name, group_directory
from s4_gateway.backend.local.faults import disk_error
from s4_gateway.backend.local.files import FileLayer

_WRITE_BYTES = 1024 * 1024
"""Small pieces are gathered up to this size for one system call."""
_ATTEMPTS = 100
"""The directory of a new blob may be removed as empty just before the blob is created in it, here or in another process."""


class AbandonedError(Exception):
    """Nobody waits for the blob any more; what was written of it is gone."""


class BlobFiles:
    """The blobs of one store; all methods block and may be called from any thread.

    Args:
        directory: the store's directory.
        layer: the system calls.
        ids: names for new blobs.
    """

    def __init__(self, directory: Path, layer: FileLayer, ids: BodyIds) -> None:
        self._root = str(directory / "blobs")
        self._layer = layer
        self._ids = ids
        self._lock = threading.Lock()
        self._made: set[str] = set()
        self._doubtful: set[str] = set()
        """Directories whose sync failed once: a sync that succeeds later says nothing about the names that the first one lost."""
        self._unsettled: set[int] = set()
        self._discarded: set[int] = set()
        self.leftovers = False
        """There may be blobs that no body names: this run does not stop clean."""

    def directory_of(self, body: int) -> str:
        """Where the blob's name is."""
        return f"{self._root}/{group_directory(body)}"

    def path_of(self, body: int) -> str:
        """The blob's file."""
        return f"{self.directory_of(body)}/{file_name(body)}"

    def write(self, payload: Payload, is_abandoned: Callable[[], bool]) -> Content:
        """Store a payload in a new file and sync it; its name is not synced yet.

        Raises:
            BackendError: the disk refuses, or the payload is not of its promised size; nothing is left.
            AbandonedError: `is_abandoned` said so; nothing is left.
        """
        if is_abandoned():
            raise AbandonedError
        body = self._ids.next()
        self._unsettled.add(body)
        try:
            descriptor = self._create(body)
            try:
                digest = self._fill(descriptor, payload, is_abandoned)
                self._layer.sync(descriptor)
            except BaseException:
                self.discard([body])
                raise
            finally:
                self._layer.close(descriptor)
        except OSError as error:
            raise disk_error(error, "storing a body") from error
        return Content(body, payload.size, digest, None)

    def settle(self, bodies: Iterable[int]) -> None:
        """These blobs have found their transaction."""
        self._unsettled.difference_update(bodies)

    def discard_unsettled(self) -> None:
        """Remove the blobs whose writers went away before their transaction."""
        self.discard(list(self._unsettled))

    def sync_discarded(self) -> None:
        """Have the removal of blobs without a transaction on the disk, so that none comes back behind a clean stop."""
        try:
            self.sync_removals(self._discarded)
        except OSError:
            self.leftovers = True

    def sync_names(self, directory: str) -> None:
        """Sync the names in a directory of blobs.

        Raises:
            OSError: it fails, or has failed before. New blobs go to other directories from now on.
        """
        if directory in self._doubtful:
            raise OSError(errno.EIO, "the names in the directory could not be synced")
        try:
            self._layer.sync_directory(directory)
        except OSError:
            self._doubtful.add(directory)
            self._ids.leave_group()
            raise

    def sync_removals(self, bodies: Iterable[int]) -> None:
        """Sync what is left of the directories that these blobs were in; raises OSError."""
        for directory in {self.directory_of(body) for body in bodies}:
            while True:
                try:
                    self._layer.sync_directory(directory)
                except FileNotFoundError:
                    directory = _parent(directory)
                else:
                    break

    def open(self, body: int) -> int:
        """A descriptor for reading; FileNotFoundError where there is no such blob."""
        return self._layer.open(self.path_of(body))

    def size(self, descriptor: int) -> int:
        """Bytes of an open blob; raises OSError."""
        return self._layer.size(descriptor)

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        """`size` bytes from `offset`, fewer only where the blob ends; raises OSError."""
        return self._layer.read(descriptor, size, offset)

    def close(self, descriptor: int) -> None:
        self._layer.close(descriptor)

    def remove(self, bodies: Iterable[int]) -> set[int]:
        """Unlink blobs that nothing refers to, and the directories that this empties; those that could not be unlinked."""
        directories: set[str] = set()
        failed: set[int] = set()
        for body in bodies:
            directory = self.directory_of(body)
            directories.add(directory)
            try:
                self._layer.unlink(self.path_of(body))
            except OSError:
                failed.add(body)
        for directory in directories - {self.directory_of(self._ids.latest)}:
            self._remove_if_empty(directory)
        return failed

    def discard(self, bodies: Iterable[int]) -> None:
        """Unlink blobs of this run that no transaction knows. What fails is left to the next start."""
        bodies = list(bodies)
        self._unsettled.difference_update(bodies)
        self._discarded.update(bodies)
        if self.remove(bodies):
            self.leftovers = True

    def groups(self, epoch: int) -> list[str]:
        """The directories with blobs of an epoch; none where the epoch wrote no blob."""
        top = f"{self._root}/{epoch_directory(epoch)}"
        try:
            return [f"{top}/{high}/{low}" for high in sorted(self._layer.names(top)) for low in sorted(self._layer.names(f"{top}/{high}"))]
        except FileNotFoundError:
            return []

    def bodies_in(self, group: str) -> set[int]:
        """The bodies whose files are in a directory; other files are not ours and stay."""
        bodies = {self.body_at(f"{group}/{name}") for name in self._layer.names(group)}
        return {body for body in bodies if body is not None}

    def all_files(self) -> Iterator[str]:
        """The path of every file below the directory of blobs, in order; raises OSError."""
        with suppress(FileNotFoundError):  # No blob was ever written.
            yield from self._files_below(self._root)

    def _files_below(self, directory: str) -> Iterator[str]:
        for name in sorted(self._layer.names(directory)):
            path = f"{directory}/{name}"
            try:
                yield from self._files_below(path)
            except NotADirectoryError:
                yield path

    def body_at(self, path: str) -> int | None:
        """The body that has its file at a path; None where none can."""
        try:
            body = int(path.rpartition("/")[2], 16)
        except ValueError:
            return None
        return body if self.path_of(body) == path else None

    def remove_empty(self, epoch: int, groups: Iterable[str]) -> None:
        """Remove what is left of an epoch's directories where they are empty."""
        for group in groups:
            self._remove_if_empty(group)
        parents = {_parent(group) for group in groups}
        for directory in (*parents, f"{self._root}/{epoch_directory(epoch)}"):
            self._remove_if_empty(directory)

    def _create(self, body: int) -> int:
        directory = self.directory_of(body)
        for attempt in range(1, _ATTEMPTS + 1):
            self._make(directory)
            try:
                return self._layer.create(f"{directory}/{file_name(body)}")
            except FileNotFoundError:
                if attempt == _ATTEMPTS:
                    raise
                with self._lock:
                    self._made.difference_update(self._above(directory))
        raise AssertionError("unreachable")

    def _make(self, directory: str) -> None:
        """Make the directory of a group, with its parents, durably."""
        with self._lock:
            if directory in self._made:
                return
            for path in self._above(directory):
                if path not in self._made:
                    self._make_one(path)
                    self._made.add(path)

    def _make_one(self, path: str) -> None:
        self._layer.make_directory(path)
        try:
            self._layer.sync_directory(_parent(path))
        except OSError:
            # The next attempt has to make it anew: a second sync would not bring back what the first one lost.
            with suppress(OSError):
                self._layer.remove_directory(path)
            raise

    def _above(self, directory: str) -> tuple[str, ...]:
        """The directory of a group and those above it that are ours, from the top."""
        return self._root, _parent(_parent(directory)), _parent(directory), directory

    def _remove_if_empty(self, directory: str) -> None:
        with self._lock, suppress(OSError):
            self._layer.remove_directory(directory)
            self._made.discard(directory)

    def _fill(self, descriptor: int, payload: Payload, is_abandoned: Callable[[], bool]) -> bytes:
        digest = md5(usedforsecurity=False)
        gathered: list[Buffer] = []
        size = 0
        for piece in exact_pieces(payload):
            digest.update(piece)
            gathered.append(piece)
            size += len(piece)
            if size >= _WRITE_BYTES:
                if is_abandoned():
                    raise AbandonedError
                self._layer.write(descriptor, gathered)
                gathered, size = [], 0
        if is_abandoned():
            raise AbandonedError
        self._layer.write(descriptor, gathered)
        return digest.digest()


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
