"""Reserved names, ETags and envelope magics."""

from hashlib import md5

import pytest

from s4_format import (
    DICTIONARY_PREFIX,
    MULTIPART_PREFIX,
    RESERVED_LISTING_JUMPS,
    SIDECAR_SUFFIX,
    VERSION_MARK,
    EnvelopeKind,
    KeyNameError,
    Reason,
    composite_etag,
    detect_envelope,
    dictionary_key,
    is_dictionary_id,
    is_reserved,
    md5_etag,
    quote_etag,
    sidecar_key,
    unquote_etag,
)

RESERVED = [
    "a.s4index",
    ".s4index",
    "dir/a b.s4index",
    ".s4dict/0123456789abcdef",
    ".s4dict/",
    ".s4mpu/x/y",
    ".s4mpu/",
    "a.__s4ver__/0123",
    "deep/er/a.__s4ver__/null",
]
FREE = [
    "a",
    "",
    "a.s4index2",
    "s4index",
    "a.S4INDEX",
    ".s4dict",
    ".s4mpu",
    ".s4mpu0",
    "x/.s4mpu/y",
    "x/.s4dict/y",
    "a.__s4ver__",
    ".S4MPU/x",
]


def test_names_are_wire_format() -> None:
    """The reserved texts are those that existing buckets hold."""
    assert (SIDECAR_SUFFIX, DICTIONARY_PREFIX, MULTIPART_PREFIX, VERSION_MARK) == (".s4index", ".s4dict/", ".s4mpu/", ".__s4ver__/")


@pytest.mark.parametrize("key", RESERVED)
def test_reserved(key: str) -> None:
    """Sidecars, dictionaries, upload state and shadow versions are reserved wherever they lie."""
    assert is_reserved(key)


@pytest.mark.parametrize("key", FREE)
def test_free(key: str) -> None:
    """Names that only resemble a reserved one belong to clients."""
    assert not is_reserved(key)


def test_listing_jumps_pass_over_reserved_names_only() -> None:
    """What lies behind a prefix and at or before its jump is reserved; the next legal key is not passed over."""
    for prefix, jump in RESERVED_LISTING_JUMPS:
        inside = [prefix, f"{prefix}0/00001.s.abc", f"{prefix}zzz"]
        assert all(prefix <= key <= jump and is_reserved(key) for key in inside)
        assert jump < f"{prefix[:-1]}0"
        assert not is_reserved(f"{prefix[:-1]}0")


def test_sidecar_key() -> None:
    """A sidecar lies beside its object, also beside a shadow version."""
    assert sidecar_key("a/b c") == "a/b c.s4index"
    assert sidecar_key("a.__s4ver__/1") == "a.__s4ver__/1.s4index"


@pytest.mark.parametrize("key", ["", "a.s4index", ".s4mpu/x", ".s4dict/0123456789abcdef"])
def test_no_sidecar_of_reserved_names(key: str) -> None:
    """What is S4's own has no sidecar."""
    with pytest.raises(KeyNameError) as caught:
        sidecar_key(key)

    assert caught.value.reason is Reason.INVALID_NAME


def test_dictionary_key() -> None:
    """A dictionary lies under its id."""
    assert dictionary_key("0123456789abcdef") == ".s4dict/0123456789abcdef"


@pytest.mark.parametrize("value", ["", "0123456789ABCDEF", "0123456789abcde", "0123456789abcdef0", "../a", "0123456789abcde\n"])
def test_other_dictionary_ids_are_refused(value: str) -> None:
    """Only 16 lower-case hex digits name a dictionary."""
    assert not is_dictionary_id(value)
    with pytest.raises(KeyNameError) as caught:
        dictionary_key(value)

    assert caught.value.reason is Reason.INVALID_NAME


def test_etags_of_digests() -> None:
    """MD5 in hex for one PUT; MD5 of the raw MD5s and the count for an upload."""
    digests = [md5(part).digest() for part in (b"one", b"two")]

    assert md5_etag(digests[0]) == md5(b"one").hexdigest()
    assert composite_etag(digests) == md5(b"".join(digests)).hexdigest() + "-2"
    assert composite_etag(iter(digests[:1])) == md5(digests[0]).hexdigest() + "-1"


@pytest.mark.parametrize("digests", [[], [b"short"], [bytes(16), bytes(15)]])
def test_composite_needs_md5s(digests: list[bytes]) -> None:
    """No parts, or something that is no MD5, have no ETag."""
    with pytest.raises(ValueError, match=r"MD5|parts"):
        composite_etag(digests)


def test_etag_of_something_else() -> None:
    """A digest of another length is no MD5."""
    with pytest.raises(ValueError, match="MD5"):
        md5_etag(bytes(20))


@pytest.mark.parametrize(
    ("value", "bare"),
    [('"abc"', "abc"), ("abc", "abc"), (' W/"abc" ', "abc"), ('""', ""), ('"', '"'), ('"a"b"', 'a"b'), ('"abc', '"abc'), ("", "")],
)
def test_unquote(value: str, bare: str) -> None:
    """One pair of quotes and a weak mark are taken off, half a pair is part of the tag."""
    assert unquote_etag(value) == bare


def test_quote() -> None:
    """Quoting and unquoting lead back."""
    assert quote_etag("abc-2") == '"abc-2"'
    assert unquote_etag(quote_etag("abc-2")) == "abc-2"


@pytest.mark.parametrize("kind", EnvelopeKind)
def test_envelopes_are_told_by_their_magic(kind: EnvelopeKind) -> None:
    """Each envelope is detected from its first four bytes, whatever follows, in any buffer."""
    for head in (kind.encode(), kind.encode() + b"\x01rest", memoryview(kind.encode() + b"x")):
        assert detect_envelope(head) is kind


@pytest.mark.parametrize("head", [b"", b"S4E", b"S4E0", b"S4E7", b"S4F2", b"s4e1", b"\0S4E1"])
def test_other_heads_are_no_envelopes(head: bytes) -> None:
    """Anything else, and too few bytes, is none."""
    assert detect_envelope(head) is None
