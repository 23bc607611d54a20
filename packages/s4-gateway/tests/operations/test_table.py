"""The operation table: nothing of S3 is missing from it, and what is not built says so."""

import pytest

from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.operations.table import TABLE
from s4_gateway.testing.client import make_gateway
from s4_gateway.wire.routes import OPERATIONS, ROUTES, Level, Route

UNBUILT = sorted(name for name, entry in TABLE.items() if entry.run is None)


def test_every_routed_operation_has_a_row() -> None:
    """A request that can be addressed always meets a row, and with it its checks."""
    assert TABLE.keys() >= OPERATIONS


def test_every_row_names_its_actions() -> None:
    """No operation is without the IAM actions that it needs."""
    assert [name for name, entry in TABLE.items() if not entry.actions] == []


def test_unbuilt_operations_are_refused() -> None:
    """Each operation that is not built is one of S3's, and there are such."""
    assert "PutBucketVersioning" in UNBUILT
    assert {"PutObject", "CompleteMultipartUpload", "GetObjectAttributes"}.isdisjoint(UNBUILT)


@pytest.mark.parametrize("row", [row for row in ROUTES if row.operation in UNBUILT], ids=lambda row: row.operation)
async def test_unbuilt_operation_answers_501(row: Route) -> None:
    """NotImplemented, 501, whatever the body, and the backend is never asked."""
    backend = MemoryBackend()
    async with make_gateway(backend) as client:
        backend.requests.clear()
        address = {Level.SERVICE: (), Level.BUCKET: ("bucket",), Level.OBJECT: ("bucket", "key")}[row.level]
        query = dict.fromkeys(sorted(row.parameters), "1")
        answer = await client.request(row.method, *address, query=query, body=b"<x/>" if row.method in ("PUT", "POST") else b"")

        assert (answer.status, answer.code) == (501, "NotImplemented") or row.method == "HEAD"
        assert not backend.requests
