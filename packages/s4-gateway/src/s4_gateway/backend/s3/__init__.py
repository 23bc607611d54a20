"""Any S3 endpoint as a backend: `S3Backend` made of `S3Options` and `Credentials`."""

from s4_gateway.backend.s3.client import S3Backend
from s4_gateway.backend.s3.credentials import Credentials, KeyPair, StaticCredentials, find_credentials
from s4_gateway.backend.s3.options import Observer, S3Options

__all__ = ["Credentials", "KeyPair", "Observer", "S3Backend", "S3Options", "StaticCredentials", "find_credentials"]
