"""Gateways in front of a store, each a process of its own."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from clients.s3 import client
from s4_gateway.testing.server import GatewayProcess, running_gateway

from servers.behind import Behind
from servers.stores import ACCESS_KEY, SECRET_KEY, Store


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway and what stands behind it."""

    store: Store
    process: GatewayProcess = field(repr=False)

    @property
    def endpoint(self) -> str:
        return self.process.endpoint

    @property
    def access_key(self) -> str:
        return self.process.access_key

    @property
    def secret_key(self) -> str:
        return self.process.secret_key

    @property
    def behind(self) -> Behind:
        return self.store.behind

    def client(self, **config: Any) -> Any:
        """A new boto3 client of it."""
        return client(self.endpoint, self.access_key, self.secret_key, **config)

    def backend_requests(self) -> Counter[str]:
        """Requests to the store so far, by operation, as /metrics tells them."""
        found = re.findall(r'^s4_gateway_backend_requests_total\{operation="(\w+)",status="\d+"\} (\S+)$', self._metrics(), re.MULTILINE)
        counts: Counter[str] = Counter()
        for operation, count in found:
            counts[operation] += int(float(count))
        return counts

    def metric(self, name: str) -> float:
        """The sum of all samples of a metric."""
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", self._metrics(), re.MULTILINE))

    def workers(self) -> list[int]:
        """Process ids of its workers that run; empty where one process is all."""
        supervisor = self.process.process.pid
        return [int(pid) for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]

    def peak_memory(self) -> int:
        """The most resident bytes it ever had."""
        status = Path(f"/proc/{self.process.process.pid}/status").read_text()
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        assert found, "the kernel does not tell VmHWM"
        return int(found[1]) * 1024

    def _metrics(self) -> str:
        with urlopen(f"{self.endpoint}/metrics", timeout=30) as answer:
            return str(answer.read().decode())


@contextmanager
def running_gateway_over(store: Store, state: Path, *options: str) -> Iterator[Gateway]:
    """A gateway in front of the store; its log is kept in the state folder's parent.

    Args:
        store: what it keeps objects in.
        state: folder of its state, made where it is missing; another one for each gateway in front of a shared store.
        options: of the command.
    """
    arguments = [*store.arguments, "--state-dir", str(state), *options]
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY} if store.shared else {}
    with running_gateway(*arguments, environ=store.environ, **keys) as process:
        try:
            yield Gateway(store, process)
        finally:
            state.with_name(f"{state.name}-{process.port}.log").write_text(process.log(), encoding="utf-8")
