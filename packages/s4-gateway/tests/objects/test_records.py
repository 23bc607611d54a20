"""Records of uploads: contents from elsewhere are judged, names prove what they can."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.errors import S3Error
from s4_gateway.objects.uploads.records import (
    BackendRecord,
    DirectPart,
    PartRecord,
    UploadRecord,
    folder,
    new_upload_id,
    part_name,
    upload_token,
)

UPLOAD = UploadRecord("bucket", "a/\U0001f600", {"content-type": "t\xe9xt/x"}, {"m": "\xff"}, "crc32", "COMPOSITE")
BACKEND = BackendRecord("bucket", "key", "id", "digest")
DIRECT = DirectPart("etag", 130, ((100, 60), (0, 28)))
KINDS = (UploadRecord, BackendRecord, DirectPart)


@pytest.mark.parametrize("record", [UPLOAD, BACKEND, BackendRecord("bucket", "key", None), DIRECT])
def test_round_trip(record: UploadRecord | BackendRecord | DirectPart) -> None:
    """What is packed comes back."""
    assert type(record).unpack(record.pack()) == record


def mutations(packed: bytes) -> list[bytes]:
    """The record with each field missing, and with each field of every other type."""
    fields = json.loads(packed)
    values = (None, True, 3, -1, 1.5, "x", [], ["x"], [[1]], [[1, -2]], {}, {"a": 1})
    changed = [{**fields, name: value} for name in fields for value in values]
    missing = [{name: value for name, value in fields.items() if name != gone} for gone in fields]
    return [json.dumps(each).encode() for each in changed + missing]


def unpacked(kind: type[UploadRecord | BackendRecord | DirectPart], data: bytes) -> object:
    """What a body says, or the code of its refusal."""
    try:
        return json.loads(kind.unpack(data).pack())
    except S3Error as error:
        return error.code


@pytest.mark.parametrize("record", [UPLOAD, BACKEND, DIRECT])
def test_damaged_records_are_an_error(record: UploadRecord | BackendRecord | DirectPart) -> None:
    """A body that no gateway wrote is InternalError, whatever is wrong with it, never a crash and never another record."""
    for data in mutations(record.pack()):
        assert unpacked(type(record), data) in ("InternalError", json.loads(data))


JSON = st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(st.binary(max_size=100) | JSON.map(json.dumps).map(str.encode))
def test_anything_else_is_an_error(data: bytes) -> None:
    """Arbitrary bytes and arbitrary JSON are InternalError."""
    for kind in KINDS:
        with pytest.raises(S3Error) as refused:
            kind.unpack(data)
        assert refused.value.code == "InternalError"


def test_deep_json_is_an_error() -> None:
    """Nesting does not exhaust the stack."""
    for kind in KINDS:
        with pytest.raises(S3Error):
            kind.unpack(b"[" * 100_000)


def test_part_names() -> None:
    """A part record's name tells number, kind, MD5, size and CRC64NVME."""
    name = part_name(7, direct=True, md5="0a" * 16, size=5 * 2**30, crc64nvme="AAAAAAAAAAE=")
    found = PartRecord.parse(f".s4mpu/{new_upload_id()}/{name}", stored_size=3, modified=9)
    assert found is not None
    assert (found.number, found.direct, found.md5, found.size, found.crc64nvme) == (7, True, "0a" * 16, 5 * 2**30, "AAAAAAAAAAE=")
    assert (found.stored_size, found.modified) == (3, 9)


@pytest.mark.parametrize("name", ["upload", "backend", "00001", "1.s.x", "00001.x." + "0" * 32 + ".1." + "0" * 16 + "." + "0" * 21])
def test_other_names_are_no_parts(name: str) -> None:
    """Only names of exactly that form are parts."""
    assert PartRecord.parse(name) is None


@pytest.mark.parametrize("upload_id", ["", "x", "A" * 44, "0" * 43, "0" * 45, "../" + "0" * 41, "0" * 44 + "\n", "٠" * 44])
def test_strange_ids_are_no_uploads(upload_id: str) -> None:
    """An id that was never given out is NoSuchUpload before any request is made with it."""
    with pytest.raises(S3Error) as refused:
        folder(upload_id)
    assert refused.value.code == "NoSuchUpload"


def test_ids_and_tokens() -> None:
    """Ids are short and differ; a token is a write token and a function of the id."""
    one, two = new_upload_id(), new_upload_id()
    assert one != two
    assert len(one) <= 64
    assert upload_token(one) == upload_token(one) != upload_token(two)
