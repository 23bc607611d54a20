"""What an `S4FileSystem` promises over every target. Subclass the contract, give it the fixtures `fs`, `root` and `behind`, and run it."""

import errno
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from s4_codecs.testing.workloads import WORKLOADS

from s4fs import DamagedObjectError, FileChangedError, ReservedNameError, S4FileSystem, UnsupportedModeError, WriteDisabledError

MIB = 1 << 20
LOG = WORKLOADS["log"](12 * MIB)
NOISE = WORKLOADS["noise"](3 * MIB)

BODIES = {
    "empty": b"",
    "one byte": b"x",
    "text": LOG[:5000],
    "one frame": LOG[: 400 * 1024],
    "frames": LOG[: 3 * MIB],
    "many frames": LOG,
    "noise": NOISE[: 100 * 1024],
    "long noise": NOISE,
    "text then noise": LOG[:MIB] + NOISE[:MIB],
    "looks like frames": b"S4F2" + LOG[:3000],
    "looks like padding": b"S4P1" + NOISE[:3000],
    "looks like an envelope": b"S4E6" + NOISE[:3000],
}
"""Bodies of every kind: none, one and many frames, bare, mixed, and some that pretend to be what they are not."""

BOUNDS = [(0, 10), (5, 1000), (-100, None), (None, -5), (3, 3), (-10, -3), (100_000, 200_000), (524_280, 524_300), (None, 70), (99, None)]


class Behind(Protocol):
    """The target past the file system."""

    def names(self, root: str) -> list[str]:
        """Everything that lies below, hidden names included."""
        ...

    def body(self, path: str) -> bytes:
        """The stored body."""
        ...

    def replace(self, path: str, body: bytes) -> None:
        """Store another body with the same metadata."""
        ...


def pieces_of(data: bytes, size: int) -> list[bytes]:
    """The data in pieces."""
    return [data[start : start + size] for start in range(0, len(data), size)]


class FileSystemContract:
    """Over any target."""

    @pytest.fixture(params=list(BODIES))
    def body(self, request: pytest.FixtureRequest) -> bytes:
        """Each of the bodies."""
        return BODIES[request.param]

    # ---------------------------------------------------------------------------------------------------------- reading

    def test_what_is_stored_comes_back(self, fs: S4FileSystem, root: str, body: bytes) -> None:
        """Every body comes back byte for byte, with its own size, whole and in every kind of range."""
        path = f"{root}/object"
        fs.pipe_file(path, body)

        assert fs.cat_file(path) == body
        assert fs.info(path)["size"] == fs.size(path) == len(body)
        for start, stop in BOUNDS:
            assert (start, stop, fs.cat_file(path, start=start, end=stop)) == (start, stop, body[start:stop])

    def test_ranges_of_several_objects(self, fs: S4FileSystem, root: str) -> None:
        """Many ranges of many objects come back in the order they were asked for, and a missing object is only its own error."""
        for name in ("frames", "noise", "text"):
            fs.pipe_file(f"{root}/{name}", BODIES[name])
        wanted = [(name, start, start + 3000) for start in (70_000, 10, 600_000) for name in ("frames", "noise", "text", "missing")]
        found = fs.cat_ranges([f"{root}/{name}" for name, _, _ in wanted], [low for _, low, _ in wanted], [high for _, _, high in wanted])

        for (name, low, high), value in zip(wanted, found, strict=True):
            if name == "missing":
                assert isinstance(value, FileNotFoundError)
            else:
                assert (name, low, value) == (name, low, BODIES[name][low:high])

    @pytest.mark.parametrize("size", [1000, 64 * 1024, MIB])
    def test_file_is_read_in_order(self, fs: S4FileSystem, root: str, size: int) -> None:
        """A file read piece after piece gives every byte, whatever the size of the pieces."""
        path = f"{root}/object"
        fs.pipe_file(path, BODIES["frames"])
        with fs.open(path) as file:
            read = b"".join(iter(lambda: file.read(size), b""))

        assert read == BODIES["frames"]

    def test_file_is_read_anywhere(self, fs: S4FileSystem, root: str, body: bytes) -> None:
        """Seeking and reading work as on a file: from the start, from the end, backwards, behind the end, and all that is left."""
        path = f"{root}/object"
        fs.pipe_file(path, body)
        with fs.open(path) as file:
            for place in (0, len(body) // 2, max(len(body) - 7, 0), 3, len(body) // 3, len(body) + 10):
                file.seek(place)
                assert file.read(1000) == body[place : place + 1000]
            file.seek(-min(4, len(body)), 2)
            assert file.read() == body[max(len(body) - 4, 0) :]
            assert file.tell() == file.seek(0, 2) == len(body)
            file.seek(0)
            assert file.read() == body

    @pytest.mark.parametrize("cache_type", ["none", "readahead", "bytes", "blockcache", "first", "all", "background"])
    def test_caches_of_fsspec_work_too(self, fs: S4FileSystem, root: str, cache_type: str) -> None:
        """Who asks for one of fsspec's own caches gets the same bytes."""
        path = f"{root}/object"
        fs.pipe_file(path, BODIES["frames"])
        with fs.open(path, cache_type=cache_type, block_size=300_000) as file:
            file.seek(500_000)
            assert file.read(100_000) == BODIES["frames"][500_000:600_000]
            file.seek(0)
            assert file.read() == BODIES["frames"]

    def test_text_is_read_by_lines(self, fs: S4FileSystem, root: str) -> None:
        """Text modes and lines work, as everything that reads CSV or JSON lines needs."""
        path = f"{root}/object"
        fs.pipe_file(path, BODIES["frames"])
        with fs.open(path, "rt", encoding="utf-8", newline="") as file:
            assert "".join(file) == BODIES["frames"].decode()
        with fs.open(path) as file:
            assert file.readline() == BODIES["frames"].split(b"\n")[0] + b"\n"

    def test_file_travels(self, fs: S4FileSystem, root: str) -> None:
        """An open file can be pickled, and goes on at its place."""
        path = f"{root}/object"
        fs.pipe_file(path, BODIES["frames"])
        with fs.open(path) as file:
            file.seek(1000)
            state = pickle.dumps(file) if _picklable(fs) else None
        if state is not None:
            with pickle.loads(state) as again:
                assert again.read(10) == BODIES["frames"][1000:1010]

    def test_downloads_and_uploads(self, fs: S4FileSystem, root: str, body: bytes, tmp_path: Path) -> None:
        """Local files become objects and objects become local files, and nothing else is left beside them."""
        local, back = tmp_path / "local.bin", tmp_path / "back.bin"
        local.write_bytes(body)
        fs.put_file(str(local), f"{root}/object")
        fs.get_file(f"{root}/object", str(back))

        assert back.read_bytes() == body
        assert {path for path in tmp_path.iterdir() if path.is_file()} == {local, back}

    # --------------------------------------------------------------------------------------------------------- listings

    def test_listings_tell_logical_sizes(self, fs: S4FileSystem, root: str) -> None:
        """Every listing tells names and sizes as users see them, and nothing of S4's own."""
        for name, data in BODIES.items():
            fs.pipe_file(f"{root}/{name}", data)
        names = sorted(f"{root}/{name}" for name in BODIES)

        assert sorted(fs.ls(root, detail=False)) == names
        assert {row["name"]: row["size"] for row in fs.ls(root)} == {f"{root}/{name}": len(data) for name, data in BODIES.items()}
        assert sorted(fs.find(root)) == sorted(fs.glob(f"{root}/*")) == names
        assert {name: row["size"] for name, row in fs.find(root, detail=True).items()} == {
            f"{root}/{name}": len(data) for name, data in BODIES.items()
        }
        assert fs.du(root) == sum(map(len, BODIES.values()))
        assert [sorted(files) for _, _, files in fs.walk(root)] == [sorted(BODIES)]

    def test_directories(self, fs: S4FileSystem, root: str) -> None:
        """Names with slashes make directories that can be listed, walked, tested for and globbed."""
        fs.makedirs(f"{root}/a/b", exist_ok=True)
        for name in ("a/one", "a/b/two", "a/b/three"):
            fs.pipe_file(f"{root}/{name}", name.encode())

        assert (fs.isdir(f"{root}/a"), fs.isfile(f"{root}/a")) == (True, False)
        assert (fs.isdir(f"{root}/a/one"), fs.isfile(f"{root}/a/one")) == (False, True)
        assert sorted(fs.ls(f"{root}/a", detail=False)) == [f"{root}/a/b", f"{root}/a/one"]
        assert fs.info(f"{root}/a")["type"] == "directory"
        assert sorted(fs.find(f"{root}/a")) == [f"{root}/a/b/three", f"{root}/a/b/two", f"{root}/a/one"]
        assert fs.glob(f"{root}/**/t*") == [f"{root}/a/b/three", f"{root}/a/b/two"]
        assert fs.find(f"{root}/a", maxdepth=1) == [f"{root}/a/one"]

    def test_what_is_not_there(self, fs: S4FileSystem, root: str) -> None:
        """A missing object is FileNotFoundError with ENOENT everywhere, and False where one asks."""
        path = f"{root}/missing"
        for ask in (fs.info, fs.cat_file, fs.open, fs.size, fs.ls):
            with pytest.raises(FileNotFoundError) as caught:
                ask(path)
            assert caught.value.errno == errno.ENOENT
        assert (fs.exists(path), fs.isfile(path), fs.isdir(path)) == (False, False, False)
        assert fs.glob(f"{path}*") == []

    def test_own_records_are_hidden(self, fs: S4FileSystem, root: str, behind: Behind) -> None:
        """Sidecars, dictionaries, uploads and version shadows are never listed, never found, never written and never deleted."""
        fs.pipe_file(f"{root}/object", b"visible")
        for name in ("object.s4index", "object.__s4ver__/1", ".s4dict/0123456789abcdef", ".s4mpu/id/upload"):
            path = f"{root}/{name}"
            behind.replace(path, b"own")
            assert not fs.exists(path)
            with pytest.raises(FileNotFoundError):
                fs.cat_file(path)
            with pytest.raises(FileNotFoundError):
                fs.info(path)
            with pytest.raises(ReservedNameError):
                fs.pipe_file(path, b"")
            with pytest.raises(ReservedNameError):
                fs.rm_file(path)
            with pytest.raises(ReservedNameError):
                fs.cp_file(f"{root}/object", path)
            assert behind.body(path) == b"own"

        assert fs.ls(root, detail=False) == fs.find(root) == fs.glob(f"{root}/*") == [f"{root}/object"]

    # ---------------------------------------------------------------------------------------------------------- writing

    @pytest.mark.parametrize("size", [1000, 700_000, 9 * MIB])
    def test_file_is_written_in_pieces(self, fs: S4FileSystem, root: str, size: int) -> None:
        """What is written in pieces, small or large, is one object once the file is closed, and none before."""
        path = f"{root}/object"
        with fs.open(path, "wb") as file:
            for piece in pieces_of(LOG, size):
                assert file.write(piece) == len(piece)
            assert not fs.exists(path)

        assert fs.cat_file(path) == LOG
        assert fs.info(path)["size"] == len(LOG)

    def test_failed_write_leaves_nothing(self, fs: S4FileSystem, root: str, behind: Behind) -> None:
        """An exception within `with` leaves what was there before, small or large what was written, and nothing behind it."""
        path = f"{root}/object"
        fs.pipe_file(path, b"before")
        before = behind.names(root)
        for data in (b"half", NOISE, LOG + NOISE * 3):
            with pytest.raises(KeyboardInterrupt):
                _write_and_stop(fs, path, data)

        assert fs.cat_file(path) == b"before"
        assert behind.names(root) == before

    def test_exclusive_creation(self, fs: S4FileSystem, root: str) -> None:
        """`xb` and `mode="create"` make what is not there, and refuse what is."""
        path = f"{root}/object"
        with fs.open(path, "xb") as file:
            file.write(b"first")
        with pytest.raises(FileExistsError):
            fs.open(path, "xb")
        with pytest.raises(FileExistsError):
            fs.pipe_file(path, b"second", mode="create")

        assert fs.cat_file(path) == b"first"

    def test_touch(self, fs: S4FileSystem, root: str) -> None:
        """`touch` makes an empty object, empties one that is there, and with `truncate=False` leaves it as it is."""
        path = f"{root}/object"
        fs.touch(path)
        assert fs.cat_file(path) == b""
        fs.pipe_file(path, b"content")
        fs.touch(path, truncate=False)
        assert fs.cat_file(path) == b"content"
        fs.touch(path)
        assert fs.size(path) == 0

    def test_copies_and_moves(self, fs: S4FileSystem, root: str, body: bytes) -> None:
        """A copy is an object of its own, a move leaves nothing at the old name."""
        fs.pipe_file(f"{root}/object", body)
        fs.copy(f"{root}/object", f"{root}/copy")
        fs.mv(f"{root}/object", f"{root}/moved")

        assert fs.cat_file(f"{root}/copy") == fs.cat_file(f"{root}/moved") == body
        assert fs.size(f"{root}/copy") == len(body)
        assert not fs.exists(f"{root}/object")

    def test_deleting_leaves_no_orphans(self, fs: S4FileSystem, root: str, behind: Behind) -> None:
        """After objects and trees are deleted nothing of them is left, and nothing of their neighbours is gone."""
        fs.makedirs(f"{root}/tree/deep", exist_ok=True)
        for name in ("object", "tree/one", "tree/deep/two", "treetop"):
            fs.pipe_file(f"{root}/{name}", LOG[: 6 * MIB])
        fs.rm_file(f"{root}/object")
        fs.rm(f"{root}/tree", recursive=True)

        assert fs.find(root) == [f"{root}/treetop"]
        assert not fs.exists(f"{root}/tree")
        assert {name.removesuffix(".s4index") for name in behind.names(root)} == {f"{root}/treetop"}

    def test_appending_is_refused(self, fs: S4FileSystem, root: str) -> None:
        """Append and update modes are refused by name, and leave the object alone."""
        path = f"{root}/object"
        fs.pipe_file(path, b"content")
        for mode in ("ab", "r+b", "a"):
            with pytest.raises(UnsupportedModeError):
                fs.open(path, mode)

        assert fs.cat_file(path) == b"content"

    def test_reading_is_the_default(self, fs: S4FileSystem, root: str, read_only: S4FileSystem, tmp_path: Path) -> None:
        """A file system that was not made for writing refuses every write, and reads all the same."""
        path = f"{root}/object"
        fs.pipe_file(path, b"content")
        local = tmp_path / "local"
        local.write_bytes(b"x")
        writes: list[Callable[[], object]] = [
            lambda: read_only.pipe_file(path, b""),
            lambda: read_only.put_file(str(local), path),
            lambda: read_only.open(path, "wb"),
            lambda: read_only.touch(path),
            lambda: read_only.cp_file(path, f"{root}/copy"),
            lambda: read_only.mv(path, f"{root}/moved"),
            lambda: read_only.rm(path),
            lambda: read_only.mkdir(f"{root}/folder"),
            lambda: read_only.rmdir(root),
        ]
        for write in writes:
            with pytest.raises(WriteDisabledError):
                write()

        assert read_only.cat_file(path) == b"content"

    # ------------------------------------------------------------------------------------------------------ consistency

    def test_overwrites_behind_its_back_are_seen(self, fs: S4FileSystem, root: str, second: S4FileSystem) -> None:
        """What another client stored is what the next read gives: whole, in ranges, and by a file that is opened then."""
        path = f"{root}/object"
        for data in (LOG[: 2 * MIB], LOG[MIB : 3 * MIB], b"short", NOISE[:MIB], b""):
            second.pipe_file(path, data)
            assert fs.cat_file(path, 1000, 2000) == data[1000:2000]
            assert fs.cat_file(path) == data
            assert fs.info(path)["size"] == len(data)
            with fs.open(path) as file:
                assert file.read() == data

    def test_open_file_never_mixes_versions(self, fs: S4FileSystem, root: str, second: S4FileSystem) -> None:
        """A file whose object was replaced raises FileChangedError when it needs bytes of it again; opened again it is the new one."""
        path = f"{root}/object"
        fs.pipe_file(path, LOG)
        with fs.open(path) as file:
            assert file.read(10) == LOG[:10]
            second.pipe_file(path, LOG[::-1])
            file.seek(6 * MIB)
            with pytest.raises(FileChangedError) as caught:
                file.read(10)
        assert caught.value.errno == errno.ESTALE
        with fs.open(path) as file:
            file.seek(6 * MIB)
            assert file.read(10) == LOG[::-1][6 * MIB : 6 * MIB + 10]

    def test_open_file_goes_on_if_told(self, fs: S4FileSystem, root: str, second: S4FileSystem) -> None:
        """With `on_change="reopen"` the next read is of the new version, and its size is told."""
        path = f"{root}/object"
        fs.pipe_file(path, LOG)
        with fs.open(path, on_change="reopen") as file:
            file.read(10)
            second.pipe_file(path, LOG[MIB:])
            file.seek(6 * MIB)
            assert file.read(10) == LOG[7 * MIB : 7 * MIB + 10]
            assert file.seek(0, 2) == len(LOG) - MIB

    # ----------------------------------------------------------------------------------------------------------- damage

    def test_damage_is_an_error(self, fs: S4FileSystem, root: str, behind: Behind) -> None:
        """A flipped bit or a cut body is DamagedObjectError or the right bytes, in whole reads and in ranges; never other bytes."""
        path, data = f"{root}/object", LOG[: 2 * MIB]
        fs.pipe_file(path, data)
        stored = behind.body(path)
        step = len(stored) // 40
        damaged = [stored[:at] + bytes([stored[at] ^ 0x10]) + stored[at + 1 :] for at in range(0, len(stored), step)]
        cut = [stored[:at] for at in range(4, len(stored), len(stored) // 10)]
        refused = 0
        for body in damaged + cut:
            behind.replace(path, body)
            for start, stop in ((None, None), (MIB, MIB + 1000), (-1000, None)):
                try:
                    found = fs.cat_file(path, start=start, end=stop)
                except DamagedObjectError:
                    refused += 1
                else:
                    if body[:4] == stored[:4]:
                        assert found == data[start:stop]
        assert refused > len(damaged)

    def test_damaged_download_leaves_no_file(self, fs: S4FileSystem, root: str, behind: Behind, tmp_path: Path) -> None:
        """A download of a damaged object raises, and leaves neither a short file nor anything beside it."""
        path = f"{root}/object"
        fs.pipe_file(path, LOG[: 2 * MIB])
        stored = bytearray(behind.body(path))
        stored[len(stored) * 2 // 3] ^= 1
        behind.replace(path, bytes(stored))
        folder = tmp_path / "empty"
        folder.mkdir()
        with pytest.raises(DamagedObjectError):
            fs.get_file(path, str(folder / "local"))

        assert list(folder.iterdir()) == []


def _write_and_stop(fs: S4FileSystem, path: str, data: bytes) -> None:
    with fs.open(path, "wb") as file:
        file.write(data)
        raise KeyboardInterrupt


def _picklable(fs: S4FileSystem) -> bool:
    return getattr(fs.fs, "cachable", True) is not False
