"""Keys that URLs, XML, file systems or S3 clients get wrong."""

from typing import Any
from urllib.parse import quote, unquote

import pytest
from clients.wire import Wire, path_of
from s4_codecs.testing.workloads import WORKLOADS
from servers.behind import Behind
from servers.stores import Store

ZOO = (
    "plain.txt",
    "UPPER and lower",
    "plus+and space",
    "percent%2Fslash%",
    "a//b",
    "/leading",
    "trailing/",
    "../up",
    "dir/./same",
    "dir/../other",
    ".",
    "..",
    "back\\slash",
    "question?mark&amp;#hash",
    "quote\"and'quote",
    "<xml>&]]>",
    "tab\tand\nline",
    "bell\x07delete\x7f",
    "latin-é",
    "decomposed-e\u0301",
    "wide-\uff5e",
    "emoji-\U0001f600",
    "~tilde*star=?utf-8?q?x?=",
    "a",
    "a/b",
    "A",
    "health",
    "k" * 255,
    "long/" + "/".join("s" * 100 for _ in range(10)),
    ".s4",
    ".s4mpu",
    ".s4dictionary/x",
    "x.s4index.gz",
    " ",
    "\u202ertl",
)

# What servers over a file system refuse or merge with another key: there the gateway answers as the server itself does.
NOT_KEPT = {
    "versitygw": {"a//b", "/leading", "trailing/", "../up", "dir/./same", "dir/../other", ".", ".."},
    "minio": {"a//b", "/leading", "../up", "dir/./same", "dir/../other", ".", ".."},
}
# versitygw lists control characters as U+FFFD, even where url-encoding is asked for.
NOT_LISTED = {"versitygw": {"bell\x07delete\x7f"}}


@pytest.mark.parametrize("key", ZOO, ids=ascii)
def test_key(wire: Wire, store: Store, bucket: str, server_name: str, key: str) -> None:
    """Each key can be written, read, listed, copied and deleted under its own name, or is refused just as the store refuses it."""
    path = path_of(bucket, key)
    body = key.encode() * 10
    written = wire.request("PUT", path, body)
    if key in NOT_KEPT.get(server_name, ()):
        found = wire.request("HEAD", path)
        direct = store.wire()
        expected = direct.request("PUT", path, body)
        assert (written.status, written.code) == (expected.status, expected.code)
        assert found.status == direct.request("HEAD", path).status
        return
    assert written.status == 200, written.body
    answer = wire.request("GET", path)
    assert (answer.status, answer.body) == (200, body)
    assert wire.request("GET", path, headers={"range": "bytes=1-3"}).body == body[1:4]
    if key not in NOT_LISTED.get(server_name, ()):
        listed = wire.request("GET", path_of(bucket, "", "encoding-type=url&list-type=2"))
        assert [unquote(name.text or "") for name in listed.xml.iterfind("Contents/Key")] == [key]
        assert [size.text for size in listed.xml.iterfind("Contents/Size")] == [str(len(body))]
    copied = wire.request("PUT", path_of(bucket, "copy"), headers={"x-amz-copy-source": quote(f"{bucket}/{key}", safe="/~")})
    assert copied.status == 200, copied.body
    assert wire.request("GET", path_of(bucket, "copy")).body == body
    assert wire.request("DELETE", path).status == 204
    assert wire.request("HEAD", path).status == 404


@pytest.mark.servers("embedded")
def test_the_whole_zoo_together(wire: Wire, behind: Behind, bucket: str) -> None:
    """No key of the zoo is taken for another."""
    for key in ZOO:
        assert wire.request("PUT", path_of(bucket, key), key.encode()).status == 200
    assert behind.keys(bucket) == sorted(ZOO, key=str.encode)
    for key in ZOO:
        assert wire.request("GET", path_of(bucket, key)).body == key.encode()


@pytest.mark.parametrize("key", ["a%2Fb\\ c+d", "ünï/\U0001f600", "tab\tx", "<&>"], ids=ascii)
def test_multipart_under_an_odd_key(s3: Any, bucket: str, key: str) -> None:
    """Uploads, their records and their sidecars carry the key through every step."""
    body = WORKLOADS["log"](6 * 2**20)
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    parts = []
    for number, piece in enumerate((body, b"rest"), 1):
        part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=piece)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    assert s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["Key"] == key
    assert s3.list_parts(Bucket=bucket, Key=key, UploadId=upload)["Key"] == key
    done = s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
    assert done["Key"] == key
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body + b"rest"


def test_longest_key(wire: Wire, bucket: str, server_name: str) -> None:
    """1,024 bytes are a key, on servers over a file system as far as it holds them; 1,025 are KeyTooLongError."""
    answer = wire.request("PUT", path_of(bucket, "k/" * 511 + "kk"), b"x")
    assert answer.status == 200, answer.body
    answer = wire.request("PUT", path_of(bucket, "k" * 1025), b"x")
    assert (answer.status, answer.code) == (400, "KeyTooLongError")


@pytest.mark.parametrize("path", ["/%ff", "/%C3%28", "/%ED%A0%80"])
def test_keys_that_are_not_utf8(wire: Wire, bucket: str, path: str) -> None:
    """A path that is not UTF-8 is a client error."""
    answer = wire.request("PUT", f"/{bucket}{path}", b"x")
    assert (answer.status, answer.code) == (400, "InvalidURI")


@pytest.mark.parametrize("key", ["x.s4index", ".s4mpu/anything", ".s4dict/0123456789abcdef"])
def test_reserved_keys(wire: Wire, s3: Any, behind: Behind, bucket: str, key: str) -> None:
    """Our own names are absent to readers and refused to writers, whatever the operation."""
    s3.put_object(Bucket=bucket, Key="x", Body=b"body")
    path, source = path_of(bucket, key), {"x-amz-copy-source": quote(f"{bucket}/{key}")}
    refused = [
        wire.request("PUT", path, b"x"),
        wire.request("DELETE", path),
        wire.request("PUT", path, headers={"x-amz-copy-source": f"{bucket}/x"}),
        wire.request("POST", f"{path}?uploads="),
        wire.request("PUT", f"{path}?partNumber=1&uploadId=abc", b"x"),
        wire.request("DELETE", f"{path}?uploadId=abc"),
    ]
    assert [(answer.status, answer.code) for answer in refused] == [(400, "InvalidObjectName")] * len(refused)
    absent = [
        wire.request("GET", path),
        wire.request("PUT", path_of(bucket, "y"), headers=source),
        wire.request("GET", f"{path}?attributes="),
    ]
    assert [(answer.status, answer.code) for answer in absent[:2]] == [(404, "NoSuchKey")] * 2
    assert wire.request("HEAD", path).status == 404
    assert behind.keys(bucket) == ["x"]
