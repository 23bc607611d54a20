"""Pages of a listing in the shapes that servers write, and in all others that XML allows: both ways of reading agree."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.backend.abc import BackendError, ListEntry, ListPage
from s4_gateway.backend.s3.listing import list_page, parsed_page

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
XMLNS = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
AMAZON = (
    "<Contents><Key>{key}</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified><ETag>&quot;{etag}&quot;</ETag>"
    "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>{size}</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)
MINIO = (
    "<Contents><Key>{key}</Key><LastModified>2023-11-14T22:13:20.123Z</LastModified><ETag>&#34;{etag}&#34;</ETag><Size>{size}</Size>"
    "<Owner><ID></ID><DisplayName></DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents>"
)
VERSITYGW = (
    "<Contents><LastModified>2023-11-14T22:13:20Z</LastModified><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>"
    "<ChecksumType>FULL_OBJECT</ChecksumType><ETag>&#34;{etag}&#34;</ETag><Key>{key}</Key><Size>{size}</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)
BARE = "<Contents><Key>{key}</Key><LastModified>2023-11-14T22:13:20Z</LastModified><ETag>{etag}</ETag><Size>{size}</Size></Contents>"
SERVERS = [AMAZON, MINIO, VERSITYGW, BARE]

# What a document may be made of: the regular shape, and everything that looks like it and means something else.
PIECES = [
    *(row.format(key="a&amp;b", etag="e", size=5) for row in SERVERS),
    AMAZON.format(key="%41+%2B", etag="e", size=10**18),
    AMAZON.format(key="&#x1F600;&#65;&apos;", etag="", size=0),
    AMAZON.format(key="&#1;", etag="e", size=1),
    AMAZON.format(key="&nbsp;", etag="e", size=1),
    AMAZON.format(key="a & b", etag="e", size=1),
    AMAZON.format(key="a]]>b", etag="e", size=1),
    AMAZON.format(key="a\r\nb", etag="e", size=1),
    AMAZON.format(key="<![CDATA[<Key>]]>", etag="e", size=1),
    AMAZON.format(key="a<!-- b -->c", etag="e", size=1),
    AMAZON.format(key="a", etag="&quot;", size=1),
    AMAZON.replace("<Size>", "<Key>other</Key><Size>").format(key="a", etag="e", size=1),
    AMAZON.replace("<Size>", '<Size unit="B">').format(key="a", etag="e", size=1),
    AMAZON.replace("<Size>", "<Size> ").format(key="a", etag="e", size=1),
    AMAZON.replace("<Key>", "<Key >").format(key="a", etag="e", size=1),
    AMAZON.replace("<Key>{key}</Key>", "<x:Key xmlns:x='other'>{key}</x:Key>").format(key="a", etag="e", size=1),
    AMAZON.replace("CRC64NVME", "<Nested>x</Nested>").format(key="a", etag="e", size=1),
    AMAZON.replace("CRC64NVME", "&unknown;").format(key="a", etag="e", size=1),
    AMAZON.replace("22:13", "24:13").format(key="a", etag="e", size=1),
    AMAZON.replace("11-14", "13-14").format(key="a", etag="e", size=1),
    AMAZON.replace("20.000Z", "20.000+01:00").format(key="a", etag="e", size=1),
    AMAZON.replace("<StorageClass>STANDARD</StorageClass>", "<StorageClass/>").format(key="a", etag="e", size=1),
    AMAZON.replace("<Size>{size}</Size>", "").format(key="a", etag="e"),
    "<Contents></Contents>",
    "<Contents/>",
    "<Contents><Key>lost</Contents>",
    "<CommonPrefixes><Prefix>p&lt;/</Prefix></CommonPrefixes>",
    "<CommonPrefixes><Prefix>p%2F</Prefix><Prefix>q</Prefix></CommonPrefixes>",
    "<CommonPrefixes/>",
    "<EncodingType>url</EncodingType>",
    "<EncodingType></EncodingType>",
    "<IsTruncated>true</IsTruncated>",
    "<IsTruncated>false</IsTruncated>",
    "<NextContinuationToken>a b&amp;c</NextContinuationToken>",
    "<NextContinuationToken/>",
    "<Prefix/>",
    "<Name>bucket</Name>",
    "<Name>a&b</Name>",
    "<Name>a</Nome>",
    "<Name a='b'>x</Name>",
    " \n",
    "text",
    "<!-- <Contents> -->",
    "<?pi?>",
    "</ListBucketResult>",
    "\x00",
    "\x0b",
    "\ufffe",
]


def document(*pieces: str, begin: str = DECLARATION, namespace: str = XMLNS) -> bytes:
    """A page made of these elements."""
    return f"{begin}<ListBucketResult{namespace}>{''.join(pieces)}</ListBucketResult>".encode()


def outcome(read: object, body: bytes) -> ListPage | str:
    """What a reader makes of a document: a page or the code of its error."""
    assert callable(read)
    try:
        page = read(body)
    except BackendError as error:
        return error.code
    assert isinstance(page, ListPage)
    return page


@pytest.mark.parametrize("row", SERVERS)
def test_the_shapes_of_servers(row: str) -> None:
    """Entries are read whatever the order and choice of their elements."""
    page = list_page(document(*(row.format(key=f"k{number}", etag=f"e{number}", size=number) for number in range(3))))

    storage_class = "STANDARD" if "StorageClass" in row else None
    assert page.entries == [ListEntry(f"k{number}", number, f"e{number}", 1_700_000_000, storage_class) for number in range(3)]


def test_entries_of_several_shapes() -> None:
    """One page may mix shapes: checksums are there for some objects only."""
    rows = [row.format(key=f"k{number}", etag="e", size=number) for number, row in enumerate([AMAZON, MINIO, AMAZON, VERSITYGW, MINIO])]

    assert [entry.key for entry in list_page(document(*rows)).entries] == ["k0", "k1", "k2", "k3", "k4"]


@given(
    st.lists(st.sampled_from(PIECES), max_size=5),
    st.sampled_from([DECLARATION, "", "\n", '<?xml version="1.0"?>', '<?xml version="1.1"?>', '<?xml version="1.0" encoding="latin-1"?>']),
    st.sampled_from([XMLNS, "", ' xmlns="other"', f' a="b"{XMLNS}']),
)
def test_both_ways_of_reading_agree(pieces: list[str], begin: str, namespace: str) -> None:
    """Whatever a document is made of, the quick way says what an XML parser says, or leaves it to it."""
    body = document(*pieces, begin=begin, namespace=namespace)

    assert outcome(list_page, body) == outcome(parsed_page, body)


@given(st.sampled_from([row.format(key="key", etag="etag", size=7) for row in SERVERS]), st.data())
def test_damaged_bytes(row: str, data: st.DataObject) -> None:
    """A byte that is changed, lost or added anywhere gives the same page or the same error either way."""
    body = document("<IsTruncated>false</IsTruncated>", row, row)
    at = data.draw(st.integers(0, len(body) - 1))
    change = data.draw(st.binary(max_size=2) | st.sampled_from([b"<", b">", b"&", b"/", b'"']))
    damaged = body[:at] + change + body[at + data.draw(st.integers(0, 2)) :]

    assert outcome(list_page, damaged) == outcome(parsed_page, damaged)


def test_times_of_one_page() -> None:
    """Each entry has its own time, to the second."""
    clocks = ("00:00:00", "22:13:19", "22:13:20", "23:59:59")
    rows = [AMAZON.replace("22:13:20", clock).format(key=clock, etag="e", size=1) for clock in clocks]

    assert [entry.modified % 86_400 for entry in list_page(document(*rows)).entries] == [0, 79_999, 80_000, 86_399]


@given(st.text(max_size=30))
def test_any_text_for_a_key(text: str) -> None:
    """No key makes the quick way read anything but what the parser reads."""
    with suppress(UnicodeEncodeError):
        body = document(AMAZON.format(key=text, etag="e", size=1))
        assert outcome(list_page, body) == outcome(parsed_page, body)


def test_a_regular_page_needs_no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shapes of servers are read the quick way: what is compared above is not the parser with itself."""
    monkeypatch.setattr("s4_gateway.backend.s3.listing.parsed_page", None)

    for row in SERVERS[:3]:
        body = document(row.format(key="a%2Fb&amp;", etag="e", size=1), "<EncodingType>url</EncodingType>")
        assert re.fullmatch("a/b&", list_page(body).entries[0].key)
