"""Cases: conditional writes."""

import pytest

from s4_gateway.backend.abc import Backend, Condition
from s4_gateway.testing.contract._base import ContractBase, fetch, outcomes, put, random_body, refused

LOST_RACE = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"}


class ConditionCases(ContractBase):
    """PutObject with If-None-Match: * and If-Match."""

    @pytest.fixture
    def backend_with_conditions(self, backend: Backend) -> Backend:
        """The backend, where its store has conditional writes at all."""
        if not backend.capabilities.conditional_put:
            pytest.skip("the store has no conditional PutObject")
        return backend

    async def test_if_absent(self, backend_with_conditions: Backend, bucket: str) -> None:
        """The first writer wins, the second is refused and changes nothing."""
        backend = backend_with_conditions
        await put(backend, bucket, "key", b"first", condition=Condition(if_absent=True))
        with refused("PreconditionFailed"):
            await put(backend, bucket, "key", b"second", condition=Condition(if_absent=True))
        assert await fetch(backend, bucket, "key") == b"first"

    async def test_if_absent_of_a_large_body(self, backend_with_conditions: Backend, bucket: str) -> None:
        """The condition holds for bodies of any size."""
        backend = backend_with_conditions
        await put(backend, bucket, "key", b"first")
        with refused("PreconditionFailed"):
            await put(backend, bucket, "key", random_body(2 * 2**20), condition=Condition(if_absent=True))
        assert await fetch(backend, bucket, "key") == b"first"

    async def test_if_absent_after_delete(self, backend_with_conditions: Backend, bucket: str) -> None:
        """What was deleted is absent."""
        backend = backend_with_conditions
        await put(backend, bucket, "key", b"first")
        await backend.delete_object(bucket, "key")
        await put(backend, bucket, "key", b"second", condition=Condition(if_absent=True))
        assert await fetch(backend, bucket, "key") == b"second"

    async def test_if_match(self, backend_with_conditions: Backend, bucket: str) -> None:
        """The current ETag lets a write through, any other does not."""
        backend = backend_with_conditions
        first = await put(backend, bucket, "key", b"first")
        second = await put(backend, bucket, "key", b"second", condition=Condition(if_match=first.etag))
        with refused("PreconditionFailed"):
            await put(backend, bucket, "key", b"third", condition=Condition(if_match=first.etag))
        assert (await backend.head_object(bucket, "key")).etag == second.etag
        assert await fetch(backend, bucket, "key") == b"second"

    async def test_if_match_of_an_absent_object(self, backend_with_conditions: Backend, bucket: str) -> None:
        """Where nothing is, nothing matches."""
        backend = backend_with_conditions
        with refused("NoSuchKey", "PreconditionFailed"):
            await put(backend, bucket, "key", b"body", condition=Condition(if_match="0" * 32))
        with refused("NoSuchKey"):
            await backend.head_object(bucket, "key")

    async def test_no_condition_at_all(self, backend: Backend, bucket: str) -> None:
        """An empty condition is none."""
        for body in (b"first", b"second"):
            await put(backend, bucket, "key", body, condition=Condition())
        assert await fetch(backend, bucket, "key") == b"second"

    @pytest.mark.parametrize("size", [100, 300_000])
    async def test_twelve_creators_have_one_winner(self, backend_with_conditions: Backend, bucket: str, size: int) -> None:
        """Of concurrent writers with If-None-Match: * exactly one succeeds, and its object is there."""
        backend = backend_with_conditions
        bodies = [random_body(size, seed) for seed in range(12)]
        written, errors = await outcomes(put(backend, bucket, "key", body, condition=Condition(if_absent=True)) for body in bodies)
        assert len(written) == 1
        assert {error.code for error in errors} <= LOST_RACE
        assert (await backend.head_object(bucket, "key")).etag == written[0].etag
        assert await fetch(backend, bucket, "key") in bodies

    @pytest.mark.parametrize("size", [100, 300_000])
    async def test_twelve_replacers_have_one_winner(self, backend_with_conditions: Backend, bucket: str, size: int) -> None:
        """Of concurrent writers that saw the same object exactly one replaces it."""
        backend = backend_with_conditions
        condition = Condition(if_match=(await put(backend, bucket, "key", b"old")).etag)
        bodies = [random_body(size, seed) for seed in range(12)]
        written, errors = await outcomes(put(backend, bucket, "key", body, condition=condition) for body in bodies)
        assert len(written) == 1
        assert {error.code for error in errors} <= LOST_RACE
        assert (await backend.head_object(bucket, "key")).etag == written[0].etag
