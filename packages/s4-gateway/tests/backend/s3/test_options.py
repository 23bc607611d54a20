"""Settings of the client."""

import pytest

from s4_gateway.backend.s3 import S3Options
from s4_gateway.backend.s3.options import split_endpoint
from s4_gateway.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "scheme", "host"),
    [
        ("http://localhost", "http", "localhost"),
        ("http://localhost:80/", "http", "localhost"),
        ("https://s3.example.com:443", "https", "s3.example.com"),
        ("https://s3.example.com:80", "https", "s3.example.com:80"),
        ("http://127.0.0.1:9000", "http", "127.0.0.1:9000"),
        ("http://[::1]:9000", "http", "[::1]:9000"),
        ("HTTP://Example.COM", "http", "example.com"),
    ],
)
def test_endpoint(url: str, scheme: str, host: str) -> None:
    """The Host header is what HTTP libraries send: no default port, lower case, brackets around IPv6."""
    assert split_endpoint(url) == (scheme, host)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:9000",
        "ftp://host",
        "http://",
        "http://host/prefix",
        "http://host?x=1",
        "http://host#x",
        "http://host:x",
        "http://k:s@host",
    ],
)
def test_unusable_endpoint(url: str) -> None:
    """What is no endpoint is refused at once, and the setting named."""
    with pytest.raises(SettingsError, match="endpoint-url"):
        S3Options(url)


def test_credentials_in_an_endpoint_are_not_repeated() -> None:
    """The message does not show them."""
    with pytest.raises(SettingsError) as caught:
        S3Options("http://key:hush@host")

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("name", ["connections", "connect_timeout", "pool_timeout", "read_timeout", "commit_timeout", "attempts"])
def test_limits_are_positive(name: str) -> None:
    """A limit of nothing would stop everything."""
    with pytest.raises(SettingsError, match=name):
        S3Options("http://host", **{name: 0})


@pytest.mark.parametrize(("url", "secure"), [("http://host", False), ("https://host", True), ("HTTPS://host", True)])
def test_secure(url: str, secure: bool) -> None:
    """Whether TLS protects bodies."""
    assert S3Options(url).secure is secure
