"""Trying out a store in hard weather: a gateway starts with the right idea of it, or not at all."""

import logging
from collections.abc import Iterator

import pytest

from s4_gateway.backend.abc import BackendError, Capabilities
from s4_gateway.backend.s3 import S3Backend, S3Options, StaticCredentials
from s4_gateway.errors import SettingsError
from s4_gateway.testing.exchange import KEYS, Received, Reply
from s4_gateway.testing.mini_s3 import MiniS3
from s4_gateway.testing.weather.faults import TABLE
from s4_gateway.testing.weather.sky import Sky, Strike

from .line import Network
from .still import Clock, StillLoop, run_still

ROUNDS = 4
LIES = frozenset({"ignored-condition", "wrong-etag"})
"""A store that overlooks a condition, or refuses the ETag that it told, has no conditions as far as anybody can know."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Without a line for each fault."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def idea(strike: Strike) -> Capabilities | None:
    """What a gateway takes a store for that can do everything; None if it does not start."""
    found: list[Capabilities] = []

    async def main(clock: Clock, loop: StillLoop) -> None:
        mini, sky = MiniS3(Capabilities()), Sky()
        mini.store.create_bucket("bucket", None)

        async def answer(request: Received) -> Reply:
            return await mini(request)

        Network(loop, sky, answer)
        sky.begin(0, (strike,))
        backend = S3Backend(S3Options("http://store:1", read_timeout=20.0, commit_timeout=60.0), StaticCredentials(KEYS))
        try:
            await backend.start()
        except (BackendError, SettingsError):
            return
        found.append(backend.capabilities)
        await backend.close()

    run_still(strike.dose, main)
    return found[0] if found else None


@pytest.mark.parametrize("name", [name for name, fault in TABLE.items() if not fault.rival and name not in LIES])
def test_the_idea_of_a_store_is_right_or_none(name: str) -> None:
    """Whatever hits the try-out, once or many times: a store that has conditions and a least part size is never taken for another."""
    for number in range(ROUNDS):
        for times in (1, 4):
            strike = Strike(name, nth=7 * number + number // 2, times=times, dose=(31 * number + 17) % 100)
            assert idea(strike) in (Capabilities(), None), strike
