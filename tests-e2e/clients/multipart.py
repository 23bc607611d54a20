"""Multipart uploads, step by step."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

MIB = 2**20


class Upload:
    """One upload through boto3; parts may come in any order and again.

    Args:
        s3: client that creates it; each step may use another one.
        bucket, key: of the object.
        create: further parameters of CreateMultipartUpload.
    """

    def __init__(self, s3: Any, bucket: str, key: str = "key", **create: Any) -> None:
        self.s3 = s3
        self.bucket = bucket
        self.key = key
        self.id: str = s3.create_multipart_upload(Bucket=bucket, Key=key, **create)["UploadId"]
        self.parts: dict[int, dict[str, Any]] = {}

    @property
    def address(self) -> dict[str, str]:
        """What every step names."""
        return {"Bucket": self.bucket, "Key": self.key, "UploadId": self.id}

    def part(self, number: int, body: bytes, s3: Any = None, **extra: Any) -> dict[str, Any]:
        """Upload one part and remember it for Complete."""
        answer: dict[str, Any] = (s3 or self.s3).upload_part(**self.address, PartNumber=number, Body=body, **extra)
        checksums = {name: value for name, value in answer.items() if name.startswith("Checksum") and name != "ChecksumType"}
        self.parts[number] = {"PartNumber": number, "ETag": answer["ETag"], **checksums}
        return answer

    @property
    def manifest(self) -> dict[str, list[dict[str, Any]]]:
        """All parts in order, as Complete wants them."""
        return {"Parts": [self.parts[number] for number in sorted(self.parts)]}

    def complete(self, s3: Any = None, **extra: Any) -> dict[str, Any]:
        """Complete with all parts."""
        done: dict[str, Any] = (s3 or self.s3).complete_multipart_upload(**self.address, MultipartUpload=self.manifest, **extra)
        return done

    def abort(self, s3: Any = None) -> None:
        (s3 or self.s3).abort_multipart_upload(**self.address)

    def listed(self, s3: Any = None) -> list[dict[str, Any]]:
        """ListParts, all pages."""
        pages = (s3 or self.s3).get_paginator("list_parts").paginate(**self.address)
        return [part for page in pages for part in page.get("Parts", ())]


def put_parts(s3: Any, bucket: str, key: str, pieces: Sequence[bytes] | Mapping[int, bytes]) -> dict[str, Any]:
    """A whole multipart upload of these parts, numbered from 1 where no numbers are given."""
    upload = Upload(s3, bucket, key)
    for number, piece in (pieces if isinstance(pieces, Mapping) else dict(enumerate(pieces, 1))).items():
        upload.part(number, piece)
    return upload.complete()


def composite_etag(pieces: Sequence[bytes]) -> str:
    """The ETag of an object of these parts, quoted."""
    digests = b"".join(hashlib.md5(piece).digest() for piece in pieces)
    return f'"{hashlib.md5(digests).hexdigest()}-{len(pieces)}"'


def left_behind(keys: Sequence[str]) -> list[str]:
    """What an ended upload may not leave: all its names but the tombstone."""
    return [key for key in keys if key.startswith(".s4mpu/") and not key.endswith("/backend")]
