"""The object layer as one value: what operations work with."""

import asyncio
import logging
import os
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from s4_codecs import DispatchRules
from s4_codecs.small_batches import SmallBatches, Tell

from s4_gateway.backend.abc import Backend, BackendError
from s4_gateway.errors import GatewayError
from s4_gateway.objects.buckets import BucketStates
from s4_gateway.objects.budget import ByteBudget
from s4_gateway.objects.copy import Copier
from s4_gateway.objects.core import Core
from s4_gateway.objects.delete import Deleter
from s4_gateway.objects.encoding import Encoding
from s4_gateway.objects.listing import Lister
from s4_gateway.objects.options import StoreOptions
from s4_gateway.objects.patience import Patience
from s4_gateway.objects.put import Putter
from s4_gateway.objects.reader import Reader
from s4_gateway.objects.uploads.uploads import Uploads
from s4_gateway.observe.switchboard import Switchboard
from s4_gateway.state.cache import AttributeCache
from s4_gateway.state.journal import Journal, OpenedUpload

LEAST_CODEC_THREADS = 2
DIGEST_THREADS = 2
SMALL_SHARE = 8
"""One in so many bytes of the memory for bodies is kept for small ones."""
CLOSE_SECONDS = 10.0
"""What outlives its request (a long Complete) gets so long at the end; another gateway, or the next start, takes it up again."""

_log = logging.getLogger(__name__)


class ObjectStore:
    """Logical objects over one backend. Start before use, close after.

    Args:
        backend: started and closed by the caller.
        options: of the object layer.
        cache, journal: local state, of this store alone.
        switchboard: to the other workers; None = this process is alone.
        encoding: how each object is encoded; None = as the options say.
        tell_batches: told of the frames of small objects, where they are compressed together.

    Attributes:
        core: backend, options, cache and threads.
        reader, putter, copier, deleter, lister: one job each.
        uploads: multipart uploads.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        options: StoreOptions,
        cache: AttributeCache,
        journal: Journal,
        switchboard: Switchboard | None = None,
        encoding: Encoding | None = None,
        tell_batches: Tell = lambda _result, _frames: None,
    ) -> None:
        spare = options.memory_bytes // SMALL_SHARE
        budget, reads = ByteBudget(options.memory_bytes - spare), ByteBudget(options.memory_bytes // 2)
        small = options.small_batching
        codecs = ThreadPoolExecutor(_codec_threads(switchboard), thread_name_prefix="s4-codec")
        self.core = Core(
            backend=backend,
            options=options,
            cache=cache,
            journal=journal,
            codecs=codecs,
            digests=ThreadPoolExecutor(DIGEST_THREADS, thread_name_prefix="s4-digest"),
            budget=budget,
            reads=reads,
            small=ByteBudget(spare),
            patience=Patience(budget, reads),
            encoding=encoding or Encoding(DispatchRules(options.encode)),
            small_batches=None
            if small is None
            else SmallBatches(codecs, max_items=small.max_items, window=small.window, tell=tell_batches),
            switchboard=switchboard,
        )
        self.reader = Reader(self.core)
        self.putter = Putter(self.core, self.reader)
        self.copier = Copier(self.core, self.reader, self.putter)
        self.lister = Lister(self.core, self.reader)
        states = BucketStates(self.core)
        self.uploads = Uploads(self.core, states, self.reader, self.putter)
        self.deleter = Deleter(self.core, states, self.uploads.roster)
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open local state, then abort what an earlier process left open on the backend."""
        await self.core.cache.start()
        await self.core.journal.start()
        await self.end_left_open()
        if self.core.place is None or self.core.place.number == 0:
            # One worker's sweep is enough for all.
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def end_left_open(self) -> None:
        """Abort the backend uploads that nobody works on any more, unless a record names them."""
        for upload in await self.core.journal.left_open():
            await self._abort_left_open(upload)

    async def _abort_left_open(self, upload: OpenedUpload) -> None:
        """What cannot be judged now stays in the journal."""
        try:
            if not upload.record or not await self.uploads.is_published(upload):
                await self.core.backend.abort_multipart(upload.bucket, upload.key, upload.upload_id)
        except (BackendError, GatewayError) as error:
            if not isinstance(error, BackendError) or error.status != 404:
                _log.warning("upload %r of %r could not be aborted yet: %s", upload.upload_id, upload.key, error)
                return
        await self.core.journal.ended(upload)

    async def _sweep(self) -> None:
        """Clear away what ended uploads left behind, now and then; what cannot be swept is tried again next time."""
        while True:
            await asyncio.sleep(self.core.options.sweep_seconds * random.uniform(0.5, 1.5))
            try:
                await self.sweep()
            except Exception:  # noqa: BLE001 - whatever stops one sweep must not stop the next
                _log.exception("the sweep ended early")

    async def sweep(self) -> None:
        """End what was left open, and clear away the records of ended uploads in all buckets.

        Raises:
            BackendError: the buckets could not be listed. A bucket that cannot be swept only costs a line in the log.
        """
        await self.end_left_open()
        for bucket in await self.core.backend.list_buckets():
            try:
                await self.uploads.roster.sweep(bucket.name)
            except BackendError as error:
                _log.warning("bucket %r could not be swept: %s", bucket.name, error)

    async def close(self) -> None:
        """Finish clean-up, write the cache, stop the threads. The backend is closed by who opened it."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
        await self.core.settle(CLOSE_SECONDS)
        await self.core.cache.close()
        await self.core.journal.close()
        self.core.codecs.shutdown()
        self.core.digests.shutdown()


def _codec_threads(switchboard: Switchboard | None) -> int:
    """This process's share of the cores, but never so few that one large body is coded on one core while the others are idle."""
    workers = switchboard.place.board.count if switchboard is not None else 1
    return max(LEAST_CODEC_THREADS, -(-(os.cpu_count() or 1) // workers))
