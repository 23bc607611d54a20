"""Records what SQLite does to its files: a VFS in front of SQLite's own, put into the library that Python's `sqlite3` uses.

Only what changes files is intercepted: open, write, truncate, sync, delete. SQLite opens a directory for no other reason than to sync it.
Its shared memory file is left out: it is made anew after a crash.
"""

import ctypes
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .disk_history import DiskHistory, Node

_OK, _IOERR = 0, 10
_VFS_SLOTS = (
    "open",
    "delete",
    "access",
    "full",
    "dl1",
    "dl2",
    "dl3",
    "dl4",
    "random",
    "sleep",
    "time",
    "error",
    "time64",
    "set",
    "get",
    "next",
)
_FILE_SLOTS = 18
"""Methods of a file in version 3 of their table."""
_CLOSE, _WRITE, _TRUNCATE, _SYNC = 0, 2, 3, 4


IOERR_WRITE, IOERR_FSYNC, FULL = 778, 1034, 13
"""What SQLite's own VFS answers when the system says EIO or ENOSPC."""


def _works(_name: str, _action: str) -> int:
    return _OK


@dataclass(slots=True)
class Tampering:
    """What goes wrong below SQLite."""

    spared: set[str] = field(default_factory=set)
    """Names of files whose syncs do nothing and succeed."""
    failure: Callable[[str, str], int] = _works
    """Name of a file and "write" or "sync" to what comes of it: 0, or an error of SQLite's."""


class _Vfs(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("following", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("own", ctypes.c_void_p),
        *((slot, ctypes.c_void_p) for slot in _VFS_SLOTS),
    )


class _Methods(ctypes.Structure):
    _fields_ = (("version", ctypes.c_int), ("slots", ctypes.c_void_p * _FILE_SLOTS))


class _File(ctypes.Structure):
    _fields_ = (("methods", ctypes.POINTER(_Methods)),)


# Names stay addresses on their way through: SQLite keeps the pointer, not a copy.
_P, _I, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
_OPEN = ctypes.CFUNCTYPE(_I, _P, _P, _P, _I, _P)
_DELETE = ctypes.CFUNCTYPE(_I, _P, _P, _I)
_GET = ctypes.CFUNCTYPE(_P, _P, ctypes.c_char_p)
_SET = ctypes.CFUNCTYPE(_I, _P, ctypes.c_char_p, _P)
_OPEN_DIRECTORY = ctypes.CFUNCTYPE(_I, _P, _P)
_KINDS = {_CLOSE: ctypes.CFUNCTYPE(_I, _P), _WRITE: ctypes.CFUNCTYPE(_I, _P, _P, _I, _L), _TRUNCATE: ctypes.CFUNCTYPE(_I, _P, _L)}
_KINDS[_SYNC] = ctypes.CFUNCTYPE(_I, _P, _I)


def library() -> ctypes.CDLL | None:
    """The SQLite that `sqlite3` runs; None where its functions cannot be reached."""
    maps = Path("/proc/self/maps")
    paths = re.findall(r"(/\S*sqlite3\S*)$", maps.read_text(), re.MULTILINE) if maps.exists() else []
    for path in [*dict.fromkeys(paths), None]:
        found = ctypes.CDLL(path)
        if hasattr(found, "sqlite3_vfs_register"):
            found.sqlite3_libversion.restype = ctypes.c_char_p
            if found.sqlite3_libversion().decode() == sqlite3.sqlite_version:
                found.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
                return found
    return None


@contextmanager
def recording(found: ctypes.CDLL, history: DiskHistory, tampering: Tampering) -> Iterator[None]:
    """Databases opened below the history's directory meanwhile are recorded, and tampered with."""
    original = found.sqlite3_vfs_find(None)
    recorder = _Recorder(history, original, tampering)
    assert found.sqlite3_vfs_register(ctypes.byref(recorder.vfs), 1) == _OK
    try:
        yield
    finally:
        found.sqlite3_vfs_register(original, 1)
        found.sqlite3_vfs_unregister(ctypes.byref(recorder.vfs))
        recorder.restore()
    assert not recorder.errors, recorder.errors


class _Recorder:
    def __init__(self, history: DiskHistory, original: "ctypes._Pointer[_Vfs]", tampering: Tampering) -> None:
        self._history = history
        self._tampering = tampering
        self._names: dict[int, str] = {}
        self._original = original
        self._nodes: dict[int, Node] = {}
        self._methods: dict[int, tuple[_Methods, _Methods]] = {}
        """Address of SQLite's table of methods to a copy of it, and to the table that takes its place."""
        self._of: dict[int, _Methods] = {}
        self._directories = threading.local()
        self.errors: list[BaseException] = []
        self.vfs = _Vfs.from_buffer_copy(original.contents)
        self.vfs.name = b"recording"
        self.vfs.following = None
        self._keep = [
            _OPEN(self._guard(self._open)),
            _DELETE(self._guard(self._delete)),
            _OPEN_DIRECTORY(self._guard(self._open_directory)),
        ]
        self.vfs.open, self.vfs.delete = (ctypes.cast(function, _P).value for function in self._keep[:2])
        self._open_original = _OPEN(original.contents.open)
        self._delete_original = _DELETE(original.contents.delete)
        address = _GET(original.contents.get)(ctypes.addressof(original.contents), b"openDirectory")
        self._open_directory_original = _OPEN_DIRECTORY(address)
        self._set_open_directory(ctypes.cast(self._keep[2], _P).value)

    def restore(self) -> None:
        self._set_open_directory(None)

    def _set_open_directory(self, address: int | None) -> None:
        contents = self._original.contents
        assert _SET(contents.set)(ctypes.addressof(contents), b"openDirectory", address) == _OK

    def _guard(self, function):  # type: ignore[no-untyped-def]
        """SQLite's caller would not see an exception."""

        def guarded(*arguments: object) -> int:
            try:
                return int(function(*arguments))
            except BaseException as error:  # noqa: BLE001 - told at the end of the recording
                self.errors.append(error)
                return _IOERR

        return guarded

    def _open(self, _vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
        path = _text(name)
        new = self._history.covers(path) and not Path(path).exists()
        node = Node(is_directory=False)
        with ExitStack() as recorded:
            if new:
                recorded.enter_context(self._history.naming(path, node))
            code = self._open_original(ctypes.addressof(self._original.contents), name, file, flags, out)
        if code == _OK and self._history.covers(path):
            self._nodes[file] = self._history.node(path)
            self._names[file] = path.rpartition("/")[2]
            self._intercept(file)
        return code

    def _delete(self, _vfs: int, name: int, sync: int) -> int:
        path = _text(name)
        with ExitStack() as recorded:
            if self._history.covers(path) and self._history.exists(path):
                recorded.enter_context(self._history.naming(path, None))
            return self._delete_original(ctypes.addressof(self._original.contents), name, sync)

    def _open_directory(self, name: int, out: int) -> int:
        self._directories.opened = _text(name).rpartition("/")[0]
        return self._open_directory_original(name, out)

    def _intercept(self, file: int) -> None:
        header = _File.from_address(file)
        address = ctypes.addressof(header.methods.contents)
        if address not in self._methods:
            original = _Methods.from_buffer_copy(header.methods.contents)
            changed = _Methods.from_buffer_copy(original)
            for slot, function in ((_CLOSE, self._close), (_WRITE, self._write), (_TRUNCATE, self._truncate), (_SYNC, self._sync)):
                callback = _KINDS[slot](self._guard(function))
                self._keep.append(callback)
                changed.slots[slot] = ctypes.cast(callback, _P).value
            self._methods[address] = original, changed
        original, changed = self._methods[address]
        self._of[file] = original
        header.methods = ctypes.pointer(changed)

    def _call(self, slot: int, file: int, *arguments: object) -> int:
        return int(_KINDS[slot](self._of[file].slots[slot])(file, *arguments))

    def _close(self, file: int) -> int:
        code = self._call(_CLOSE, file)
        del self._nodes[file], self._of[file]
        return code

    def _write(self, file: int, data: int, size: int, offset: int) -> int:
        if code := self._tampering.failure(self._names[file], "write"):
            return code
        with self._history.writing(self._nodes[file], offset, ctypes.string_at(data, size)):
            return self._call(_WRITE, file, data, size, offset)

    def _truncate(self, file: int, size: int) -> int:
        with self._history.truncating(self._nodes[file], size):
            return self._call(_TRUNCATE, file, size)

    def _sync(self, file: int, flags: int) -> int:
        if self._names[file] in self._tampering.spared:
            return _OK
        if code := self._tampering.failure(self._names[file], "sync"):
            self._history.sync_failed(self._nodes[file])
            return code
        self._directories.opened = None
        begun = self._history.tick()
        code = self._call(_SYNC, file, flags)
        if code != _OK:
            return code
        self._history.synced(self._nodes[file], begun)
        if (directory := self._directories.opened) is not None:
            self._history.synced(self._history.node(directory), begun)
        return code


def _text(address: int | None) -> str:
    """Temporary files have no name."""
    return ctypes.string_at(address).decode() if address else ""
