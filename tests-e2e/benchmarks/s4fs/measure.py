"""Measuring: every row at every distance with every client, what was read compared with what it should be."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem
from servers.gateways import running_gateway_over
from servers.stores import running_store

from benchmarks.link import Far, Passed, linked
from benchmarks.s4fs import client as program
from benchmarks.s4fs.clients import BUCKET, CLIENTS, GATEWAYS, started
from benchmarks.s4fs.figures import Figure, combined
from benchmarks.s4fs.objects import FILES, LISTING, Objects
from benchmarks.s4fs.rows import LINKS, LISTED, LISTED_BYTES, MIB, ROWS, Row

STORE = "versitygw"
STORE_OPTIONS = ("--keep-alive",)
"""Without it versitygw closes the connection behind each answer, and every client would be measured connecting."""


@contextmanager
def world() -> Iterator[Objects]:
    """A store, and a gateway that writes into it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s4-bench-s4fs-")))
        store = stack.enter_context(running_store(STORE, folder, *STORE_OPTIONS))
        gateway = stack.enter_context(running_gateway_over(store, folder / "state"))
        gateway.client().create_bucket(Bucket=BUCKET)
        yield Objects(store, gateway)


def measure(objects: Objects, rows: Sequence[str], links: Sequence[str], clients: Sequence[str], *, rounds: int) -> Iterator[Figure]:
    """One figure for each place, clients taking turns in each round.

    Raises:
        AssertionError: a client read something else than was written.
    """
    for link in links:
        with linked(objects.store, LINKS[link]) as far:
            for name in (name for name in rows if link in ROWS[name].links):
                turns = [[_once(objects, far, name, link, client) for client in _who(name, clients)] for _ in range(rounds)]
                yield from map(combined, map(list, zip(*turns, strict=True)))


def _who(row: str, clients: Sequence[str]) -> list[str]:
    return [client for client in clients if client != GATEWAYS or ROWS[row].work != "write"]


def _once(objects: Objects, far: Far, name: str, link: str, client: str) -> Figure:
    row, path = ROWS[name], objects.path(client, ROWS[name].data)
    assert far.store.endpoint is not None
    with started(CLIENTS[client], far.store.endpoint, row.work, path, _arguments(row)) as running:
        before = far.passed()
        told = running.work()
        passed = far.passed().since(before)
    found = _digest_of_written(objects, client, path) if row.work == "write" else told["digest"]
    if found != _expected(name):
        raise AssertionError(f"{name} with {client}: {found}, not {_expected(name)}")
    return Figure(name, link, client, _metrics(row, told, passed), dict(passed.requests))


def _arguments(row: Row) -> dict[str, object]:
    arguments = dict(row.arguments)
    if row.work in ("ranges", "one_by_one", "seeking", "together"):
        arguments["size"] = FILES[row.data]().stat().st_size
    if row.work == "write":
        arguments["local"] = str(FILES[row.data]())
    return arguments


def _metrics(row: Row, told: dict[str, float], passed: Passed) -> dict[str, float]:
    done = row.reads or (1.0 if row.data == LISTING else (row.moved or told["bytes"]) / 1e6)
    return {
        "seconds": told["seconds"],
        "cpu_seconds": told["cpu_seconds"],
        "per_second": done / told["seconds"],
        "requests": float(passed.requests.total()),
        "received": float(passed.received),
        "sent": float(passed.sent),
        "peak_mib": told["peak_bytes"] / MIB,
        "grown_mib": (told["peak_bytes"] - told["ready_bytes"]) / MIB,
    }


@cache
def _expected(name: str) -> str:
    """The digest that every client must tell: of the same work on local files."""
    row = ROWS[name]
    if row.data == LISTING:
        return program.digest([json.dumps([[f"{number:04d}", LISTED_BYTES] for number in range(LISTED)]).encode()])
    file = FILES[row.data]()
    if row.work != "write":
        return program.digest(program.WORK[row.work](LocalFileSystem(), str(file), **_arguments(row)))
    sha = hashlib.sha256()
    for _ in range(row.arguments["times"]):
        sha.update(file.read_bytes())
    return program.digest([sha.digest()])


def _digest_of_written(objects: Objects, client: str, path: str) -> str:
    assert objects.store.endpoint is not None
    with started(CLIENTS[client], objects.store.endpoint, "check", path, {"step": 4 * MIB}) as running:
        return str(running.work()["digest"])
