"""What a backend answers: XML pages, errors, and headers of objects."""

from s4_gateway.backend.abc import BackendError
from s4_gateway.backend.s3.headers import for_aiohttp, number, stored_object, wire_headers
from s4_gateway.backend.s3.xml import bucket_page, error_fields, list_page, timestamp, upload_page

from fuzzing.target import Target, require


def check_list(data: bytes) -> None:
    """A page that is cut says how to go on; sizes are no less than nothing."""
    page = list_page(data)
    require(page.token != "" and all(entry.size >= 0 for entry in page.entries), "a page is whole or goes on")


def check_pages(data: bytes) -> None:
    """Buckets and uploads."""
    try:
        _, token = bucket_page(data)
        require(token != "", "a token is text or nothing")
    except BackendError:
        upload_page(data)


def check_error(data: bytes) -> None:
    """An error document never makes reading it an error, and its code is text or nothing."""
    code, message = error_fields(data)
    require(code != "" and message != "", "a field is text or nothing")


def check_time(data: bytes) -> None:
    """Times of XML documents."""
    timestamp(data.decode("utf-8", "replace"))


def check_object(data: bytes) -> None:
    """Headers of GET and HEAD: an object has an ETag and a time, or the answer is of no use; the values go back as they came."""
    lines = [line.partition(b":") for line in data.split(b"\n")]
    headers = wire_headers((name, value) for name, _, value in lines)
    for name in headers:
        number(headers, name)
    found = stored_object("key", headers, size=1)
    require(bool(found.etag), "an object has an ETag")
    texts, narrow = for_aiohttp(found.metadata)
    charset = "latin-1" if narrow else "utf-8"
    require([text.encode(charset) for text in texts.values()] == [text.encode("latin-1") for text in found.metadata.values()], "bytes stay")


PARSERS = (check_list, check_pages, check_error, check_time, check_object)


def check_answer(data: bytes) -> None:
    """The first byte chooses the kind."""
    if data:
        PARSERS[data[0] % len(PARSERS)](data[1:])


TARGETS = (
    Target(
        "answers",
        check_answer,
        modules=("s4_gateway.backend.s3.xml", "s4_gateway.backend.s3.headers"),
        seeds=(
            (
                b'\x00<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>'
                b"<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>a%20b+c</Key><Size>3</Size>"
                b'<ETag>"e"</ETag><LastModified>2013-05-24T00:00:00.000Z</LastModified></Contents>'
                b"<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>"
            ),
            (
                b"\x01<ListAllMyBucketsResult><Buckets><Bucket><Name>b</Name><CreationDate>2013-05-24T00:00:00Z</CreationDate></Bucket></Buckets>"
                b"</ListAllMyBucketsResult>"
            ),
            (
                b"\x01<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><Upload><Key>k</Key>"
                b"<UploadId>u</UploadId><Initiated>2013-05-24T00:00:00Z</Initiated></Upload></ListMultipartUploadsResult>"
            ),
            b"\x02<Error><Code>NoSuchKey</Code><Message>a &lt; b</Message></Error>",
            b"\x032013-05-24T00:00:00.000+02:00",
            b'\x04ETag:"e"\nLast-Modified:Fri, 24 May 2013 00:00:00 GMT\nx-amz-meta-a:\xc3\xa9\nContent-Length:5\nx-amz-version-id:1',
        ),
        words=(
            *(b"<Contents>", b"<Key>", b"<Size>", b"<ETag>", b"<LastModified>", b"<IsTruncated>true</IsTruncated>", b"<Code>", b"</Code>"),
            *(
                b"0001-01-01T00:00:00+23:59",
                b"9999-12-31T23:59:59-23:59",
                b"Last-Modified:",
                b"ETag:",
                b"x-amz-meta-",
                b"&#x1F600;",
                b"%C3",
            ),
        ),
        refusals=(BackendError,),
        max_bytes=16 * 1024,
    ),
)
