"""What work costs at a price list: the store's requests and bytes, and the gateway's CPU."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("prices.toml")
_WRITING = ("put", "post", "copy", "create", "complete", "upload", "list")
"""Beginnings of operations and methods that S3 bills as PUT, COPY, POST or LIST."""
_FREE = ("delete", "abort", "cancel")


@dataclass(frozen=True, slots=True)
class Prices:
    """In US dollars."""

    write_requests: float
    """A million PUT, COPY, POST or LIST requests."""
    read_requests: float
    """A million GET, HEAD and all other requests; deleting is free."""
    storage: float
    """A TB (10^12 bytes) for a month."""
    cpu: float
    """An hour of one core."""

    @classmethod
    def load(cls) -> "Prices":
        """The price list beside this module."""
        return cls(**tomllib.loads(LIST.read_text(encoding="utf-8"))["usd"])

    def requests(self, backend: Mapping[str, float]) -> float:
        """Requests to the store, by operation or HTTP method."""
        return sum(count * self._request(name) for name, count in backend.items()) / 1e6

    def cpu_seconds(self, seconds: float) -> float:
        """CPU time."""
        return seconds / 3600 * self.cpu

    def _request(self, name: str) -> float:
        lowered = name.lower()
        if lowered.startswith(_FREE):
            return 0.0
        return self.write_requests if lowered.startswith(_WRITING) else self.read_requests


@dataclass(frozen=True, slots=True)
class Bill:
    """What some work costs, in US dollars."""

    requests: float
    cpu: float
    storage: float = 0.0

    @property
    def total(self) -> float:
        return self.requests + self.cpu + self.storage


def million(prices: Prices, *, cpu_us: float, backend: Mapping[str, float]) -> Bill:
    """A million client requests, each with so much CPU of the gateway and such requests to the store."""
    return Bill(1e6 * prices.requests(backend), prices.cpu_seconds(cpu_us))


def terabyte_moved(prices: Prices, *, object_bytes: int, cpu_s_per_gb: float, backend: Mapping[str, float]) -> Bill:
    """A TB of original bytes written or read as objects of this size, with such requests to the store for each object."""
    return Bill(1e12 / object_bytes * prices.requests(backend), prices.cpu_seconds(cpu_s_per_gb * 1000))


def terabyte_month(prices: Prices, *, stored_share: float) -> Bill:
    """A TB of original bytes kept for a month, of which `stored_share` is stored."""
    return Bill(0.0, 0.0, prices.storage * stored_share)
