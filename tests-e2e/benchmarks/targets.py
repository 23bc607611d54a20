"""What is measured: a store itself, a gateway of ours in front of it, or the reference's server."""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from clients.s3 import client
from s4_gateway.sigv4 import Signer
from servers.gateways import Gateway, running_gateway_over
from servers.process import HOST, free_port, running
from servers.stores import ACCESS_KEY, SECRET_KEY, Store

from benchmarks import processes

EXPIRES = 86_400


@dataclass(frozen=True, slots=True)
class Target:
    """One S3 endpoint under load."""

    name: str
    store: Store = field(repr=False)
    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    pid: int
    """First process of what is measured; its children count with it."""
    own_bucket: str
    """Prefix of the buckets that this target alone uses: all targets of a store share it."""
    gateway: Gateway | None = field(default=None, repr=False)
    """Where it is one of ours."""

    @property
    def is_direct(self) -> bool:
        return self.store.process is not None and self.store.process.process.pid == self.pid

    def client(self, **config: Any) -> Any:
        """boto3 at its defaults."""
        return client(self.endpoint, self.access_key, self.secret_key, **config)

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
        """What the measured processes have used."""
        return processes.cpu_seconds(self.pid)

    def all_cpu_seconds(self) -> float:
        """The same, with the store where that is a server of its own."""
        return self.cpu_seconds() + (0.0 if self.is_direct or self.store.process is None else self.store_cpu_seconds())

    def store_cpu_seconds(self) -> float:
        """What the store's processes have used."""
        assert self.store.process is not None
        return processes.cpu_seconds(self.store.process.process.pid)

    def backend_requests(self) -> Counter[str]:
        """Requests sent to the store so far, by operation, where the target counts them."""
        return self.gateway.backend_requests() if self.gateway else Counter()


@contextmanager
def _direct(store: Store, folder: Path, name: str) -> Iterator[Target]:
    assert store.endpoint is not None, f"{store.name} is no server: nothing to measure directly"
    assert store.process is not None
    yield Target(name, store, store.endpoint, ACCESS_KEY, SECRET_KEY, store.process.process.pid, f"bench-{name}")


@contextmanager
def _ours(store: Store, folder: Path, name: str, *, workers: int) -> Iterator[Target]:
    with running_gateway_over(store, folder / f"state-{name}", "--workers", str(workers)) as gateway:
        pid = gateway.process.process.pid
        yield Target(name, store, gateway.endpoint, gateway.access_key, gateway.secret_key, pid, f"bench-{name}", gateway)


@contextmanager
def _reference(store: Store, folder: Path, name: str, *, binary: Path) -> Iterator[Target]:
    """The reference's server. It takes any key, for it verifies no signature; listings tell original sizes only when told to."""
    assert store.endpoint is not None, f"{store.name} is no server: the reference cannot stand in front of it"
    port = free_port()
    command = [str(binary), "--endpoint-url", store.endpoint, "--host", HOST, "--port", str(port), "--accurate-list-size"]
    environ = {**os.environ, **store.environ, "AWS_REGION": "us-east-1", "RUST_LOG": "warn"}
    with running(command, port=port, log_file=folder / f"{name}-{port}.log", environ=environ) as server:
        yield Target(name, store, f"http://{HOST}:{port}", ACCESS_KEY, SECRET_KEY, server.process.pid, f"bench-{name}")


Starter = Callable[[Store, Path, str], AbstractContextManager[Target]]

STARTERS: Mapping[str, Starter] = {"direct": _direct, "ours": partial(_ours, workers=1), "ours-2": partial(_ours, workers=2)}
NEEDS_SERVER = ("direct", "reference")
"""Targets that do not exist over the embedded store."""


def starters(reference: Path | None) -> Mapping[str, Starter]:
    """Name of a target -> how it is started; the reference only where its binary is given."""
    known = dict(STARTERS)
    if reference is not None:
        known["reference"] = partial(_reference, binary=reference)
    return {name: known[name] for name in ("direct", "reference", *known) if name in known}


def version(binary: Path) -> str:
    """What a program says of itself."""
    with os.popen(f"{binary} --version") as answer:
        found = re.search(r"\d+\.\d+\.\d+", answer.read())
    return found[0] if found else "unknown"
