"""How stored bodies are to be read."""

import pytest

from s4_format import Layout, Manifest, layout_of

PAYLOAD = {"s4-original-size": "10", "s4-compressed-size": "9", "s4-crc32c": "8"}


@pytest.mark.parametrize(
    ("metadata", "layout"),
    [
        ({}, Layout.FOREIGN),
        ({"s4-codec": "cpu-zstd"}, Layout.FOREIGN),
        ({"author": "s4", "S4-Framed": "yes"}, Layout.FOREIGN),
        ({**PAYLOAD, "s4-codec": "passthrough"}, Layout.RAW),
        ({**PAYLOAD, "s4-codec": "cpu-gzip"}, Layout.SINGLE),
        ({**PAYLOAD, "s4-codec": "from-the-future"}, Layout.SINGLE),
        ({"s4-framed": "true"}, Layout.FRAMED),
        ({"s4-multipart": "true"}, Layout.FRAMED),
        ({"s4-trailer": "1"}, Layout.FRAMED),
        ({**PAYLOAD, "s4-codec": "passthrough", "s4-framed": "true"}, Layout.FRAMED),
        ({"s4-encrypted": "aes-256-gcm"}, Layout.ENCRYPTED),
        ({**PAYLOAD, "s4-codec": "passthrough", "s4-encrypted": "aes-256-gcm"}, Layout.ENCRYPTED),
        ({"s4-framed": "true", "s4-encrypted": "aes-256-gcm"}, Layout.ENCRYPTED),
    ],
    ids=str,
)
def test_metadata_decides(metadata: dict[str, str], layout: Layout) -> None:
    """The layout follows from the metadata alone; encryption goes before all else, and compressed bytes never count as foreign."""
    assert layout_of(Manifest.from_metadata(metadata)) is layout
