"""Moving and deleting: nothing is deleted that was not copied, and what is asked of the store does not grow with the names."""

import contextlib
import shutil
from pathlib import Path

import pytest

from s4fs import S4FileSystem
from s4fs.testing import FakeS3, FakeS3FileSystem

from .conftest import BUCKET

PATH = f"{BUCKET}/folder/object"


@pytest.fixture(autouse=True)
def tree(fs: S4FileSystem) -> None:
    """Objects on two levels."""
    fs.pipe({PATH: b"content", f"{BUCKET}/folder/deeper/object": b"deeper"})


@pytest.mark.parametrize("place", [f"s4://{PATH}", PATH, f"{PATH}/", f"{BUCKET}/folder/", f"{BUCKET}/folder"])
def test_move_onto_itself_loses_nothing(fs: S4FileSystem, place: str) -> None:
    """An object that is moved to where it is, however that is named, is there afterwards."""
    with contextlib.suppress(shutil.SameFileError):
        fs.mv(PATH, place)

    assert fs.cat_file(PATH) == b"content"


def test_directory_moves_as_a_whole(fs: S4FileSystem) -> None:
    """A directory is moved with all that is below it."""
    fs.mv(f"{BUCKET}/folder", f"{BUCKET}/elsewhere", recursive=True)

    assert fs.find(BUCKET) == [f"{BUCKET}/elsewhere/deeper/object", f"{BUCKET}/elsewhere/object"]


def test_directory_is_not_moved_into_itself(fs: S4FileSystem) -> None:
    """A directory that is to be moved below itself stays as it is."""
    before = fs.find(BUCKET)
    with pytest.raises(OSError, match="into itself"):
        fs.mv(f"{BUCKET}/folder", f"{BUCKET}/folder/inner", recursive=True)

    assert fs.find(BUCKET) == before


def test_move_of_some_levels_keeps_the_others(fs: S4FileSystem) -> None:
    """A move that copies down to a depth deletes no deeper."""
    fs.mv(f"{BUCKET}/folder", f"{BUCKET}/elsewhere", recursive=True, maxdepth=1)

    assert fs.find(BUCKET) == [f"{BUCKET}/elsewhere", f"{BUCKET}/folder/deeper/object"]


def test_deleting_a_directory_costs_no_request_for_each_object(fs: S4FileSystem, store: FakeS3) -> None:
    """A directory is listed and deleted, and its objects are not asked about one by one."""
    fs.pipe({f"{BUCKET}/many/{number}": b"x" for number in range(50)})
    store.requests.clear()
    fs.rm(f"{BUCKET}/many", recursive=True)

    assert len(store.requests) <= 6
    assert fs.find(BUCKET) == [f"{BUCKET}/folder/deeper/object", PATH]


def test_deleting_what_cannot_be_deleted_is_told(fs: S4FileSystem) -> None:
    """Neither a directory without `recursive` nor a missing directory is passed over in silence."""
    with pytest.raises(IsADirectoryError):
        fs.rm(f"{BUCKET}/folder")
    with pytest.raises(FileNotFoundError):
        fs.rm(f"{BUCKET}/missing", recursive=True)

    assert fs.cat_file(PATH) == b"content"


def test_longest_names_work(fs: S4FileSystem, store: FakeS3, local_root: str) -> None:
    """Names that leave no room for a sidecar's are written, read and deleted, and no impossible name is asked for."""
    files = S4FileSystem(target_protocol="file", write_enabled=True, skip_instance_cache=True)
    for one, path in ((fs, f"{BUCKET}/{'n' * 1022}"), (files, str(Path(local_root) / ("n" * 252)))):
        one.pipe_file(path, b"content")
        assert one.cat_file(path, start=1) == b"ontent"
        one.rm(path)
        assert not one.exists(path)


def test_object_is_not_lost_in_a_local_directory(fs: S4FileSystem, tmp_path: Path) -> None:
    """A download whose place is a directory is an error, not silence."""
    with pytest.raises(OSError, match="local directory"):
        fs.get_file(PATH, str(tmp_path))


def test_versions_are_not_written(store: FakeS3) -> None:
    """A path that names a version is no place to write to, and neither it nor its index takes the place of the object."""
    fs = S4FileSystem(fs=FakeS3FileSystem(store, version_aware=True), write_enabled=True, skip_instance_cache=True)
    large = b"".join(number.to_bytes(4, "big") for number in range(2 << 20))
    with pytest.raises(OSError, match="version"):
        fs.pipe_file(f"{PATH}?versionId=null", large)
    with pytest.raises(OSError, match="version"), fs.open(f"{PATH}?versionId=null", "wb") as file:
        file.write(b"small")
    with pytest.raises(OSError, match="version"):
        fs.cp_file(f"{BUCKET}/folder/deeper/object", f"{PATH}?versionId=null")

    assert sorted(store.buckets[BUCKET]) == ["folder/deeper/object", "folder/object"]
    assert fs.cat_file(PATH) == b"content"
    assert not fs.exists(f"{PATH}.s4index?versionId=null")


def test_names_that_look_like_versions_are_names(fs: S4FileSystem, store: FakeS3) -> None:
    """Where versions are not asked for, such a name is that of its own object: the other one is neither read, replaced nor deleted."""
    path = f"{PATH}?versionId=null"
    with pytest.raises(FileNotFoundError):
        fs.cat_file(path)
    fs.pipe_file(path, b"another")
    assert (fs.cat_file(path), fs.cat_file(PATH), fs.info(path)["size"]) == (b"another", b"content", 7)
    fs.rm(path)

    assert sorted(store.buckets[BUCKET]) == ["folder/deeper/object", "folder/object"]
