"""S3's XML: what is read of it, what is refused, and what is written."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from urllib.parse import quote, quote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.backend.abc import BackendError, Bucket, ListEntry, OpenUpload
from s4_gateway.backend.s3 import xml
from s4_gateway.backend.s3.listing import list_page

NAMESPACES = ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', ' xmlns="http://other/"']
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
XML_KEYS = KEYS.filter(xml.is_expressible)


def list_document(keys: Sequence[str], *, encode: Callable[[str], str] | None = None, namespace: str = "", more: str = "") -> bytes:
    """A page of ListObjectsV2."""
    entries = "".join(
        f"<Contents><Key>{encode(key) if encode else escape(key, {chr(13): '&#xD;'})}</Key>"
        f"<LastModified>2023-11-14T22:13:20.999Z</LastModified>"
        f"<ETag>&quot;e{number}&quot;</ETag><Size>{number}</Size><Owner><ID>x</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"
        for number, key in enumerate(keys)
    )
    encoding = "<EncodingType>url</EncodingType>" if encode else ""
    return f'<?xml version="1.0"?>\n<ListBucketResult{namespace}>{encoding}{more}{entries}</ListBucketResult>'.encode()


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_list_page(namespace: str) -> None:
    """Entries, prefixes and the way on, whatever the namespace."""
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t=</NextContinuationToken>"
    prefixes = "<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>"
    page = list_page(list_document(["a", "b"], namespace=namespace, more=more + prefixes))

    assert page.entries == [ListEntry("a", 0, "e0", 1_700_000_000, "STANDARD"), ListEntry("b", 1, "e1", 1_700_000_000, "STANDARD")]
    assert (page.prefixes, page.token) == (["p/"], "t=")


@given(st.lists(KEYS, max_size=5), st.sampled_from([quote_plus, quote]))
def test_encoded_names(keys: list[str], encode: Callable[[str], str]) -> None:
    """Percent-encoded names are decoded, with a space as `+` (S3) or `%20` (Ceph)."""
    more = "".join(f"<CommonPrefixes><Prefix>{encode(key)}</Prefix></CommonPrefixes>" for key in keys)
    page = list_page(list_document(keys, encode=encode, more=more))

    assert [entry.key for entry in page.entries] == list(page.prefixes) == keys


@given(st.lists(XML_KEYS, max_size=5))
def test_names_that_a_store_did_not_encode(keys: list[str]) -> None:
    """Without EncodingType in the answer names are taken as they are, `%` and `+` included."""
    assert [entry.key for entry in list_page(list_document(keys)).entries] == keys


def test_last_page() -> None:
    """A token in an answer that is not truncated means nothing."""
    more = "<IsTruncated>false</IsTruncated><NextContinuationToken>t</NextContinuationToken>"

    assert list_page(list_document([], more=more)).token is None


@pytest.mark.parametrize(
    "body",
    [
        list_document([], more="<IsTruncated>true</IsTruncated>"),
        list_document([], more="<IsTruncated>true</IsTruncated><NextContinuationToken/>"),
        list_document(["a"]).replace(b"<Size>0</Size>", b""),
        list_document(["a"]).replace(b"<Size>0</Size>", b"<Size/>"),
        list_document(["a"]).replace(b"<Size>0</Size>", b"<Size>-1</Size>"),
        list_document(["a"]).replace(b"<Size>0</Size>", "<Size>\u0661</Size>".encode()),
        list_document(["a"]).replace(b"<Size>0</Size>", b"<Size>" + b"9" * 20 + b"</Size>"),
        list_document(["a"]).replace(b"2023-11-14T22:13:20.999Z", b"yesterday"),
        list_document(["a"]).replace(b"<Key>a</Key>", b""),
        list_document(["a"], encode=lambda _: "%FF"),
        b'<!DOCTYPE x [<!ENTITY e "boom">]>' + list_document(["a"]).partition(b"\n")[2],
        '<?xml version="1.0" encoding="utf-16"?><a/>'.encode("utf-16"),
        b'<?xml version="1.0" encoding="cp037"?>' + '<!DOCTYPE x [<!ENTITY e "boom">]><x>&e;</x>'.encode("cp037"),
        b"",
        b"not xml",
    ],
)
def test_unusable_list(body: bytes) -> None:
    """What cannot be a page is an error, never a shorter page."""
    with pytest.raises(BackendError) as caught:
        list_page(body)

    assert caught.value.code == "InternalError"


def test_list_cut_anywhere() -> None:
    """A page is read whole or not at all."""
    body = list_document(["a", "b c"], encode=quote_plus, more="<IsTruncated>false</IsTruncated>")
    assert len(list_page(body).entries) == 2

    for end in range(len(body)):
        with pytest.raises(BackendError):
            list_page(body[:end])
    for junk in (b"x", b"<a/>", b"\0"):
        with pytest.raises(BackendError):
            list_page(body + junk)


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    """Rubbish gives BackendError, and errors are read out of anything."""
    xml.error_fields(body)
    for read in (list_page, xml.bucket_page, xml.upload_page):
        with suppress(BackendError):
            read(body)


def test_times_without_zone_or_fraction() -> None:
    """Times are UTC and cut to whole seconds."""
    assert xml.timestamp("2023-11-14T22:13:20") == xml.timestamp("2023-11-14T22:13:20Z") == 1_700_000_000
    assert xml.timestamp("2023-11-14T23:13:20.5+01:00") == 1_700_000_000


def test_buckets() -> None:
    """Names, times and the next page's token."""
    document = (
        "<ListAllMyBucketsResult><Buckets><Bucket><Name>b</Name><CreationDate>2023-11-14T22:13:20Z</CreationDate></Bucket></Buckets>"
        "<ContinuationToken>t</ContinuationToken></ListAllMyBucketsResult>"
    )

    assert xml.bucket_page(document.encode()) == ([Bucket("b", 1_700_000_000)], "t")
    assert xml.bucket_page(b"<ListAllMyBucketsResult/>") == ([], None)


def test_uploads() -> None:
    """Keys are decoded in the entries and in the marker."""
    item = "<Upload><Key>a+b</Key><UploadId>1+1</UploadId><Initiated>2023-11-14T22:13:20Z</Initiated></Upload>"
    more = "<IsTruncated>true</IsTruncated><NextKeyMarker>a+b</NextKeyMarker><NextUploadIdMarker>1+1</NextUploadIdMarker>"
    document = f"<ListMultipartUploadsResult><EncodingType>url</EncodingType>{more}{item}</ListMultipartUploadsResult>"

    assert xml.upload_page(document.encode()) == ([OpenUpload("a b", "1+1", 1_700_000_000)], ("a b", "1+1"))
    with pytest.raises(BackendError):
        xml.upload_page(b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated></ListMultipartUploadsResult>")


@given(st.lists(st.tuples(XML_KEYS, st.none() | XML_KEYS), max_size=5))
def test_delete_document(targets: list[tuple[str, str | None]]) -> None:
    """Every key that XML can hold is read back as it was, carriage returns included."""
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    root = ElementTree.fromstring(xml.delete_document(targets))

    assert [(item.findtext(f"{space}Key"), item.findtext(f"{space}VersionId")) for item in root] == targets


@given(st.lists(st.tuples(st.integers(1, 10_000), XML_KEYS), max_size=5))
def test_complete_document(parts: list[tuple[int, str]]) -> None:
    """Numbers and quoted ETags, in the order given."""
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    root = ElementTree.fromstring(xml.complete_document(parts))
    read = [(int(item.findtext(f"{space}PartNumber") or 0), item.findtext(f"{space}ETag")) for item in root]

    assert read == [(number, f'"{etag}"') for number, etag in parts]


@given(KEYS)
def test_expressible(key: str) -> None:
    """A key counts as expressible exactly if a document with it is well formed."""
    try:
        ElementTree.fromstring(f"<k>{escape(key)}</k>".encode())
        well_formed = True
    except ElementTree.ParseError:
        well_formed = False

    assert xml.is_expressible(key) == well_formed
