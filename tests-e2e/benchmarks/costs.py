"""The cost tables of the page: measured CPU and counted requests at the price list."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.aims import Medians
from benchmarks.markdown import table
from benchmarks.prices import Bill, Prices, million, terabyte_month, terabyte_moved
from benchmarks.rows import LARGE, PARTED
from benchmarks.screen import title

MILLIONS = {"get4k": "oneget", "put4k": "oneput", "list500": "onelist", "range64k": "onerange"}
"""A row that tells CPU a request -> the row that tells its requests to the store."""
TERABYTES = {"putlog": ("oneputlog", LARGE), "getlog": ("onegetlog", LARGE), "upload": ("oneupload", PARTED)}
"""A row that tells CPU a GB -> the row that tells its requests, and the size of its object."""


@dataclass(frozen=True, slots=True)
class Tables:
    """What the tables are made of."""

    medians: Medians
    prices: Prices
    store: str
    targets: Sequence[str]

    def millions(self) -> Iterator[list[str]]:
        for row, counted in MILLIONS.items():
            yield [f"a million: {title(row)}", *(self._million(row, counted, target) for target in self.targets)]

    def terabytes(self) -> Iterator[list[str]]:
        for row, (counted, size) in TERABYTES.items():
            yield [f"a TB: {title(row)}", *(self._moved(row, counted, size, target) for target in self.targets)]
        yield ["a TB of log kept for a month", *(self._kept(target) for target in self.targets)]

    def _million(self, row: str, counted: str, target: str) -> str:
        cpu, backend = self._cpu(row, target, "cpu_us"), self._backend(counted, target)
        return "" if cpu is None or backend is None else _shown(million(self.prices, cpu_us=cpu, backend=backend))

    def _moved(self, row: str, counted: str, size: int, target: str) -> str:
        cpu, backend = self._cpu(row, target, "cpu_s_per_gb"), self._backend(counted, target)
        if cpu is None or backend is None:
            return ""
        return _shown(terabyte_moved(self.prices, object_bytes=size, cpu_s_per_gb=cpu, backend=backend))

    def _kept(self, target: str) -> str:
        sample = self.medians.get((self.store, "putlog", target))
        if sample is None or "stored_bytes" not in sample.metrics:
            return ""
        return f"{terabyte_month(self.prices, stored_share=sample.metrics['stored_bytes'] / LARGE).total:,.2f}"

    def _cpu(self, row: str, target: str, metric: str) -> float | None:
        """CPU of the gateway; none, and not unknown, where there is no gateway."""
        sample = self.medians.get((self.store, row, target))
        return None if sample is None else sample.metrics.get(metric, 0.0)

    def _backend(self, row: str, target: str) -> Mapping[str, float] | None:
        sample = self.medians.get((self.store, row, target))
        return None if sample is None else sample.backend


def _shown(bill: Bill) -> str:
    return f"{bill.total:,.2f} (CPU {bill.cpu:,.2f})"


def cost_tables(medians: Medians, stores: Sequence[str], targets: Mapping[str, str], names: Mapping[str, str]) -> str:
    """The section on cost; empty where nothing was measured that it needs."""
    prices = Prices.load()
    parts = []
    for store in stores:
        known = [target for target in targets if any((store, row, target) in medians for row in MILLIONS.values())]
        tables = Tables(medians, prices, store, known)
        lines = [line for line in (*tables.millions(), *tables.terabytes()) if any(line[1:])]
        if lines:
            parts.append(
                f"### Cost, CPU measured over {names[store]}\n\n"
                + table(["US dollars", *(targets[one] for one in known)], lines, numbers=True)
            )
    if not parts:
        return ""
    return "\n".join(["## What it costs\n", _words(prices), *parts])


def _words(prices: Prices) -> str:
    listed = table(
        ["price", "US dollars"],
        [
            ["a million PUT, COPY, POST or LIST requests", f"{prices.write_requests:g}"],
            ["a million GET or HEAD requests", f"{prices.read_requests:g}"],
            ["a TB (10^12 bytes) stored for a month", f"{prices.storage:g}"],
            ["an hour of one core", f"{prices.cpu:g}"],
        ],
        numbers=True,
    )
    words = (
        "Requests to the store as counted above, and CPU seconds of the gateway as measured, at these prices.\n"
        "DELETE is free, and so is traffic inside a region."
    )
    return f"{words}\n\n{listed}"
