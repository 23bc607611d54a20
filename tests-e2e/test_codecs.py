"""Objects come back as they were whatever codecs they are stored with, and rules decide which those are."""

import hashlib
import io
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from clients.multipart import MIB
from conftest import StartGateway
from s4_codecs.testing.workloads import jitter, log, noise, records
from s4_format import CodecId, iter_frames
from servers.behind import Stored
from servers.gateways import Gateway
from servers.stores import Store

pytestmark = pytest.mark.servers("embedded", "versitygw")

NUMBERS = jitter(6 * MIB)
MIXED = log(7 * MIB) + jitter(10 * MIB) + noise(3 * MIB) + records(4 * MIB)
"""Content that changes on the way, so that a trial chooses several codecs."""
SOON = 15.0


def codecs_in(stored: Stored) -> set[CodecId]:
    """The codecs of the frames of a stored body."""
    return {frame.header.codec for frame in iter_frames(stored.body)}


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for something that must come true."""
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def gets_back(s3: Any, bucket: str, key: str, body: bytes) -> None:
    """Size, whole body and ranges of an object are those of `body`."""
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(body)
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body
    for start, stop in ((0, 1), (len(body) // 3, min(len(body) // 3 + 70_000, len(body))), (len(body) - 5, len(body))):
        answer = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}")
        assert answer["Body"].read() == body[start:stop]
        assert answer["ContentRange"] == f"bytes {start}-{stop - 1}/{len(body)}"


@pytest.mark.parametrize(
    ("options", "body", "codecs"),
    [
        (("--codec", "cpu-columnar"), NUMBERS, {CodecId.CPU_COLUMNAR}),
        (("--dispatcher", "trial"), MIXED, {CodecId.CPU_ZSTD, CodecId.CPU_COLUMNAR}),
    ],
    ids=["cpu-columnar", "trial"],
)
def test_objects_come_back(
    fresh_store: Store, start_gateway: StartGateway, bucket_name: str, options: tuple[str, ...], body: bytes, codecs: set[CodecId]
) -> None:
    """PUT, multipart, GET, ranges, copies and listings are the same to clients whatever codecs frames have, also through another gateway
    with other settings.
    """
    gateway = start_gateway(fresh_store, *options)
    s3, etag = gateway.client(), f'"{hashlib.md5(body).hexdigest()}"'
    s3.create_bucket(Bucket=bucket_name)
    assert s3.put_object(Bucket=bucket_name, Key="put", Body=body)["ETag"] == etag
    s3.upload_fileobj(io.BytesIO(body), bucket_name, "parts", Config=TransferConfig(multipart_chunksize=8 * MIB))
    s3.put_object(Bucket=bucket_name, Key="small", Body=body[:50_000])
    s3.copy_object(Bucket=bucket_name, Key="copy", CopySource={"Bucket": bucket_name, "Key": "put"})
    upload = s3.create_multipart_upload(Bucket=bucket_name, Key="part-copy")["UploadId"]
    part = s3.upload_part_copy(
        Bucket=bucket_name, Key="part-copy", UploadId=upload, PartNumber=1, CopySource={"Bucket": bucket_name, "Key": "put"}
    )["CopyPartResult"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket_name, Key="part-copy", UploadId=upload, MultipartUpload=parts)
    sizes = {entry["Key"]: entry["Size"] for entry in s3.list_objects_v2(Bucket=bucket_name)["Contents"]}
    assert sizes == dict.fromkeys(("put", "parts", "copy", "part-copy"), len(body)) | {"small": 50_000}
    for key in ("put", "parts", "copy", "part-copy"):
        gets_back(s3, bucket_name, key, body)
        found = codecs_in(gateway.behind.get(bucket_name, key))
        assert found <= codecs | {CodecId.PASSTHROUGH}
        assert key == "parts" or found >= codecs
    gets_back(s3, bucket_name, "small", body[:50_000])
    gateway.process.stop()
    other = start_gateway(fresh_store, "--codec", "cpu-gzip").client()
    gets_back(other, bucket_name, "put", body)
    gets_back(other, bucket_name, "parts", body)


RULES = """
[rules."{bucket}/plain/"]
force = "passthrough"
[rules."{bucket}/gzip/"]
force = "cpu-gzip"
"""


def stored_codec(gateway: Gateway, bucket: str, key: str) -> str:
    """What the metadata of a new object say."""
    gateway.client().put_object(Bucket=bucket, Key=key, Body=b"one line of text\n" * 1000)
    return gateway.behind.get(bucket, key).metadata["s4-codec"]


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one", "workers"])
def test_rules(fresh_store: Store, start_gateway: StartGateway, bucket_name: str, tmp_path: Path, workers: tuple[str, ...]) -> None:
    """Objects under a rule's prefix are stored as it says, single and multipart; SIGHUP has the file read again, and a bad one changes
    nothing.
    """
    file = tmp_path / "rules.toml"
    file.write_text(RULES.format(bucket=bucket_name))
    gateway = start_gateway(fresh_store, "--dispatch-rules", str(file), *workers)
    s3 = gateway.client()
    s3.create_bucket(Bucket=bucket_name)
    keys = ("plain/a", "gzip/a", "else", "plai")
    assert [stored_codec(gateway, bucket_name, key) for key in keys] == ["passthrough", "cpu-gzip", "cpu-zstd", "cpu-zstd"]
    s3.upload_fileobj(io.BytesIO(log(9 * MIB)), bucket_name, "plain/parts", Config=TransferConfig(multipart_chunksize=8 * MIB))
    assert codecs_in(gateway.behind.get(bucket_name, "plain/parts")) == {CodecId.PASSTHROUGH}
    gets_back(s3, bucket_name, "plain/parts", log(9 * MIB))

    reloads = "s4_gateway_dispatch_rules_reloads_total"
    count = len(gateway.workers()) if workers else 1
    file.write_text(f'[rules."{bucket_name}/"]\nforce = "cpu-gzip"\n')
    gateway.process.process.send_signal(signal.SIGHUP)
    eventually(lambda: gateway.metric(reloads) == count)
    assert [stored_codec(gateway, bucket_name, key) for key in keys] == ["cpu-gzip"] * 4
    file.write_text('[rules."bucket/"]\nforce = "lz5"\n')
    gateway.process.process.send_signal(signal.SIGHUP)
    eventually(lambda: gateway.metric(reloads) == 2 * count)
    assert [stored_codec(gateway, bucket_name, key) for key in keys] == ["cpu-gzip"] * 4
    assert "the rules stay as they were: --dispatch-rules" in gateway.process.log()


@pytest.mark.servers("embedded")
def test_the_cpu_stands_in(fresh_store: Store, start_gateway: StartGateway, bucket_name: str) -> None:
    """Without a GPU, --gpu-fallback cpu stores with cpu-zstd what should go to it, and counts it."""
    gateway = start_gateway(fresh_store, "--codec", "nvcomp-zstd", "--gpu-fallback", "cpu")
    gateway.client().create_bucket(Bucket=bucket_name)
    assert stored_codec(gateway, bucket_name, "key") == "cpu-zstd"
    assert gateway.metric("s4_gpu_fallback_total") == 1
    assert "cpu-zstd takes the place of nvcomp-zstd" in gateway.process.log()
