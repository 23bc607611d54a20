"""Encryption envelopes of stored bodies, told apart by their first four bytes."""

from enum import StrEnum

from s4_format._buffer import Buffer, as_view


class EnvelopeKind(StrEnum):
    """The value is the magic. Whether a body *is* an envelope is said by metadata (`s4-encrypted`), never by the magic alone."""

    S4E1 = "S4E1"
    """Gateway key without id; legacy, read only."""
    S4E2 = "S4E2"
    """Gateway key with id."""
    S4E3 = "S4E3"
    """Key of the customer (SSE-C)."""
    S4E4 = "S4E4"
    """Data key wrapped by a key service (SSE-KMS)."""
    S4E5 = "S4E5"
    """Gateway key, in chunks; legacy, read only."""
    S4E6 = "S4E6"
    """Gateway key, in chunks."""


ENVELOPE_MAGIC_BYTES = 4

_BY_MAGIC = {kind.value.encode("ascii"): kind for kind in EnvelopeKind}


def detect_envelope(head: Buffer) -> EnvelopeKind | None:
    """Which envelope the first bytes of a body look like; None for anything else and for fewer than 4 bytes."""
    return _BY_MAGIC.get(bytes(as_view(head)[:ENVELOPE_MAGIC_BYTES]))
