"""Documents of answers: exact text, and what botocore's parsers make of it."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, unquote_plus
from xml.etree import ElementTree as ET

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from s4_gateway.errors import S3Error
from s4_gateway.operations.results import (
    AttributePart,
    BucketList,
    BucketRow,
    CompletedUpload,
    CopyDone,
    DeleteDone,
    DeletedRow,
    DeleteFailure,
    Location,
    ObjectAttributesResult,
    ObjectList,
    ObjectParts,
    ObjectRow,
    PartList,
    PartRow,
    UploadCreated,
    UploadList,
    UploadRow,
)
from s4_gateway.wire.response import respond, respond_error
from s4_gateway.wire.xml_write import Document, escape, render, url_encode

from .helpers import BotoClient, Sender, parse

WHEN = 1_255_369_830
SHOWN = "2009-10-12T17:50:30.000Z"
TIME = datetime(2009, 10, 12, 17, 50, 30, tzinfo=UTC)
NS = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
OWNER = {"ID": "me", "DisplayName": "me"}
KEY = "a b/<&>\"'é\u2028\U0001f600\r\n\t+%"
SUMS = {"crc32": "AAAAAA==", "sha256": "s="}


def objects(**changes: Any) -> ObjectList:
    """A version 2 listing."""
    fields: dict[str, Any] = {
        "bucket": "bkt",
        "prefix": "",
        "delimiter": "",
        "max_keys": 1000,
        "truncated": False,
        "rows": (),
        "prefixes": (),
        "url_encoded": False,
        "version": 2,
    }
    return ObjectList(**(fields | changes))


TEXTS: list[tuple[Document, str]] = [
    (
        BucketList([BucketRow("bkt", WHEN, "eu-west-1")], "me", prefix="b", token="t"),
        (
            f"<ListAllMyBucketsResult{NS}><Owner><ID>me</ID><DisplayName>me</DisplayName></Owner><Buckets><Bucket><Name>bkt</Name>"
            f"<CreationDate>{SHOWN}</CreationDate><BucketRegion>eu-west-1</BucketRegion></Bucket></Buckets>"
            "<ContinuationToken>t</ContinuationToken><Prefix>b</Prefix></ListAllMyBucketsResult>"
        ),
    ),
    (Location("us-east-1"), f"<LocationConstraint{NS}/>"),
    (Location("eu-west-1"), f"<LocationConstraint{NS}>eu-west-1</LocationConstraint>"),
    (
        objects(
            version=1,
            marker="a",
            next_marker="c",
            delimiter="/",
            truncated=True,
            rows=[ObjectRow("b", 3, "e", WHEN)],
            prefixes=["c/"],
            owner="me",
        ),
        (
            f"<ListBucketResult{NS}><Name>bkt</Name><Prefix></Prefix><Marker>a</Marker><NextMarker>c</NextMarker><MaxKeys>1000</MaxKeys>"
            f"<Delimiter>/</Delimiter><IsTruncated>true</IsTruncated><Contents><Key>b</Key><LastModified>{SHOWN}</LastModified>"
            "<ETag>&quot;e&quot;</ETag><Size>3</Size><Owner><ID>me</ID><DisplayName>me</DisplayName></Owner><StorageClass>STANDARD</StorageClass>"
            "</Contents><CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes></ListBucketResult>"
        ),
    ),
    (
        objects(
            token="t",
            next_token="n",
            start_after="s t",
            prefix="p q",
            url_encoded=True,
            rows=[ObjectRow("p q/+", 0, None, WHEN, "GLACIER", ("CRC32",), "FULL_OBJECT")],
        ),
        (
            f"<ListBucketResult{NS}><Name>bkt</Name><Prefix>p%20q</Prefix><ContinuationToken>t</ContinuationToken>"
            "<NextContinuationToken>n</NextContinuationToken><StartAfter>s%20t</StartAfter><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys>"
            f"<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated><Contents><Key>p%20q/%2B</Key><LastModified>{SHOWN}</LastModified>"
            "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>0</Size><StorageClass>GLACIER</StorageClass>"
            "</Contents></ListBucketResult>"
        ),
    ),
    (
        CopyDone("e", WHEN, checksums=SUMS, checksum_type="FULL_OBJECT"),
        (
            f"<CopyObjectResult{NS}><LastModified>{SHOWN}</LastModified><ETag>&quot;e&quot;</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32>"
            "<ChecksumSHA256>s=</ChecksumSHA256><ChecksumType>FULL_OBJECT</ChecksumType></CopyObjectResult>"
        ),
    ),
    (
        CopyDone("e", WHEN, part=True),
        f"<CopyPartResult{NS}><LastModified>{SHOWN}</LastModified><ETag>&quot;e&quot;</ETag></CopyPartResult>",
    ),
    (
        UploadCreated("bkt", "k&", "id"),
        f"<InitiateMultipartUploadResult{NS}><Bucket>bkt</Bucket><Key>k&amp;</Key><UploadId>id</UploadId></InitiateMultipartUploadResult>",
    ),
    (
        DeleteDone(
            [DeletedRow("a", "1", delete_marker=True, marker_version_id="2")], [DeleteFailure("b", "AccessDenied", "no", "3")], quiet=False
        ),
        (
            f"<DeleteResult{NS}><Deleted><Key>a</Key><VersionId>1</VersionId><DeleteMarker>true</DeleteMarker>"
            "<DeleteMarkerVersionId>2</DeleteMarkerVersionId></Deleted><Error><Key>b</Key><VersionId>3</VersionId><Code>AccessDenied</Code>"
            "<Message>no</Message></Error></DeleteResult>"
        ),
    ),
    (ObjectAttributesResult({}), f"<GetObjectAttributesResponse{NS}></GetObjectAttributesResponse>"),
]


@pytest.mark.parametrize(("document", "text"), TEXTS, ids=[f"{type(document).__name__}{i}" for i, (document, _) in enumerate(TEXTS)])
def test_texts(document: Document, text: str) -> None:
    """Each document is S3's, element for element."""
    assert render(document) == text


@pytest.fixture(scope="module")
def boto() -> BotoClient:
    """A client that reads whatever we answer."""
    return BotoClient()


def sent(document: Document) -> Sender:
    """A document as it goes out."""
    sender = Sender()
    asyncio.run(respond(sender, parse(), document, method="GET"))
    return sender


def test_botocore_reads_buckets(boto: BotoClient) -> None:
    """ListBuckets."""
    seen = boto.read("list_buckets", sent(BucketList([BucketRow("bkt", WHEN, "eu-west-1"), BucketRow("two", WHEN)], "me", "b", "t")))
    assert seen == {
        "Buckets": [{"Name": "bkt", "CreationDate": TIME, "BucketRegion": "eu-west-1"}, {"Name": "two", "CreationDate": TIME}],
        "Owner": OWNER,
        "Prefix": "b",
        "ContinuationToken": "t",
    }
    assert boto.read("list_buckets", sent(BucketList([], "me"))) == {"Buckets": [], "Owner": OWNER}


@pytest.mark.parametrize(("region", "constraint"), [("us-east-1", None), ("eu-west-1", "eu-west-1")])
def test_botocore_reads_locations(boto: BotoClient, region: str, constraint: str | None) -> None:
    """GetBucketLocation; the oldest region has no name there."""
    assert boto.read("get_bucket_location", sent(Location(region)), Bucket="bkt") == {"LocationConstraint": constraint}


def test_botocore_reads_version_1_listings(boto: BotoClient) -> None:
    """ListObjects."""
    listing = objects(
        version=1,
        prefix=KEY,
        delimiter="é",
        marker=KEY,
        next_marker=KEY,
        max_keys=2,
        truncated=True,
        url_encoded=True,
        owner="me",
        rows=[ObjectRow(KEY, 2**40, "e", WHEN, "STANDARD", ("CRC64NVME", "SHA1"), "FULL_OBJECT")],
        prefixes=[KEY],
    )
    assert boto.read("list_objects", sent(listing), Bucket="bkt") == {
        "Name": "bkt",
        "Prefix": url_encode(KEY),  # botocore leaves this one to its caller
        "Delimiter": "é",
        "Marker": KEY,
        "NextMarker": KEY,
        "MaxKeys": 2,
        "IsTruncated": True,
        "EncodingType": "url",
        "Contents": [
            {
                "Key": KEY,
                "LastModified": TIME,
                "ETag": '"e"',
                "ChecksumAlgorithm": ["CRC64NVME", "SHA1"],
                "ChecksumType": "FULL_OBJECT",
                "Size": 2**40,
                "StorageClass": "STANDARD",
                "Owner": OWNER,
            }
        ],
        "CommonPrefixes": [{"Prefix": KEY}],
    }


def test_version_1_gives_next_marker_only_with_a_delimiter() -> None:
    """Without one, clients go on behind the last key; S3 leaves the element out."""
    assert "NextMarker" not in render(objects(version=1, next_marker="k", truncated=True))
    assert "<NextMarker>k</NextMarker>" in render(objects(version=1, next_marker="k", truncated=True, delimiter="/"))


def test_botocore_reads_version_2_listings(boto: BotoClient) -> None:
    """ListObjectsV2; KeyCount counts keys and prefixes."""
    listing = objects(
        prefix=KEY,
        delimiter="/",
        token="t",
        next_token="n",
        start_after=KEY,
        truncated=True,
        url_encoded=True,
        rows=[ObjectRow(KEY, 0, None, WHEN)],
        prefixes=["a/", KEY],
    )
    assert boto.read("list_objects_v2", sent(listing), Bucket="bkt") == {
        "Name": "bkt",
        "Prefix": KEY,
        "Delimiter": "/",
        "ContinuationToken": "t",
        "NextContinuationToken": "n",
        "StartAfter": KEY,
        "KeyCount": 3,
        "MaxKeys": 1000,
        "IsTruncated": True,
        "EncodingType": "url",
        "Contents": [{"Key": KEY, "LastModified": TIME, "Size": 0, "StorageClass": "STANDARD"}],
        "CommonPrefixes": [{"Prefix": "a/"}, {"Prefix": KEY}],
    }


def test_botocore_reads_copies(boto: BotoClient) -> None:
    """CopyObject and UploadPartCopy."""
    sums = {"ChecksumCRC32": "AAAAAA==", "ChecksumSHA256": "s="}
    done = CopyDone("e", WHEN, checksums=SUMS, checksum_type="FULL_OBJECT", headers={"x-amz-version-id": "v"})
    seen = boto.read("copy_object", sent(done), Bucket="bkt", Key="k", CopySource="bkt/l")
    assert seen == {"VersionId": "v", "CopyObjectResult": {"ETag": '"e"', "LastModified": TIME, "ChecksumType": "FULL_OBJECT", **sums}}
    done = CopyDone("e", WHEN, part=True, checksums=SUMS, headers={"x-amz-copy-source-version-id": "s"})
    seen = boto.read("upload_part_copy", sent(done), Bucket="bkt", Key="k", CopySource="bkt/l", UploadId="u", PartNumber=1)
    assert seen == {"CopySourceVersionId": "s", "CopyPartResult": {"ETag": '"e"', "LastModified": TIME, **sums}}


def test_botocore_reads_uploads(boto: BotoClient) -> None:
    """CreateMultipartUpload and CompleteMultipartUpload."""
    created = UploadCreated("bkt", KEY.replace("\r", ""), "id/+", headers={"x-amz-checksum-algorithm": "CRC32"})
    assert boto.read("create_multipart_upload", sent(created), Bucket="bkt", Key="k") == {
        "Bucket": "bkt",
        "Key": KEY.replace("\r", ""),
        "UploadId": "id/+",
        "ChecksumAlgorithm": "CRC32",
    }
    completed = CompletedUpload("bkt", KEY, "e-2", "http://h/bkt/k?x&y", SUMS, "COMPOSITE", {"x-amz-version-id": "v"})
    assert boto.read("complete_multipart_upload", sent(completed), Bucket="bkt", Key="k", UploadId="u") == {
        "Bucket": "bkt",
        "Key": KEY,
        "ETag": '"e-2"',
        "Location": "http://h/bkt/k?x&y",
        "ChecksumCRC32": "AAAAAA==",
        "ChecksumSHA256": "s=",
        "ChecksumType": "COMPOSITE",
        "VersionId": "v",
    }


def test_botocore_reads_parts(boto: BotoClient) -> None:
    """ListParts; a part without validator has no ETag element."""
    rows = [PartRow(1, 5, "e", WHEN, SUMS), PartRow(10_000, 0, None, WHEN)]
    parts = PartList("bkt", KEY, "u", 0, 10_000, 2, True, rows, "me", "crc32", "FULL_OBJECT")
    assert boto.read("list_parts", sent(parts), Bucket="bkt", Key="k", UploadId="u") == {
        "Bucket": "bkt",
        "Key": KEY,
        "UploadId": "u",
        "PartNumberMarker": 0,
        "NextPartNumberMarker": 10_000,
        "MaxParts": 2,
        "IsTruncated": True,
        "Parts": [
            {"PartNumber": 1, "LastModified": TIME, "ETag": '"e"', "Size": 5, "ChecksumCRC32": "AAAAAA==", "ChecksumSHA256": "s="},
            {"PartNumber": 10_000, "LastModified": TIME, "Size": 0},
        ],
        "Initiator": OWNER,
        "Owner": OWNER,
        "StorageClass": "STANDARD",
        "ChecksumAlgorithm": "CRC32",
        "ChecksumType": "FULL_OBJECT",
    }


def test_botocore_reads_open_uploads(boto: BotoClient) -> None:
    """ListMultipartUploads; botocore leaves its names encoded."""
    rows = [UploadRow(KEY, "u1", WHEN, "sha1", "COMPOSITE"), UploadRow("k", "u2", WHEN)]
    uploads = UploadList("bkt", KEY, "/", KEY, "u0", KEY, "u2", 2, True, rows, ["p/"], True, "me")
    row = {"Initiated": TIME, "StorageClass": "STANDARD", "Owner": OWNER, "Initiator": OWNER}
    assert boto.read("list_multipart_uploads", sent(uploads), Bucket="bkt", EncodingType="url") == {
        "Bucket": "bkt",
        "KeyMarker": url_encode(KEY),
        "UploadIdMarker": "u0",
        "NextKeyMarker": url_encode(KEY),
        "NextUploadIdMarker": "u2",
        "Prefix": url_encode(KEY),
        "Delimiter": "/",
        "EncodingType": "url",
        "MaxUploads": 2,
        "IsTruncated": True,
        "Uploads": [
            {"Key": url_encode(KEY), "UploadId": "u1", "ChecksumAlgorithm": "SHA1", "ChecksumType": "COMPOSITE", **row},
            {"Key": "k", "UploadId": "u2", **row},
        ],
        "CommonPrefixes": [{"Prefix": "p/"}],
    }


def test_botocore_reads_deletes(boto: BotoClient) -> None:
    """DeleteObjects; quiet shows failures only."""
    deleted = [DeletedRow("a", "1"), DeletedRow("m", delete_marker=True, marker_version_id="2")]
    failures = [DeleteFailure("b", "AccessDenied", "no & never", "3")]
    arguments: dict[str, Any] = {"Bucket": "bkt", "Delete": {"Objects": [{"Key": "a"}]}}
    errors = [{"Key": "b", "VersionId": "3", "Code": "AccessDenied", "Message": "no & never"}]
    assert boto.read("delete_objects", sent(DeleteDone(deleted, failures, quiet=False)), **arguments) == {
        "Deleted": [{"Key": "a", "VersionId": "1"}, {"Key": "m", "DeleteMarker": True, "DeleteMarkerVersionId": "2"}],
        "Errors": errors,
    }
    assert boto.read("delete_objects", sent(DeleteDone(deleted, failures, quiet=True)), **arguments) == {"Errors": errors}


def test_botocore_reads_attributes(boto: BotoClient) -> None:
    """GetObjectAttributes; its ETag has no quotes."""
    parts = ObjectParts(2, 0, 2, 1000, False, [AttributePart(1, 5, {"crc32": "AAAAAA=="}), AttributePart(2, 1)])
    result = ObjectAttributesResult(
        {"x-amz-version-id": "v", "last-modified": "Mon, 12 Oct 2009 17:50:30 GMT"}, "e-2", SUMS, "COMPOSITE", 6, "STANDARD", parts
    )
    assert boto.read("get_object_attributes", sent(result), Bucket="bkt", Key="k", ObjectAttributes=["ETag"]) == {
        "LastModified": TIME,
        "VersionId": "v",
        "ETag": "e-2",
        "Checksum": {"ChecksumCRC32": "AAAAAA==", "ChecksumSHA256": "s=", "ChecksumType": "COMPOSITE"},
        "ObjectParts": {
            "TotalPartsCount": 2,
            "PartNumberMarker": 0,
            "NextPartNumberMarker": 2,
            "MaxParts": 1000,
            "IsTruncated": False,
            "Parts": [{"PartNumber": 1, "Size": 5, "ChecksumCRC32": "AAAAAA=="}, {"PartNumber": 2, "Size": 1}],
        },
        "StorageClass": "STANDARD",
        "ObjectSize": 6,
    }


def test_botocore_reads_errors(boto: BotoClient) -> None:
    """Code, message, fields, status and request id of an error."""
    sender = Sender()
    error = S3Error("NoSuchBucket", "gone & <forgotten>", fields={"BucketName": "bkt"})
    asyncio.run(respond_error(sender, error, request_id="0123456789ABCDEF", resource=KEY, method="GET"))
    with pytest.raises(ClientError) as caught:
        boto.read("list_objects_v2", sender, Bucket="bkt")
    response = caught.value.response
    assert response["Error"] == {"Code": "NoSuchBucket", "Message": "gone & <forgotten>", "BucketName": "bkt", "Resource": KEY}
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert response["ResponseMetadata"]["RequestId"] == "0123456789ABCDEF"


LEGAL = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.sampled_from("\t\n\r\x7f\x85"))


@given(LEGAL)
def test_legal_text_survives_a_parser(text: str) -> None:
    """Whatever XML 1.0 can hold comes back as it was, carriage returns included."""
    assert (ET.fromstring(f"<a>{escape(text)}</a>").text or "") == text


@pytest.mark.parametrize(
    ("text", "written"),
    [("\x00", "&#x0;"), ("\x01", "&#x1;"), ("\x1f", "&#x1F;"), ("\r", "&#xD;"), ("\uffff", "&#xFFFF;"), ("a\x0bb", "a&#xB;b")],
)
def test_illegal_text_becomes_references(text: str, written: str) -> None:
    """What XML 1.0 cannot hold is written as S3 writes it; clients ask for encoding-type=url."""
    assert escape(text) == written


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_url_encoding_is_read_alike_by_all(text: str) -> None:
    """Any key is plain ASCII, safe in XML, and the same for clients that read `+` as a space and those that do not."""
    encoded = url_encode(text)
    assert encoded.isascii()
    assert escape(encoded) == encoded
    assert unquote(encoded) == unquote_plus(encoded) == text
    assert encoded.count("/") == text.count("/")


@settings(max_examples=30)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=5))
def test_any_listing_is_read_as_it_was(boto: BotoClient, keys: list[str]) -> None:
    """Keys of any characters survive a listing that botocore asks for."""
    listing = objects(rows=[ObjectRow(key, 0, "e", WHEN) for key in keys], prefixes=keys, url_encoded=True)
    seen = boto.read("list_objects_v2", sent(listing), Bucket="bkt")
    assert [row["Key"] for row in seen.get("Contents", [])] == keys
    assert [row["Prefix"] for row in seen.get("CommonPrefixes", [])] == keys
