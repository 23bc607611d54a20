"""s4fs and the gateway over one store: each reads what the other writes, shows the same of it, and neither is taken for the other."""

import base64
import hashlib
import random
from typing import Any

import pytest
from clients.filesystems import filesystem, target_options
from clients.multipart import MIB, put_parts
from golden import Golden, goldens, with_outcome
from s4_codecs import crc64nvme
from s4_codecs.testing.workloads import WORKLOADS
from s4fs import EncryptedObjectError, GatewayEndpointError, S4FileSystem, UnreadableObjectError
from servers.behind import Behind
from servers.gateways import Gateway
from servers.stores import Store
from test_golden import put

pytestmark = pytest.mark.servers("versitygw", "minio")

LOG, NOISE = WORKLOADS["log"](24 * MIB), WORKLOADS["noise"](12 * MIB)
BODIES = {
    "empty": b"",
    "one frame": LOG[:200_000],
    "frames": LOG[: 7 * MIB],
    "in parts": NOISE,
    "large": LOG,
    "bare": NOISE[:100_000],
    "half and half": LOG[: 6 * MIB] + NOISE[: 6 * MIB],
}
RANGES = [(0, 10), (1000, 70_000), (MIB - 5, MIB + 5), (-100, None)]


@pytest.fixture
def fs(store: Store) -> S4FileSystem:
    """The store past the gateway."""
    return filesystem(store)


def test_gateway_shows_what_s4fs_writes(s3: Any, bucket: str, fs: S4FileSystem) -> None:
    """Size, ETag, checksum, type and every byte of what s4fs wrote are the gateway's too, in HEAD, GET, ranges and listings."""
    for key, body in BODIES.items():
        fs.pipe_file(f"{bucket}/piped {key}.log", body, ContentType="text/x-log")
        with fs.open(f"{bucket}/streamed {key}.log", "wb", ContentType="text/x-log") as file:
            for start in range(0, len(body), MIB):
                file.write(body[start : start + MIB])
    listed = {entry["Key"]: (entry["Size"], entry["ETag"]) for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert len(listed) == 2 * len(BODIES)
    for key, (size, etag) in listed.items():
        body = BODIES[key.partition(" ")[2].removesuffix(".log")]
        assert (key, size, etag) == (key, len(body), f'"{hashlib.md5(body).hexdigest()}"')
        head = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        assert (head["ContentLength"], head["ETag"], head["ContentType"]) == (size, etag, "text/x-log")
        assert head["ChecksumCRC64NVME"] == base64.b64encode(crc64nvme(body).to_bytes(8, "big")).decode()
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body
        if len(body) > 2 * MIB:
            ranged = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={MIB}-{MIB + 999}")
            assert ranged["Body"].read() == body[MIB : MIB + 1000]


def test_s4fs_shows_what_the_gateway_writes(s3: Any, bucket: str, fs: S4FileSystem) -> None:
    """Objects of the gateway, of one PUT and of parts, have the gateway's size and ETag in s4fs, and every byte."""
    bodies = dict(BODIES)
    for key, body in BODIES.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    for key, pieces in {"parts": [LOG[: 5 * MIB], NOISE[: 6 * MIB], b"tail"], "one part": [b"x"]}.items():
        put_parts(s3, bucket, key, pieces)
        bodies[key] = b"".join(pieces)
    rows = {row["name"]: row for row in fs.ls(bucket)}
    assert sorted(rows) == sorted(f"{bucket}/{key}" for key in bodies)
    for key, body in bodies.items():
        path = f"{bucket}/{key}"
        assert (key, rows[path]["size"]) == (key, len(body))
        assert rows[path]["ETag"] == s3.head_object(Bucket=bucket, Key=key)["ETag"]
        assert fs.cat_file(path) == body
        for start, stop in RANGES:
            assert fs.cat_file(path, start, stop) == body[start:stop]


def test_either_may_copy_replace_and_delete(s3: Any, bucket: str, behind: Behind, fs: S4FileSystem) -> None:
    """Copies and deletions by either leave what the other reads, and nothing that neither does."""
    fs.pipe_file(f"{bucket}/ours", LOG)
    s3.put_object(Bucket=bucket, Key="theirs", Body=LOG)
    s3.copy_object(Bucket=bucket, Key="copied by them", CopySource={"Bucket": bucket, "Key": "ours"})
    fs.cp_file(f"{bucket}/theirs", f"{bucket}/copied by us")
    for key in ("ours", "theirs", "copied by them", "copied by us"):
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == fs.cat_file(f"{bucket}/{key}") == LOG
    s3.put_object(Bucket=bucket, Key="ours", Body=NOISE)
    assert fs.cat_file(f"{bucket}/ours", MIB, MIB + 10) == NOISE[MIB : MIB + 10]
    fs.pipe_file(f"{bucket}/theirs", b"replaced")
    assert s3.get_object(Bucket=bucket, Key="theirs")["Body"].read() == b"replaced"
    s3.delete_object(Bucket=bucket, Key="ours")
    fs.rm([f"{bucket}/theirs", f"{bucket}/copied by them"])
    fs.rm(f"{bucket}/copied by us")
    assert behind.keys(bucket) == []


def test_gateway_is_not_written_through(gateway: Gateway, bucket: str, s3: Any) -> None:
    """A gateway's endpoint is read as it is, and refused before the first write: bodies would come back as frames."""
    s3.put_object(Bucket=bucket, Key="object", Body=LOG[:MIB])
    options = {"endpoint_url": gateway.endpoint, "key": gateway.access_key, "secret": gateway.secret_key}
    through = S4FileSystem(target_options=options, write_enabled=True, skip_instance_cache=True)
    assert through.cat_file(f"{bucket}/object", 10, 1000) == LOG[10:1000]
    with pytest.raises(GatewayEndpointError, match="gateway"):
        through.pipe_file(f"{bucket}/x", b"x")
    with pytest.raises(GatewayEndpointError, match="gateway"):
        through.open(f"{bucket}/x", "wb")
    with pytest.raises(GatewayEndpointError, match="gateway"):
        through.rm(f"{bucket}/object")
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["object"]


@pytest.mark.parametrize("golden", with_outcome("plain"), ids=lambda golden: golden.id)
def test_objects_of_the_reference(behind: Behind, bucket: str, fs: S4FileSystem, golden: Golden) -> None:
    """Every body that the reference wrote is read: size, every byte, and ranges."""
    put(behind, bucket, golden, sidecar=True)
    path = f"{bucket}/golden"
    body = fs.cat_file(path)
    assert (fs.info(path)["size"], len(body), hashlib.sha256(body).hexdigest()) == (golden.size, golden.size, golden.sha256)
    generator = random.Random(golden.id)
    for _ in range(10 if body else 0):
        start = generator.randrange(len(body))
        stop = start + generator.choice((1, 50, 5000, 2_000_000))
        assert fs.cat_file(path, start, stop) == body[start:stop]


@pytest.mark.parametrize("golden", [golden for golden in goldens() if golden.outcome != "plain"], ids=lambda golden: golden.id)
def test_what_cannot_be_decoded(behind: Behind, bucket: str, fs: S4FileSystem, golden: Golden) -> None:
    """An encrypted object, or one of a codec that is not there, is an error that says so; never bytes of what is stored."""
    put(behind, bucket, golden)
    expected = EncryptedObjectError if golden.outcome == "encrypted" else UnreadableObjectError
    with pytest.raises(expected):
        fs.cat_file(f"{bucket}/golden")


def test_secrets_are_not_told(store: Store) -> None:
    """The secret key is in no error and in no representation of the file system."""
    fs = filesystem(store)
    with pytest.raises(FileNotFoundError) as caught:
        fs.cat_file("no-such-bucket-here/object")
    assert target_options(store)["secret"] not in f"{caught.value!r} {fs!r} {fs.fs!r}"
