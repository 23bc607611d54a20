"""`s4-codec decode INPUT [-o OUTPUT]`, also as `python -m s4_codecs`: the original bytes of a stored body, without gateway or bucket."""

import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from stat import S_ISREG
from tempfile import NamedTemporaryFile
from typing import IO

from s4_format import FRAME_MAGIC, MAGIC_BYTES, PADDING_MAGIC, FormatError, Manifest, detect_envelope, scan_frames

from s4_codecs._version import __version__
from s4_codecs.decode import open_decoder
from s4_codecs.drive import decode_threaded
from s4_codecs.errors import CodecError

EXIT_FAILED = 1
EXIT_UNREADABLE = 2

_PIECE_BYTES = 4 << 20
_METADATA_KEY = "Metadata"
"""Where the answer of HeadObject, as the AWS command line prints it, has the user metadata."""


class _Refused(Exception):
    """The body cannot be decoded as it was asked for."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the result is the exit status: 0 decoded, 1 damaged or not decodable here, 2 a file that cannot be read."""
    options = _parser().parse_args(arguments)
    try:
        body = _contents(options.input)
        manifest = _manifest(body, options.metadata)
        dictionary = None if options.dict is None else options.dict.read_bytes()
        with _target(options.output) as target:
            size = _decode(body, manifest, dictionary, target)
    except OSError as error:
        return _fail(f"{error.filename or options.input}: {error.strerror}", EXIT_UNREADABLE)
    except (CodecError, FormatError, _Refused) as error:
        return _fail(f"{options.input}: {error}", EXIT_FAILED)
    print(f"{options.input}: {size} bytes from {len(body)} stored", file=sys.stderr)
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="s4-codec", description="Decode files that hold bytes stored by S4.")
    parser.add_argument("--version", action="version", version=f"s4-codecs {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    decode = commands.add_parser("decode", help="write the original bytes of a stored body")
    decode.add_argument("input", metavar="INPUT", type=Path, help="the body as the bucket holds it")
    decode.add_argument("-o", "--output", metavar="OUTPUT", type=Path, help="where to write; default is standard output")
    decode.add_argument(
        "--metadata",
        metavar="FILE",
        type=Path,
        help="the object's user metadata as JSON, or the answer of `aws s3api head-object`; a body that is one bare payload needs it",
    )
    decode.add_argument("--dict", metavar="FILE", type=Path, help="the zstd dictionary that the object's frames need")
    return parser


def _fail(message: str, status: int) -> int:
    print(f"s4-codec: {message}", file=sys.stderr)
    return status


def _contents(path: Path) -> memoryview:
    """The file as memory that is read on demand, so that a body larger than memory can be decoded; what is no file is read at once."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not S_ISREG(status.st_mode) or not status.st_size:
            return memoryview(file.read())
        return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))


def _manifest(body: memoryview, metadata: Path | None) -> Manifest:
    """What is known of the body: by its metadata, or because it consists of frames.

    Raises:
        _Refused: it is neither.
    """
    if metadata is not None:
        return _read_metadata(metadata)
    envelope = detect_envelope(body)
    if envelope is not None:
        raise _Refused(f"it is encrypted ({envelope}); decrypt it first")
    if bytes(body[:MAGIC_BYTES]) not in (FRAME_MAGIC, PADDING_MAGIC):
        raise _Refused("it is no framed body; give the object's metadata with --metadata")
    if not len(scan_frames(body)[0]):
        raise _Refused("it has no frames; give the object's metadata with --metadata if it is that of an empty object")
    return Manifest(framed=True)


def _read_metadata(path: Path) -> Manifest:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise _Refused(f"{path} is not JSON: {error}") from error
    if isinstance(found, dict) and isinstance(found.get(_METADATA_KEY), dict):
        found = found[_METADATA_KEY]
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _Refused(f"{path} is not an object of strings")
    return Manifest.from_metadata(found)


def _decode(body: memoryview, manifest: Manifest, dictionary: bytes | None, target: IO[bytes]) -> int:
    pieces = (body[at : at + _PIECE_BYTES] for at in range(0, len(body), _PIECE_BYTES))
    decoder = open_decoder(manifest, dictionary=dictionary)
    return sum(target.write(piece) for piece in decode_threaded(decoder, pieces, workers=os.cpu_count() or 1))


@contextmanager
def _target(path: Path | None) -> Iterator[IO[bytes]]:
    """Where to write. A file gets its name when it is complete, so that nothing shorter ever has it.

    Raises:
        _Refused: standard output is a terminal.
    """
    if path is None:
        if sys.stdout.isatty():
            raise _Refused("standard output is a terminal; name a file with --output")
        # `sys.stdout.buffer` has no buffer where Python was told so, and then writes as much as there is room for.
        with open(sys.stdout.fileno(), "wb", closefd=False) as file:
            yield file
        return
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        partial = Path(file.name)
        try:
            yield file
            file.flush()
            partial.chmod(0o666 & ~_umask())
            partial.replace(path)
        except BaseException:
            partial.unlink()
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


if __name__ == "__main__":
    sys.exit(main())
