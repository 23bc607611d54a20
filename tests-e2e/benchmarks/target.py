"""What is measured: a store itself, or a gateway in front of it."""

import os
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from clients.s3 import client
from s4_gateway.sigv4 import Signer
from servers.gateways import Gateway
from servers.stores import ACCESS_KEY, SECRET_KEY, Store

EXPIRES = 86_400
_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE = re.compile(r'^s4_gateway_backend_requests_total\{operation="([^"]+)"[^}]*\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Target:
    """One S3 endpoint under load."""

    name: str
    store: Store = field(repr=False)
    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    pid: int
    """Process whose CPU and memory are counted."""
    is_gateway: bool

    @classmethod
    def direct(cls, store: Store) -> "Target":
        """The store past any gateway."""
        assert store.endpoint is not None
        assert store.process is not None
        return cls(f"{store.name} direct", store, store.endpoint, ACCESS_KEY, SECRET_KEY, store.process.process.pid, is_gateway=False)

    @classmethod
    def gateway(cls, gateway: Gateway) -> "Target":
        """A gateway."""
        pid = gateway.process.process.pid
        name = f"s4-gateway on {gateway.store.name}"
        return cls(name, gateway.store, gateway.endpoint, gateway.access_key, gateway.secret_key, pid, is_gateway=True)

    def client(self) -> Any:
        """boto3 at its defaults."""
        return client(self.endpoint, self.access_key, self.secret_key)

    def presigned(self, method: str, bucket: str, key: str = "", query: Mapping[str, str] | None = None) -> str:
        """Path and query of a signed request that needs no headers."""
        path = quote(f"/{bucket}/{key}" if key else f"/{bucket}")
        raw_query = urlencode(query or {})
        host = urlsplit(self.endpoint).netloc
        signed = Signer(self.access_key, self.secret_key).presign(
            method, path, raw_query, headers={"host": host}, expires=EXPIRES, when=time.time()
        )
        return f"{path}?{signed}"

    def cpu_seconds(self) -> float:
        """User and system time that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak_bytes(self) -> int:
        """Most resident memory since the last `forget_peak`."""
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def backend_requests(self) -> Counter[str]:
        """Requests that the gateway sent to its backend so far, by operation."""
        if not self.is_gateway:
            return Counter()
        with urllib.request.urlopen(f"{self.endpoint}/metrics") as answer:
            found: Counter[str] = Counter()
            for name, value in _SAMPLE.findall(answer.read().decode()):
                found[name] += int(float(value))
            return found
