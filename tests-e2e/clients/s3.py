"""boto3 at its default settings."""

from typing import Any

import boto3
from botocore.config import Config


def client(endpoint: str, access_key: str, secret_key: str, **config: Any) -> Any:
    """An S3 client; only endpoint, keys and region are given, unless `config` says more."""
    session = boto3.session.Session(aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name="us-east-1")
    return session.client("s3", endpoint_url=endpoint, config=Config(**config) if config else None)
