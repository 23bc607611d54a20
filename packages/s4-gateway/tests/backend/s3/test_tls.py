"""Stores behind TLS."""

import datetime
import hashlib
import ipaddress
import ssl
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from s4_gateway.backend.abc import BackendError, Outcome, Pieces
from s4_gateway.backend.s3 import S3Backend, StaticCredentials
from s4_gateway.sigv4 import UNSIGNED_PAYLOAD

from .server import ETAG, KEYS, Reply, connected, options, serving


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a store")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """The server's side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_body_is_left_to_tls(tls: ssl.SSLContext, certificate: Path) -> None:
    """Where TLS protects the bytes they are not hashed again; parts carry their MD5 for what lies behind it."""
    async with serving(tls=tls) as server, connected(server, ca_file=str(certificate)) as backend:
        server.script(*[Reply(headers={"etag": f'"{ETAG}"'})] * 2)
        await backend.put_object("bucket", "key", Pieces.of(bytes(300_000)), headers={}, metadata={})
        await backend.upload_part("bucket", "key", "id", 1, Pieces.of(b"part"))

        put, part = server.received
        assert put.headers["x-amz-content-sha256"] == part.headers["x-amz-content-sha256"] == UNSIGNED_PAYLOAD
        assert "content-md5" not in put.headers
        assert part.headers["content-md5"] == b64encode(hashlib.md5(b"part").digest()).decode()
        assert len(put.body) == 300_000


async def test_unknown_certificate(tls: ssl.SSLContext) -> None:
    """A store that cannot prove who it is gets nothing, not even a signature."""
    async with serving(tls=tls) as server:
        backend = S3Backend(options(server.url), StaticCredentials(KEYS))
        with pytest.raises(BackendError) as caught:
            await backend.start()

        assert (caught.value.code, caught.value.outcome) == ("ServiceUnavailable", Outcome.REFUSED)
        assert server.received == []
