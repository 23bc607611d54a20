"""Documents that clients send."""

import re
from typing import Any

import pytest
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.errors import S3Error
from s4_gateway.wire.xml_read import DeleteRequest, PartChoice, parse_complete, parse_create_bucket, parse_delete

from .helpers import MODEL

# What XML 1.0 can hold; a parser turns carriage returns into line feeds, so botocore sends them as references.
XML_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), min_size=1, max_size=30)
COMPLETE = b"""<?xml version="1.0" encoding="UTF-8"?>
<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Part>
    <ETag>"a54357aff0632cce46d942af68356b38"</ETag>
    <ChecksumCRC32>AAAAAA==</ChecksumCRC32>
    <PartNumber>1</PartNumber>
  </Part>
  <Part>
    <PartNumber> 2 </PartNumber>
    <ETag>&quot;0c78aef83f66abc1fa1e8477f296d394&quot;</ETag>
  </Part>
  <Part><PartNumber>10001</PartNumber><ETag>unquoted</ETag><Colour>red</Colour></Part>
</CompleteMultipartUpload>"""
DELETE = (
    b"<Delete><Quiet>true</Quiet><Object><Key>a &amp; b</Key></Object>"
    b"<Object><VersionId>null</VersionId><Key>&#128512;/\xc3\xa9\n</Key></Object></Delete>"
)
CREATE = b'<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>'


def serialized(operation: str, **arguments: Any) -> bytes:
    """The body that botocore sends."""
    body = create_serializer("rest-xml").serialize_to_request(arguments, MODEL.operation_model(operation))["body"]
    assert isinstance(body, bytes)
    return body


def refusal(parser: Any, xml: bytes) -> str:
    """The code that this document is refused with."""
    with pytest.raises(S3Error) as caught:
        parser(xml)
    return caught.value.code


def test_complete() -> None:
    """Numbers, unquoted ETags and checksums in the order sent; unknown elements do not matter."""
    assert parse_complete(COMPLETE) == [
        PartChoice(1, "a54357aff0632cce46d942af68356b38", {"crc32": "AAAAAA=="}),
        PartChoice(2, "0c78aef83f66abc1fa1e8477f296d394"),
        PartChoice(10001, "unquoted"),
    ]


@pytest.mark.parametrize("namespace", ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', ' xmlns="urn:other"'])
def test_namespaces_do_not_matter(namespace: str) -> None:
    """Clients send S3's namespace, none, or a prefix for it."""
    xml = f"<Delete{namespace}><Object><Key>k</Key></Object></Delete>".encode()
    assert parse_delete(xml) == DeleteRequest(quiet=False, targets=[("k", None)])
    prefixed = b'<s:Delete xmlns:s="http://s3.amazonaws.com/doc/2006-03-01/"><s:Object><s:Key>k</s:Key></s:Object></s:Delete>'
    assert parse_delete(prefixed) == DeleteRequest(quiet=False, targets=[("k", None)])


def test_delete() -> None:
    """Keys with references, line feeds and characters outside the basic plane arrive as they were meant."""
    assert parse_delete(DELETE) == DeleteRequest(quiet=True, targets=[("a & b", None), ("\U0001f600/é\n", "null")])


def test_create_bucket() -> None:
    """The location constraint, if there is one."""
    assert parse_create_bucket(CREATE) == "eu-west-1"
    assert parse_create_bucket(b"") is None
    assert parse_create_bucket(b" \n") is None
    assert parse_create_bucket(b"<CreateBucketConfiguration/>") is None
    assert parse_create_bucket(b"<CreateBucketConfiguration><LocationConstraint/></CreateBucketConfiguration>") is None


@given(st.lists(st.tuples(st.integers(1, 10_000), st.from_regex(r"[0-9a-f]{32}", fullmatch=True)), min_size=1, max_size=5))
def test_what_botocore_completes_is_read(parts: list[tuple[int, str]]) -> None:
    """Any manifest that botocore writes comes out as it was."""
    xml = serialized(
        "CompleteMultipartUpload",
        Bucket="b",
        Key="k",
        UploadId="u",
        MultipartUpload={"Parts": [{"PartNumber": n, "ETag": f'"{e}"', "ChecksumSHA256": "c="} for n, e in parts]},
    )
    assert parse_complete(xml) == [PartChoice(number, etag, {"sha256": "c="}) for number, etag in parts]


@given(
    st.lists(st.tuples(XML_TEXT, st.none() | st.from_regex(r"[A-Za-z0-9._-]{1,8}", fullmatch=True)), min_size=1, max_size=5), st.booleans()
)
def test_what_botocore_deletes_is_read(targets: list[tuple[str, str | None]], quiet: bool) -> None:
    """Any deletes that botocore writes come out as they were."""
    objects = [{"Key": key} | ({"VersionId": version} if version else {}) for key, version in targets]
    xml = serialized("DeleteObjects", Bucket="b", Delete={"Objects": objects, "Quiet": quiet})
    assert parse_delete(xml) == DeleteRequest(quiet, targets)


@pytest.mark.parametrize(("parser", "xml"), [(parse_complete, COMPLETE), (parse_delete, DELETE), (parse_create_bucket, CREATE)])
def test_truncated_documents_are_refused(parser: Any, xml: bytes) -> None:
    """A document cut anywhere is malformed, never a shorter list."""
    for length in range(1, len(xml)):
        assert refusal(parser, xml[:length]) == "MalformedXML"


@pytest.mark.parametrize(("parser", "xml"), [(parse_complete, COMPLETE), (parse_delete, DELETE), (parse_create_bucket, CREATE)])
def test_trailing_junk_is_refused(parser: Any, xml: bytes) -> None:
    """Only white space and comments may follow the document."""
    for junk in (b"x", b"<Part/>", xml, b"\x00", b"&amp;"):
        assert refusal(parser, xml + junk) == "MalformedXML"
    assert parser(xml + b" \n<!-- the end -->") == parser(xml)


@given(
    st.binary(max_size=60)
    | st.text(st.sampled_from('<>/&;"=PartObjectKeyDelete![CDATA]- \n')).map(lambda text: f"<Delete>{text}</Delete>".encode())
)
def test_no_document_breaks_the_parsers(xml: bytes) -> None:
    """Any bytes are a document or a 400."""
    for parser in (parse_complete, parse_delete, parse_create_bucket):
        code = None
        try:
            parser(xml)
        except S3Error as error:
            code = error.code
        assert code in (None, "MalformedXML", "NotImplemented")


DOCTYPES = [
    b'<!DOCTYPE Delete [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
    b'<!DOCTYPE Delete SYSTEM "file:///etc/passwd">',
    b'<!DOCTYPE Delete [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    b"<!DOCTYPE Delete>",
]


@pytest.mark.parametrize("doctype", DOCTYPES)
def test_document_types_are_refused(doctype: bytes) -> None:
    """No DTD: nothing expands, nothing is fetched."""
    assert refusal(parse_delete, doctype + b"<Delete><Object><Key>k</Key></Object></Delete>") == "MalformedXML"


@pytest.mark.parametrize(
    "xml",
    [
        b"<Delete><Object><Key>&a;</Key></Object></Delete>",
        b"<Delete><Object><Key>&#1;</Key></Object></Delete>",
        b"<Delete><Object><Key>\x01</Key></Object></Delete>",
        b"<Delete><Object><Key>\xff</Key></Object></Delete>",
        b'<?xml version="1.0" encoding="ISO-8859-1"?><Delete><Object><Key>\xe9</Key></Object></Delete>',
        b"<Delete/>",
        b"<Delete><Quiet>true</Quiet></Delete>",
        b"<Delete><Quiet>maybe</Quiet><Object><Key>k</Key></Object></Delete>",
        b"<Delete><Object/></Delete>",
        b"<Delete><Object><Key/></Object></Delete>",
        b"<Delete><Object><VersionId>v</VersionId></Object></Delete>",
        b"<Delete><Object><Key>k</Key><VersionId/></Object></Delete>",
        b"<Delete><Object><Key>k</Key><Key>l</Key></Object></Delete>",
        b"<Remove><Object><Key>k</Key></Object></Remove>",
        b"<Delete>" + b"<a>" * 20 + b"</a>" * 20 + b"<Object><Key>k</Key></Object></Delete>",
    ],
)
def test_malformed_deletes(xml: bytes) -> None:
    """A delete that is not quite clear deletes nothing."""
    assert refusal(parse_delete, xml) == "MalformedXML"


@pytest.mark.parametrize(
    "condition", ["<ETag>e</ETag>", "<Size>1</Size>", "<LastModifiedTime>Sun, 06 Nov 1994 08:49:37 GMT</LastModifiedTime>", "<ETag/>"]
)
def test_conditional_deletes_are_refused(condition: str) -> None:
    """A condition on a delete is not dropped."""
    assert refusal(parse_delete, f"<Delete><Object><Key>k</Key>{condition}</Object></Delete>".encode()) == "NotImplemented"


@pytest.mark.parametrize(
    "part",
    [
        "",
        "<PartNumber>1</PartNumber>",
        "<ETag>e</ETag>",
        "<PartNumber/><ETag>e</ETag>",
        "<PartNumber>one</PartNumber><ETag>e</ETag>",
        "<PartNumber>-1</PartNumber><ETag>e</ETag>",
        "<PartNumber>1_0</PartNumber><ETag>e</ETag>",
        "<PartNumber>\u0661</PartNumber><ETag>e</ETag>",
        "<PartNumber>9999999999</PartNumber><ETag>e</ETag>",
        "<PartNumber>1</PartNumber><PartNumber>2</PartNumber><ETag>e</ETag>",
        "<PartNumber>1</PartNumber><ETag/>",
    ],
)
def test_malformed_parts(part: str) -> None:
    """A part needs one number and one ETag."""
    xml = f"<CompleteMultipartUpload><Part>{part}</Part></CompleteMultipartUpload>".encode()
    assert refusal(parse_complete, xml) == "MalformedXML"


def test_checksums_of_parts_that_cannot_be_checked_are_refused() -> None:
    """A part checksum of an algorithm that is not built is not dropped."""
    part = b"<Part><PartNumber>1</PartNumber><ETag>e</ETag><ChecksumXXHASH3>AAAA</ChecksumXXHASH3></Part>"
    assert refusal(parse_complete, b"<CompleteMultipartUpload>" + part + b"</CompleteMultipartUpload>") == "NotImplemented"


def test_limits() -> None:
    """10,000 parts and 1,000 deletes are the most; one more is refused, none is nothing."""
    part, target = b"<Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>", b"<Object><Key>k</Key></Object>"
    assert len(parse_complete(b"<CompleteMultipartUpload>" + part * 10_000 + b"</CompleteMultipartUpload>")) == 10_000
    assert refusal(parse_complete, b"<CompleteMultipartUpload>" + part * 10_001 + b"</CompleteMultipartUpload>") == "MalformedXML"
    assert refusal(parse_complete, b"<CompleteMultipartUpload/>") == "MalformedXML"
    assert len(parse_delete(b"<Delete>" + target * 1000 + b"</Delete>").targets) == 1000
    assert refusal(parse_delete, b"<Delete>" + target * 1001 + b"</Delete>") == "MalformedXML"


def test_elements_without_end_are_refused() -> None:
    """A body full of elements that mean nothing is given up early."""
    assert refusal(parse_delete, b"<Delete>" + b"<x/>" * 300_000 + b"<Object><Key>k</Key></Object></Delete>") == "MalformedXML"


@pytest.mark.parametrize("element", ["Location", "Bucket", "Tags"])
def test_buckets_of_other_kinds_are_refused(element: str) -> None:
    """Directory buckets and bucket tags are asked for in the document, and do not exist here."""
    xml = f"<CreateBucketConfiguration><{element}><Type>x</Type></{element}></CreateBucketConfiguration>".encode()
    assert refusal(parse_create_bucket, xml) == "NotImplemented"


def test_words_inside_text_are_text() -> None:
    """CDATA and split text are one value; elements inside a key are not part of it."""
    xml = b"<Delete><Object><Key>a<![CDATA[<b>]]>&#99;<x>no</x>d</Key></Object></Delete>"
    assert parse_delete(xml).targets == [("a<b>cd", None)]
    assert re.sub(r"\s", "", parse_complete(COMPLETE)[2].etag) == "unquoted"
