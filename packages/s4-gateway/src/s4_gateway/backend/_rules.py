"""What every store of ours asks of names, keys, metadata and manifests, and the BackendError for each refusal."""

import ipaddress
import itertools
import re
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as BinasciiError
from collections.abc import Iterator, Mapping, Sequence

from s4_gateway.backend.abc import BackendError, Buffer, Payload, Span, Suffix
from s4_gateway.errors import ERRORS

MAX_KEY_BYTES = 1024
MAX_PARTS = 10_000
MAX_OBJECT_SIZE = 5 * 2**40
"""Most bytes of one object, whatever its parts (S3's own limit)."""
MAX_DELETES = 1000
MAX_LIST = 1000
"""Most names in a page of a listing, whatever was asked for."""

_BUCKET_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]", re.ASCII)


def refuse(code: str, message: str | None = None) -> BackendError:
    """The refusal with S3's own code: status, and message where none is given, from the table of errors."""
    status, default = ERRORS[code]
    return BackendError(code, status, message or default)


def check_bucket_name(bucket: str) -> None:
    """S3's rules for general purpose buckets: 3 to 63 of a-z, 0-9, "-" and ".", no "..", not an IPv4 address."""
    if not _BUCKET_NAME.fullmatch(bucket) or _is_address(bucket):
        raise refuse("InvalidBucketName")


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def check_key(key: str) -> bytes:
    """The key as UTF-8, 1 to 1,024 bytes.

    Raises:
        BackendError: KeyTooLongError; InvalidURI for what UTF-8 cannot say (lone surrogates); InvalidArgument for an empty key.
    """
    raw = encoded(key)
    if not raw:
        raise refuse("InvalidArgument", "The key is empty.")
    if len(raw) > MAX_KEY_BYTES:
        raise refuse("KeyTooLongError")
    return raw


def encoded(text: str) -> bytes:
    """A key, prefix or delimiter as UTF-8; InvalidURI for lone surrogates, which UTF-8 cannot say."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise refuse("InvalidURI", "The name is not valid UTF-8.") from error


def check_metadata(metadata: Mapping[str, str], limit: int) -> None:
    """MetadataTooLarge when names (without prefix) and values exceed `limit` bytes; values are latin-1, so a character is a byte."""
    if sum(len(name) + len(value) for name, value in metadata.items()) > limit:
        raise refuse("MetadataTooLarge")


def check_part_number(number: int) -> None:
    """Parts are numbered 1 to 10,000."""
    if not 1 <= number <= MAX_PARTS:
        raise refuse("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive.")


def check_manifest(parts: Sequence[tuple[int, str]]) -> None:
    """A manifest names 1 to 10,000 parts in ascending order, none twice."""
    if not 1 <= len(parts) <= MAX_PARTS:
        raise refuse("MalformedXML", "A manifest names 1 to 10,000 parts.")
    numbers = [number for number, _ in parts]
    if any(after <= before for before, after in itertools.pairwise(numbers)):
        raise refuse("InvalidPartOrder")


def check_part_sizes(sizes: Sequence[int], *, min_part_size: int) -> None:
    """EntityTooSmall where a part but the last is below the minimum; EntityTooLarge above 5 TiB in all."""
    if any(size < min_part_size for size in sizes[:-1]):
        raise refuse("EntityTooSmall")
    if sum(sizes) > MAX_OBJECT_SIZE:
        raise refuse("EntityTooLarge")


def exact_pieces(payload: Payload) -> Iterator[Buffer]:
    """The payload's pieces; IncompleteBody when it yields more or fewer bytes than it promised."""
    promised, seen = payload.size, 0
    for piece in payload:
        seen += len(piece)
        if seen > promised:
            break
        yield piece
    if seen != promised:
        raise refuse("IncompleteBody", f"The payload promised {promised} bytes and gave {'more' if seen > promised else seen}.")


def resolve_span(span: Span | Suffix | None, size: int) -> tuple[int, int]:
    """Stored bytes [start, stop) of an object of `size` bytes.

    Raises:
        BackendError: InvalidRange when a Span is empty or starts at or behind the end.
    """
    match span:
        case None:
            return 0, size
        case Suffix(length):
            return max(0, size - max(0, length)), size
        case Span(start, stop):
            end = size if stop is None else min(stop, size)
            if not 0 <= start < end:
                raise refuse("InvalidRange")
            return start, end


def list_token(name: str) -> str:
    """The token that goes on behind a key or common prefix."""
    return urlsafe_b64encode(name.encode()).decode("ascii")


def token_name(token: str) -> str:
    """The name inside a token; InvalidArgument for what is not one of ours."""
    try:
        return b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (UnicodeError, BinasciiError) as error:
        raise refuse("InvalidArgument", "The continuation token is not one of this store's.") from error
