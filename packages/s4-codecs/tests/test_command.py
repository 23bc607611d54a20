"""The command `s4-codec`, as installed."""

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from s4_format import padding_header

import s4_codecs

from .golden import GoldenObject, GoldenPayload, by_outcome, golden, golden_payloads, missing

PROGRAM = Path(sysconfig.get_path("scripts")) / "s4-codec"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run the command."""
    return subprocess.run([PROGRAM, *arguments], capture_output=True, timeout=60, check=False)


def here(*arguments: str | Path) -> int:
    """Run it in this process, which is faster."""
    from s4_codecs.__main__ import main

    return main([str(argument) for argument in arguments])


@pytest.fixture
def stored(tmp_path: Path):
    """Write body and metadata of an object, and give the arguments that name them."""

    def write(body: bytes, metadata: dict[str, str] | None = None) -> list[str | Path]:
        (tmp_path / "body").write_bytes(body)
        if metadata is None:
            return ["decode", tmp_path / "body", "-o", tmp_path / "plain"]
        (tmp_path / "metadata.json").write_text(json.dumps(metadata))
        return ["decode", tmp_path / "body", "-o", tmp_path / "plain", "--metadata", tmp_path / "metadata.json"]

    return write


def digest(path: Path) -> tuple[int, str]:
    """What the lists say of an original."""
    return path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("entry", by_outcome("plain"), ids=lambda entry: entry.id)
def test_stored_objects(stored, tmp_path: Path, entry: GoldenObject) -> None:
    """Every golden object is decoded with its metadata, and where it consists of frames, without."""
    arguments = stored(entry.body, entry.metadata)
    if entry.dictionary:
        (tmp_path / "dictionary").write_bytes(entry.dictionary)
        arguments += ["--dict", tmp_path / "dictionary"]
    assert here(*arguments) == 0
    assert digest(tmp_path / "plain") == (entry.size, entry.sha256)
    if entry.body[:4] == b"S4F2" and not entry.dictionary:
        (tmp_path / "plain").unlink()
        assert here(*stored(entry.body)) == 0
        assert digest(tmp_path / "plain") == (entry.size, entry.sha256)
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    "entry", [entry for entry in golden_payloads() if not entry.error and entry.extra != "gpu"], ids=lambda entry: entry.id
)
def test_gpu_written_payloads(stored, tmp_path: Path, entry: GoldenPayload) -> None:
    """Every container that nvCOMP filled is decoded without a GPU, as an object of its own and as a frame."""
    if missing(entry.extra):
        pytest.skip(f"the extra {entry.extra} is not installed, or has nothing for this platform")
    assert here(*stored(entry.body, entry.manifest.to_metadata())) == 0
    assert digest(tmp_path / "plain") == (entry.size, entry.sha256)
    (tmp_path / "plain").unlink()
    assert here(*stored(entry.frame)) == 0
    assert digest(tmp_path / "plain") == (entry.size, entry.sha256)


def test_standard_output_and_head_object(tmp_path: Path) -> None:
    """Without -o the bytes go to standard output, a line about them to standard error; the answer of HeadObject serves as metadata."""
    entry = golden("refcode/unframed_nvcomp-zstd")
    (tmp_path / "head.json").write_text(json.dumps({"ContentLength": 48, "Metadata": entry.metadata}))
    for program in ([PROGRAM], [sys.executable, "-m", "s4_codecs"]):
        command = [*program, "decode", entry.file, "--metadata", tmp_path / "head.json"]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert (done.returncode, hashlib.sha256(done.stdout).hexdigest()) == (0, entry.sha256)
        assert done.stderr.decode() == f"{entry.file}: 65536 bytes from 48 stored\n"


def test_version() -> None:
    """The version is the distribution's."""
    assert run("--version").stdout.decode() == f"s4-codecs {s4_codecs.__version__}\n"


TEXT = golden("gateway/text_zstd")
REFUSED = {
    "damaged": (TEXT.body[:24] + bytes(4) + TEXT.body[28:], None, "CRC32C"),
    "cut short": (TEXT.body[:-1], None, "declared"),
    "cut short, by its metadata": (TEXT.body[:0], TEXT.metadata, "promised"),
    "empty": (b"", None, "--metadata"),
    "bare": (golden("gateway/text_gzip").body, None, "--metadata"),
    "padding alone": (padding_header(4) + bytes(4), None, "no frames"),
    "encrypted": (b"S4E6" + bytes(100), None, "S4E6"),
    "encrypted, by its metadata": (b"S4E6" + bytes(100), {"s4-encrypted": "aes-256-gcm"}, "encrypted"),
    "without its dictionary": (golden("gateway/dict_event").body, None, "dictionary"),
    "of a codec that nobody has": (TEXT.body, {**golden("gateway/text_gzip").metadata, "s4-codec": "cpu-future"}, "cpu-future"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(stored, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """What cannot be decoded says why, exits with 1, and leaves no file behind; one that was there stays as it was."""
    body, metadata, word = REFUSED[name]
    (tmp_path / "plain").write_bytes(b"from before")
    assert here(*stored(body, metadata)) == 1
    assert word in capsys.readouterr().err
    assert (tmp_path / "plain").read_bytes() == b"from before"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("text", ["", "[]", '{"s4-codec": 5}', "not json"])
def test_metadata_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Metadata must be a JSON object of strings."""
    (tmp_path / "metadata").write_text(text)
    assert here("decode", TEXT.file, "-o", tmp_path / "plain", "--metadata", tmp_path / "metadata") == 1
    assert "metadata" in capsys.readouterr().err


def test_files_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be read or written is named, and the status is 2."""
    assert here("decode", tmp_path / "none") == 2
    assert here("decode", TEXT.file, "-o", tmp_path / "no" / "plain") == 2
    assert here("decode", TEXT.file, "-o", tmp_path / "plain", "--dict", tmp_path / "nodict") == 2
    lines = capsys.readouterr().err.splitlines()
    assert all("No such file" in line for line in lines)
    assert all(name in line for line, name in zip(lines, ("none", "no", "nodict"), strict=True))
    assert run("decode").returncode == 2


def test_terminals_get_no_bytes() -> None:
    """Standard output that is a terminal is refused."""
    primary, secondary = os.openpty()
    try:
        done = subprocess.run([PROGRAM, "decode", TEXT.file], stdout=secondary, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(primary)
        os.close(secondary)
    assert (done.returncode, b"--output" in done.stderr) == (1, True)


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """Where standard output takes a part only, however Python buffers it, the command fails."""
    limited = f"ulimit -f 1; exec {PROGRAM} decode {TEXT.file} > {tmp_path / 'plain'}"
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    done = subprocess.run(["sh", "-c", limited], env=environment, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (tmp_path / "plain").stat().st_size < TEXT.size
    assert (done.returncode, b"too large" in done.stderr) == (2, True)


def test_a_pipe_is_read() -> None:
    """The body may come through a pipe."""
    done = subprocess.run([PROGRAM, "decode", "/dev/stdin"], input=TEXT.body, capture_output=True, timeout=60, check=False)
    assert (done.returncode, hashlib.sha256(done.stdout).hexdigest()) == (0, TEXT.sha256)
