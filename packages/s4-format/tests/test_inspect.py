"""`python -m s4_format inspect`: what it prints and how it exits."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from s4_format import __version__, encode_trailer
from s4_format.__main__ import main

from . import golden_files, trailer_cases


def inspect(path: Path, *options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and output of one run."""
    status = main(["inspect", str(path), *options])
    return status, capsys.readouterr().out


def inspect_json(data: bytes, folder: Path, *options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Exit status and JSON report about a file with these bytes."""
    path = folder / "file"
    path.write_bytes(data)
    status, output = inspect(path, "--json", *options, capsys=capsys)
    return status, json.loads(output)


def body_with_trailer() -> bytes:
    """A padded body of three frames that ends in a trailer."""
    case = next(case for case in trailer_cases.golden() if case["name"] == "some_checksums")
    frame = b"S4F2" + (1).to_bytes(4, "little") + (30).to_bytes(8, "little") + (72).to_bytes(8, "little") + bytes(4 + 72)
    return frame + encode_trailer(trailer_cases.build(case), offset=len(frame))


def test_body(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A framed body shows its items with place, codec and sizes, and sums."""
    status, report = inspect_json(golden_files.read("refcode/mixed_padded.body"), tmp_path, capsys=capsys)

    assert (status, report["kind"], report["sound"]) == (0, "framed body", True)
    assert (report["frames"], report["paddings"], report["original_size"], report["size"]) == (6, 5, 7109, 5893)
    assert report["items"][0] == {
        "offset": 0,
        "item": "frame",
        "stored_size": 189,
        "original_size": 1000,
        "codec": "cpu-zstd",
        "crc32c": "2eb8e380",
    }
    assert report["items"][1] == {"offset": 189, "item": "padding", "stored_size": 835}


def test_body_as_table(capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a line for each item under a line of names."""
    status, output = inspect(golden_files.GOLDEN / "refcode/mixed_padded.body", capsys=capsys)
    lines = [line.split() for line in output.splitlines()]

    assert status == 0
    assert lines[0] == ["framed", "body"]
    assert ["offset", "item", "stored_size", "original_size", "codec", "crc32c"] in lines
    assert ["1432", "frame", "4412", "4096", "nvcomp-gdeflate", "833daead"] in lines
    assert ["5881", "padding", "12"] in lines


def test_trailer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A body that ends in a trailer shows its attributes and parts."""
    status, report = inspect_json(body_with_trailer(), tmp_path, capsys=capsys)

    assert status == 0
    assert report["trailer"]["offset"] == 100
    assert (report["trailer"]["original_size"], report["trailer"]["part_algorithm"], report["trailer"]["levels"]) == (30, "crc32", 1)
    assert report["parts"] == [
        {"number": 1, "original_size": 10, "checksum": "01020304"},
        {"number": 2, "original_size": 20, "checksum": None},
    ]
    assert "part_algorithm: crc32" in inspect(tmp_path / "file", capsys=capsys)[1]


def test_damaged_trailer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trailer that is not valid is named with its reason, and the exit status says so."""
    data = bytearray(body_with_trailer())
    data[-70] ^= 1
    status, report = inspect_json(bytes(data), tmp_path, capsys=capsys)

    assert (status, report["sound"]) == (1, False)
    assert report["trailer_error"]["reason"] == "checksum-mismatch"
    assert inspect(tmp_path / "file", capsys=capsys)[1].startswith("framed body, DAMAGED")


def test_index_of_other_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A valid trailer whose index is not that of the frames before it is damage."""
    data = bytearray(body_with_trailer())
    data[8] += 1
    status, report = inspect_json(bytes(data), tmp_path, capsys=capsys)

    assert (status, report["trailer_error"]["reason"]) == (1, "index-mismatch")


def test_damaged_body(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A body that is cut short shows what is there, then reason and offset of the fault."""
    status, report = inspect_json(golden_files.read("refcode/mixed_padded.body")[:3000], tmp_path, capsys=capsys)

    assert (status, report["frames"], report["sound"]) == (1, 4, False)
    assert (report["error"]["reason"], report["error"]["offset"]) == ("payload-truncated", 1460)


def test_gpu_container(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bare GPU container shows its head and its chunks, a damaged one its fault."""
    entry = next(row for row in golden_files.rows("containers.json") if row["id"] == "nvcomp/bitcomp-uint32.u32mono160k")
    head = bytes.fromhex(entry["head"])
    body = head + bytes(entry["stored_size"] - len(head))
    status, report = inspect_json(body, tmp_path, "--limit", "2", capsys=capsys)

    assert (status, report["kind"], report["algorithm"], report["element_type"]) == (0, "GPU container", "bitcomp", "u32")
    assert (report["original_size"], report["chunk_size"], report["chunk_count"]) == (160_000, 65_536, 3)
    assert report["chunks"] == [
        {"offset": 36, "stored_size": 10_300, "original_size": 65_536},
        {"offset": 10_336, "stored_size": 10_324, "original_size": 65_536},
    ]
    status, report = inspect_json(body[:-1], tmp_path, capsys=capsys)
    assert (status, report["error"]["reason"]) == (1, "payload-truncated")


def test_sidecars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sidecar shows what it is bound to and its entries, the envelope's geometry too; a damaged one its fault."""
    status, report = inspect_json(golden_files.read("gateway/multi_zstd.s4index"), tmp_path, capsys=capsys)
    assert (status, report["kind"], report["source_etag"]) == (0, "sidecar", "2a13d8a717ef421c5210eb6f0fb6b088")
    assert report["entries"][1] == {"original_offset": 4194304, "original_size": 845696, "stored_offset": 35079, "stored_size": 8518}

    _, report = inspect_json(golden_files.read("refcode/sse_s4_multi.s4index"), tmp_path, capsys=capsys)
    assert report["envelope"]["chunk_size"] == 4096

    status, report = inspect_json(golden_files.read("gateway/multi_zstd.s4index")[:-1], tmp_path, capsys=capsys)
    assert (status, report["error"]["reason"]) == (1, "entry-count-mismatch")


@pytest.mark.parametrize(
    ("data", "kind"), [(b"", "empty"), (b"S4E6" + bytes(30), "envelope"), (b"plain text", "unknown"), (b"S4", "unknown")]
)
def test_other_files(data: bytes, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing, envelopes and foreign files are told apart; none of them is damaged."""
    status, report = inspect_json(data, tmp_path, capsys=capsys)

    assert (status, report["kind"], report["size"]) == (0, kind, len(data))


@pytest.mark.parametrize("limit", [0, 2])
def test_limit_bounds_the_tables_not_the_sums(limit: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a limit, tables are cut and counts are whole."""
    _, report = inspect_json(golden_files.read("refcode/mixed_padded.body"), tmp_path, "--limit", str(limit), capsys=capsys)

    assert (len(report["items"]), report["frames"]) == (limit, 6)


def test_unreadable_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be read is exit status 2 and one line on the error stream."""
    assert main(["inspect", str(tmp_path / "missing")]) == 2

    output = capsys.readouterr()
    assert output.out == ""
    assert "missing" in output.err


@pytest.mark.parametrize("arguments", [[], ["inspect"], ["else"], ["inspect", "x", "--limit", "-1"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong arguments are exit status 2 with a usage line."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_runs_as_a_module() -> None:
    """`python -m s4_format` is the same command line."""
    path = golden_files.GOLDEN / "gateway/text_zstd.body"
    command = [sys.executable, "-m", "s4_format"]
    shown = subprocess.run([*command, "inspect", str(path), "--json"], capture_output=True, text=True, check=True).stdout
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout

    assert json.loads(shown)["frames"] == 1
    assert version.strip() == f"s4-format {__version__}"
