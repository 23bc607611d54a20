"""Any S3 endpoint as a backend: `S3Backend` made of `S3Options` and `Credentials`."""

from s4_gateway.backend.s3.client import S3Backend
from s4_gateway.backend.s3.credentials import Credentials, KeyPair, StaticCredentials, find_credentials
from s4_gateway.backend.s3.options import Observer, S3Options
from s4_gateway.backend.s3.report import Fact, Origin, StoreReport

__all__ = [
    "Credentials",
    "Fact",
    "KeyPair",
    "Observer",
    "Origin",
    "S3Backend",
    "S3Options",
    "StaticCredentials",
    "StoreReport",
    "find_credentials",
]
