"""XML documents that clients send."""

from s4_gateway.backend.s3.xml import complete_document, delete_document, is_expressible
from s4_gateway.wire.xml_read import MAX_DELETE_TARGETS, parse_complete, parse_create_bucket, parse_delete

from fuzzing.target import Target, require


def check_complete(data: bytes) -> None:
    """The parts of a document are those of the same document written anew."""
    parts = parse_complete(data)
    require(0 < len(parts) <= 10_000, "the number of parts is bounded")
    again = parse_complete(complete_document((part.number, part.etag) for part in parts))
    require([(part.number, part.etag) for part in again] == [(part.number, part.etag) for part in parts], "parts survive being written")


def check_delete(data: bytes) -> None:
    """The targets of a document are those of the same document written anew."""
    asked = parse_delete(data)
    require(0 < len(asked.targets) <= MAX_DELETE_TARGETS, "the number of targets is bounded")
    require(all(map(is_expressible, (key for key, _ in asked.targets))), "a key out of XML can be written into XML")
    require(parse_delete(delete_document(asked.targets)).targets == list(asked.targets), "targets survive being written")


def check_create(data: bytes) -> None:
    """A location is text or nothing."""
    require(parse_create_bucket(data) != "", "a location is text or nothing")


PARSERS = (check_complete, check_delete, check_create)


def check_document(data: bytes) -> None:
    """The first byte chooses the kind."""
    if data:
        PARSERS[data[0] % len(PARSERS)](data[1:])


_SPACE = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'

TARGETS = (
    Target(
        "documents",
        check_document,
        modules=("s4_gateway.wire.xml_read",),
        seeds=(
            b"\x00<CompleteMultipartUpload %s><Part><PartNumber>1</PartNumber><ETag>&quot;a&quot;</ETag></Part></CompleteMultipartUpload>"
            % _SPACE,
            (
                b"\x00<CompleteMultipartUpload><Part><ETag>b</ETag><ChecksumSHA1>AA</ChecksumSHA1><PartNumber>2 </PartNumber></Part>"
                b"</CompleteMultipartUpload>"
            ),
            b'\x01<?xml version="1.0" encoding="UTF-8"?><Delete %s><Quiet>true</Quiet><Object><Key>a&#13;&lt;b</Key></Object>'
            b"<Object><Key>c</Key><VersionId>v</VersionId></Object></Delete>" % _SPACE,
            b"\x02<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>",
            b'\x01<!DOCTYPE x [<!ENTITY e "eee">]><Delete><Object><Key>&e;</Key></Object></Delete>',
        ),
        words=(
            *(
                b"<Part>",
                b"</Part>",
                b"<PartNumber>",
                b"<ETag>",
                b"<Object>",
                b"</Object>",
                b"<Key>",
                b"</Key>",
                b"<VersionId>",
                b"<Quiet>",
            ),
            *(
                b"<!DOCTYPE",
                b"<!ENTITY",
                b"<![CDATA[",
                b"]]>",
                b"<!--",
                b"-->",
                b"<?xml",
                b"&#",
                b"&amp;",
                b"xmlns:a=",
                b"\xff\xfe",
                b"\xef\xbb\xbf",
            ),
        ),
        codes=frozenset({"MalformedXML", "NotImplemented"}),
        max_bytes=16 * 1024,
    ),
)
