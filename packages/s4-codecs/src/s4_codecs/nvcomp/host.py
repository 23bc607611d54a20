"""Chunks decoded by nvCOMP's CPU decoders in helper processes, so that what damaged bytes do to the library never happens to the caller.

A helper is started when it is first needed, works for one thread at a time, and lives until this process ends; one that died is replaced.
It shares nothing with this process but a piece of memory and two pipes.
"""

import atexit
import contextlib
import mmap
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from s4_format import MAX_CHUNK_BYTES, Algorithm

from s4_codecs.errors import CodecUnavailableError, CorruptPayloadError
from s4_codecs.nvcomp.host_helper import ANSWER, CORRUPT, DECODED, REQUEST, ROW
from s4_codecs.nvcomp.host_library import HostLibrary

ANSWER_SECONDS = 120
"""How long to wait for an answer, on a machine however busy; the helper's own limit of CPU time is far below."""

_GROUP_BYTES = 4 << 20
"""Plaintext of the chunks that are sent together, unless one alone has more."""
_GROUP_CHUNKS = 4096
_MAX_GROWTH = 2
_MAX_OVERHEAD = 64 << 10
"""No algorithm makes a chunk larger than this many times its size and so many bytes: a container that says so is not decoded."""
_ALIGNMENT = 64
_AREA_BYTES = _GROUP_CHUNKS * (ROW.size + 2 * _ALIGNMENT) + (_MAX_GROWTH + 1) * MAX_CHUNK_BYTES + _MAX_OVERHEAD + (1 << 20)
"""Shared memory of one helper: the largest chunk, stored and decoded. Pages that were never used take none."""

_DAMAGE_SIGNALS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS, signal.SIGPROF}
)
"""How a library ends that was given damaged bytes; SIGPROF is the limit of CPU time."""

Chunk = tuple[memoryview, int]
"""Stored bytes, and how many they decode to."""


def largest_chunk(size: int) -> int:
    """Stored bytes of a chunk of `size` original bytes, at most."""
    return _MAX_GROWTH * size + _MAX_OVERHEAD


class _HelperDied(Exception):
    """The helper ended; `by` is the signal, 0 when it was none."""

    def __init__(self, by: int) -> None:
        super().__init__(f"the helper process ended ({signal.Signals(by).name if by else 'no signal'})")
        self.by = by


class HostDecoder:
    """Decodes with the helpers of this process, as many at once as there are processors.

    Args:
        library: where nvCOMP lies.
    """

    def __init__(self, library: HostLibrary) -> None:
        self._library = library
        self._idle: list[_Helper] = []
        self._all: set[_Helper] = set()
        self._slots = threading.Semaphore(len(os.sched_getaffinity(0)))
        self._lock = threading.Lock()
        self._closed = False

    def decode(self, algorithm: Algorithm, chunks: Sequence[Chunk]) -> Iterator[bytes]:
        """The plaintext of the chunks, in order, some at a time.

        Raises:
            CorruptPayloadError: a chunk is damaged, or holds another number of bytes.
            CodecUnavailableError: no helper can be started, or it was ended from outside.
        """
        for group in _groups(chunks):
            yield self._decode_group(algorithm, group)

    def close(self) -> None:
        """End the helpers; a later call to decode fails."""
        with self._lock:
            self._closed = True
            helpers = list(self._all)
            self._all.clear()
            self._idle.clear()
        for helper in helpers:
            helper.close()

    def abandon(self) -> None:
        """Forget the helpers, which belong to the process that this one was forked from."""
        for helper in self._all:
            helper.abandon()

    def _decode_group(self, algorithm: Algorithm, group: Sequence[Chunk]) -> bytes:
        with self._slots:
            with contextlib.suppress(_HelperDied):
                return self._try(algorithm, group)
            # Ended from outside, perhaps while it was idle: that says nothing of the chunks.
            try:
                return self._try(algorithm, group)
            except _HelperDied as error:
                raise CodecUnavailableError(f"{algorithm.name}: {error} again and again") from error

    def _try(self, algorithm: Algorithm, group: Sequence[Chunk]) -> bytes:
        helper = self._take()
        try:
            plain = helper.decode(algorithm, group)
        except BaseException as error:
            # It is ended, or its memory is in doubt, or an answer is still on its way that the next caller must not take for its own.
            self._drop(helper)
            if isinstance(error, _HelperDied) and error.by in _DAMAGE_SIGNALS:
                raise CorruptPayloadError(f"{algorithm.name}: a chunk is damaged; {error} at it") from error
            raise
        with self._lock:
            self._idle.append(helper)
        return plain

    def _take(self) -> "_Helper":
        with self._lock:
            if self._closed:
                raise CodecUnavailableError("the helper processes were ended with this process")
            if self._idle:
                return self._idle.pop()
        helper = _Helper(self._library)
        with self._lock:
            self._all.add(helper)
        return helper

    def _drop(self, helper: "_Helper") -> None:
        with self._lock:
            self._all.discard(helper)
        helper.close()


class _Helper:
    """One helper process. One thread at a time."""

    def __init__(self, library: HostLibrary) -> None:
        try:
            descriptor = os.memfd_create("s4-nvcomp", os.MFD_CLOEXEC)
            try:
                os.ftruncate(descriptor, _AREA_BYTES)
                self._area = mmap.mmap(descriptor, _AREA_BYTES)
                self._process = _start(descriptor, library)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise CodecUnavailableError(f"the helper process that decodes with nvCOMP cannot be started: {error}") from error
        assert self._process.stdin
        assert self._process.stdout
        self._requests = self._process.stdin.fileno()
        self._answers = self._process.stdout.fileno()

    def decode(self, algorithm: Algorithm, group: Sequence[Chunk]) -> bytes:
        """The plaintext of the chunks, joined.

        Raises:
            CorruptPayloadError, CodecUnavailableError: the helper says so.
            _HelperDied: it ended.
        """
        start, size = self._put(group)
        try:
            os.write(self._requests, REQUEST.pack(algorithm, len(group)))
        except BrokenPipeError:
            raise self._death() from None
        answer = self._answer()
        if answer == DECODED:
            return self._area[start : start + size]
        if answer == CORRUPT:
            raise CorruptPayloadError(f"{algorithm.name}: a chunk is damaged, or does not hold the bytes promised")
        raise CodecUnavailableError(f"this release of nvCOMP has no decoder for {algorithm.name} on the CPU")

    def _put(self, group: Sequence[Chunk]) -> tuple[int, int]:
        """Chunks and their table into the shared memory; where in it the plaintext will be."""
        place = _aligned(ROW.size * len(group))
        places = []
        for chunk, _ in group:
            self._area[place : place + len(chunk)] = chunk
            places.append(place)
            place = _aligned(place + len(chunk))
        start = target = place
        for number, (chunk, size) in enumerate(group):
            ROW.pack_into(self._area, ROW.size * number, places[number], len(chunk), target, size)
            target += size
        return start, target - start

    def _answer(self) -> int:
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        if not poll.poll(ANSWER_SECONDS * 1000):
            raise CodecUnavailableError(f"the helper process did not answer within {ANSWER_SECONDS} s")
        answer = os.read(self._answers, ANSWER.size)
        if len(answer) < ANSWER.size:
            raise self._death()
        return int(ANSWER.unpack(answer)[0])

    def _death(self) -> _HelperDied:
        status = self._process.wait(ANSWER_SECONDS)
        return _HelperDied(max(-status, 0))

    def close(self) -> None:
        """End the process, and give the memory back."""
        self._process.kill()
        self._process.wait()
        self.abandon()

    def abandon(self) -> None:
        """Close what this process holds of it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        # After a fork the process is not this one's child: its status cannot be had, and nothing is left to wait for.
        self._process.returncode = self._process.returncode or 0
        with contextlib.suppress(BufferError):
            self._area.close()


def _start(descriptor: int, library: HostLibrary) -> "subprocess.Popen[bytes]":
    """The process: a bare interpreter with none of this one's files, settings or secrets."""
    script = Path(__file__).with_name("host_helper.py")
    paths = {"LD_LIBRARY_PATH": os.environ["LD_LIBRARY_PATH"]} if "LD_LIBRARY_PATH" in os.environ else {}
    # Nothing in the command comes from outside.
    return subprocess.Popen(  # noqa: S603
        (sys.executable or "", "-I", "-S", str(script), str(descriptor), str(_AREA_BYTES), str(library.gdeflate), str(library.bitcomp)),
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        env=paths,
        cwd="/",
    )


def _aligned(place: int) -> int:
    return -(-place // _ALIGNMENT) * _ALIGNMENT


def _groups(chunks: Sequence[Chunk]) -> Iterator[list[Chunk]]:
    """The chunks in groups that fit into the shared memory.

    Raises:
        CorruptPayloadError: a chunk is stored in more bytes than it can be.
    """
    group, size = list[Chunk](), 0
    for chunk, plain in chunks:
        if len(chunk) > largest_chunk(plain):
            raise CorruptPayloadError(f"a chunk of {plain} bytes is stored in {len(chunk)}")
        room = max(len(chunk), plain)
        if group and (size + room > _GROUP_BYTES or len(group) == _GROUP_CHUNKS):
            yield group
            group, size = [], 0
        group.append((chunk, plain))
        size += room
    if group:
        yield group


_decoders: dict[HostLibrary, HostDecoder] = {}
_lock = threading.Lock()


def host_decoder(library: HostLibrary) -> HostDecoder:
    """The decoder of this process."""
    with _lock:
        if library not in _decoders:
            _decoders[library] = HostDecoder(library)
        return _decoders[library]


def _close() -> None:
    for decoder in _decoders.values():
        decoder.close()


def _begin_anew() -> None:
    global _lock  # noqa: PLW0603 -- it may have been held by a thread that does not exist here
    _lock = threading.Lock()
    for decoder in _decoders.values():
        decoder.abandon()
    _decoders.clear()


atexit.register(_close)
os.register_at_fork(after_in_child=_begin_anew)
