"""The byte budget: who comes first is served first, whoever leaves gives back, and nobody waits for ever."""

import asyncio

import pytest

from s4_gateway.objects.budget import ByteBudget


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def hold(budget: ByteBudget, size: int, done: asyncio.Event) -> None:
    """Hold bytes until told otherwise."""
    async with budget.reserve(size):
        await done.wait()


async def test_large_request_waits_and_is_not_overtaken() -> None:
    """A large request that waits is served before small ones that came later, so that it is served at all."""
    budget, done = ByteBudget(10), asyncio.Event()
    first = asyncio.create_task(hold(budget, 6, done))
    await settle()
    order: list[str] = []

    async def enter(name: str, size: int) -> None:
        async with budget.reserve(size):
            order.append(name)

    others = [asyncio.create_task(enter("large", 8)), asyncio.create_task(enter("small", 1))]
    await settle()
    assert order == []
    done.set()
    await asyncio.gather(first, *others)

    assert order == ["large", "small"]
    assert budget.used == 0


async def test_more_than_the_limit_runs_alone() -> None:
    """A request above the whole budget is not refused: it waits until nobody else holds anything."""
    budget = ByteBudget(10)
    async with budget.reserve(1000):
        assert budget.used == 10
    assert budget.used == 0


@pytest.mark.parametrize("when", ["waiting", "in the moment it is served", "in the moment it is passed over"])
async def test_cancelled_waiter_gives_back(when: str) -> None:
    """A cancelled waiter ends as cancelled, gives back what it was just given, and lets the next one in."""
    budget, done, last_done = ByteBudget(10), asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(hold(budget, 10, done))
    await settle()
    waiter = asyncio.create_task(hold(budget, 10, last_done))
    behind = asyncio.create_task(hold(budget, 3, last_done))
    await settle()
    if when == "waiting":
        waiter.cancel()
        await settle()
        done.set()
    elif when == "in the moment it is served":
        done.set()
        # One turn of the loop: the holder has let go, the waiter has been served and has not run since.
        await asyncio.sleep(0)
        assert budget._waiting[0][0] == 3
        waiter.cancel()
    else:
        # The holder lets go while the waiter is cancelled but has not run since.
        holder.cancel()
        waiter.cancel()
    await settle()
    assert budget.used == 3
    last_done.set()
    ends = await asyncio.gather(holder, waiter, behind, return_exceptions=True)

    assert isinstance(ends[1], asyncio.CancelledError)
    assert ends[2] is None
    assert budget.used == 0
