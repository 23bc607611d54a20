"""What every part of the object layer shares."""

import asyncio
import logging
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from s4_codecs.small_batches import SmallBatches

from s4_gateway.backend.abc import Backend
from s4_gateway.objects.budget import ByteBudget
from s4_gateway.objects.encoding import Encoding
from s4_gateway.objects.options import StoreOptions
from s4_gateway.objects.patience import Patience
from s4_gateway.observe.board import Place
from s4_gateway.observe.switchboard import Switchboard
from s4_gateway.state.cache import AttributeCache
from s4_gateway.state.journal import Journal

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Core:
    """Backend, options, local state and threads of one gateway process."""

    backend: Backend
    options: StoreOptions
    cache: AttributeCache
    journal: Journal
    codecs: ThreadPoolExecutor
    """Compresses and decompresses frames."""
    digests: ThreadPoolExecutor
    """Hashes request bodies, beside the codecs."""
    budget: ByteBudget
    """Bodies in flight, of all requests but those that `small` has room for."""
    reads: ByteBudget
    """Of these, those on their way out."""
    small: ByteBudget
    """Small bodies in flight: large ones, however slow, never keep them waiting."""
    patience: Patience
    """With clients that hold the memory of large ones."""
    encoding: Encoding
    """How each object is encoded."""
    small_batches: SmallBatches | None = None
    """Compresses frames of small objects together; None = each by itself."""
    switchboard: Switchboard | None = None
    """To the other workers of the gateway; None = this process is alone."""
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    """Clean-up that outlives its request (aborting an upload after a disconnect); awaited at shutdown."""

    @property
    def place(self) -> Place | None:
        """Of this process among the workers."""
        return self.switchboard.place if self.switchboard is not None else None

    def later(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run clean-up even if the request's own task is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self.keep(task)
        return task

    async def to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Await work that must not stop half-way. A caller that is cancelled meanwhile stays until the work has ended, and is cancelled
        then; one that is cancelled again leaves, and the work goes on.
        """
        task = asyncio.get_running_loop().create_task(work)
        self.keep(task)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait((task,))
            raise

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Let a task outlive the request that started it; its own waiter, if there still is one, sees its error."""
        self.tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.info("work that outlived its request ended in %r", task.exception())

    async def settle(self, seconds: float | None = None) -> None:
        """Wait for all of it; what has not ended after `seconds` is cancelled, as a crash would do, and goes on where it was left."""
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        while self.tasks:
            left = None if deadline is None else max(0.0, deadline - loop.time())
            _, late = await asyncio.wait(set(self.tasks), timeout=left)
            for task in late:
                _log.warning("work was cut off at the end: %r", task)
                task.cancel()
            if late:
                await asyncio.wait(late)
