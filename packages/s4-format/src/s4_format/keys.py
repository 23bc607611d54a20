"""Object names that belong to S4 itself, spelled here and nowhere else (docs/format/names.md)."""

from re import compile as pattern

from s4_format.errors import KeyNameError, Reason

SIDECAR_SUFFIX = ".s4index"
"""`<key>.s4index` is the sidecar of `<key>`."""
DICTIONARY_PREFIX = ".s4dict/"
"""`.s4dict/<16 lower hex>` is a zstd dictionary."""
MULTIPART_PREFIX = ".s4mpu/"
"""Everything under it is state of uploads in progress."""
VERSION_MARK = ".__s4ver__/"
"""`<key>.__s4ver__/<version id>` is a version of `<key>` on backends without versions of their own."""

RESERVED_LISTING_JUMPS = ((MULTIPART_PREFIX, f"{MULTIPART_PREFIX}~"), (DICTIONARY_PREFIX, f"{DICTIONARY_PREFIX}~"))
"""(prefix, start-after) pairs that pass over whole reserved folders of a listing.

All names under them are hex digits, digits, lower-case words or dots, which sort below "~"; the next legal client key, such as
".s4mpu0", sorts behind both and is not passed over.
"""

_DICTIONARY_ID = pattern(r"[0-9a-f]{16}")


def is_reserved(key: str) -> bool:
    """Whether clients must neither write, delete nor see this key."""
    return key.endswith(SIDECAR_SUFFIX) or key.startswith((MULTIPART_PREFIX, DICTIONARY_PREFIX)) or VERSION_MARK in key


def is_dictionary_id(value: str) -> bool:
    """Whether this is 16 lower-case hex digits."""
    return _DICTIONARY_ID.fullmatch(value) is not None


def sidecar_key(key: str) -> str:
    """Name of the sidecar of `key`.

    Raises:
        KeyNameError: INVALID_NAME, `key` is empty or reserved itself.
    """
    if not key or key.endswith(SIDECAR_SUFFIX) or key.startswith((MULTIPART_PREFIX, DICTIONARY_PREFIX)):
        raise KeyNameError(f"{key!r} cannot have a sidecar", Reason.INVALID_NAME)
    return key + SIDECAR_SUFFIX


def dictionary_key(dictionary_id: str) -> str:
    """Name of the object that holds this dictionary.

    Raises:
        KeyNameError: INVALID_NAME, not 16 lower-case hex digits.
    """
    if not is_dictionary_id(dictionary_id):
        raise KeyNameError(f"{dictionary_id!r} is no dictionary id", Reason.INVALID_NAME)
    return DICTIONARY_PREFIX + dictionary_id
