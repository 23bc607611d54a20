"""The program of the helper process: decodes chunks with nvCOMP's own decoders for the CPU, where a damaged one can do no harm.

It is started by `s4_codecs.nvcomp.host`, as a script, with the standard library alone, and imports nothing of S4 so that it starts in
some hundredths of a second. Arguments: the number of the shared memory's descriptor, its size, and the paths of the two libraries.
Requests come through standard input, answers go to standard output; its end is the end of this process. Chunks and what they decode to lie
in the shared memory, whose begin has a row of `ROW` for each chunk.
"""

import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
import sys
from collections.abc import Callable
from struct import Struct

REQUEST = Struct("<II")
"""Operation, number of chunks."""
ROW = Struct("<QQQQ")
"""Offset and size of a chunk, offset and size of what it decodes to."""
ANSWER = Struct("<I")

GDEFLATE, BITCOMP = 5, 4
"""Operations are the algorithms of containers."""

DECODED, CORRUPT, NO_LIBRARY = range(3)
"""Answers: done; a chunk is damaged or does not hold as many bytes as it should; the library cannot do this."""

CPU_SECONDS = 20.0
"""What one request may take; the largest takes a fraction of a second."""
_MEMORY_BYTES = 1 << 30
"""Address space of the process."""

_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_GDEFLATE_NAMES = (
    "_ZN6nvcomp8gdeflate13decompressCPUEPKPKvPKmmPKPvPmSA_",
    "_ZN8gdeflate13decompressCPUEPKPKvPKmmPKPvPmS9_",
)
"""`gdeflate::decompressCPU` of nvcomp/native/gdeflate_cpu.h as C++ compilers spell it, from nvCOMP 6 and 5."""

Rows = list[tuple[int, int, int, int]]
"""As `ROW`, with addresses instead of offsets."""
Decoder = Callable[[Rows], bool]


def gdeflate_decoder(path: str) -> Decoder:
    """The decoder for GDeflate pages. It throws at damaged ones, which ends the process.

    Raises:
        OSError, AttributeError: the library cannot be loaded, or has no such decoder.
    """
    library = ctypes.CDLL(path)
    name = next((name for name in _GDEFLATE_NAMES if hasattr(library, name)), _GDEFLATE_NAMES[0])
    decompress = getattr(library, name)
    decompress.restype = None
    decompress.argtypes = [_POINTER, _POINTER, _SIZE, _POINTER, _POINTER, _POINTER]

    def decode(rows: Rows) -> bool:
        count = len(rows)
        sources, source_sizes, targets, target_sizes = zip(*rows, strict=True)
        made = (_SIZE * count)()
        decompress(
            (_POINTER * count)(*sources),
            (_SIZE * count)(*source_sizes),
            count,
            (_POINTER * count)(*targets),
            (_SIZE * count)(*target_sizes),
            made,
        )
        return tuple(made) == target_sizes

    return decode


def bitcomp_decoder(path: str) -> Decoder:
    """The decoder for Bitcomp streams (nvcomp/native/bitcomp.h).

    Raises:
        OSError, AttributeError: the library cannot be loaded, or has no such decoder.
    """
    library = ctypes.CDLL(path)
    describe, create, decompress, destroy = (
        library.bitcompGetCompressedInfo,
        library.bitcompCreatePlanFromCompressedData,
        library.bitcompHostUncompress,
        library.bitcompDestroyPlan,
    )
    describe.argtypes = [_POINTER] * 6
    create.argtypes = [_POINTER] * 2
    decompress.argtypes = [_POINTER] * 3
    destroy.argtypes = [_POINTER]

    def decode_one(source: int, source_size: int, target: int, target_size: int) -> bool:
        stored, plain, other = _SIZE(source_size), _SIZE(), [_INT(), _INT(), _INT()]
        if describe(source, ctypes.byref(stored), ctypes.byref(plain), *map(ctypes.byref, other)):
            return False
        if stored.value > source_size or plain.value != target_size:
            return False
        plan = _POINTER()
        if create(ctypes.byref(plan), source):
            return False
        failed = decompress(plan, source, target)
        destroy(plan)
        return not failed

    return lambda rows: all(decode_one(*row) for row in rows)


_SYSTEM_CALLS = {
    "x86_64": (0xC000003E, (0, 1, 3, 9, 10, 11, 12, 13, 14, 15, 24, 25, 28, 38, 60, 131, 202, 228, 231, 318)),
    "aarch64": (0xC00000B7, (63, 64, 57, 222, 226, 215, 214, 134, 135, 139, 124, 216, 233, 103, 93, 132, 98, 113, 94, 278)),
}
"""Machine -> its number in filters, and the calls that decoding needs: read, write, close, mmap, mprotect, munmap, brk, rt_sigaction,
rt_sigprocmask, rt_sigreturn, sched_yield, mremap, madvise, setitimer, exit, sigaltstack, futex, clock_gettime, exit_group, getrandom."""

# linux/prctl.h, linux/seccomp.h, linux/bpf_common.h
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER_MODE = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_NUMBER_OFFSET, _MACHINE_OFFSET = 0, 4


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def refuse_system_calls() -> None:
    """Let the kernel refuse everything but memory, the two pipes and the end, where it and this machine know how.

    What a damaged chunk made of this process can then open, start, signal or reach nothing.
    """
    machine, calls = _SYSTEM_CALLS.get(platform.machine(), (0, ()))
    if not calls:
        return
    steps = [(_LOAD, 0, 0, _MACHINE_OFFSET), (_JUMP_IF_EQUAL, 0, len(calls) + 1, machine), (_LOAD, 0, 0, _NUMBER_OFFSET)]
    steps += [(_JUMP_IF_EQUAL, len(calls) - place, 0, call) for place, call in enumerate(calls)]
    steps += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    packed = b"".join(Struct("<HBBI").pack(*step) for step in steps)
    prctl = ctypes.CDLL(None).prctl
    prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    prctl(_SET_SECCOMP, _FILTER_MODE, ctypes.byref(_Program(len(steps), packed)))


def confine() -> None:
    """Give up what decoding does not need: a damaged chunk may make the library do anything.

    Interrupts are for the parent, whose end is seen at standard input.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_AS, _MEMORY_BYTES),
    ):
        _, hard = resource.getrlimit(limit)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (bound, bound))
    refuse_system_calls()


def serve(area: mmap.mmap, decoders: dict[int, Decoder]) -> None:
    """Answer requests until there are no more."""
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    while len(request := os.read(0, REQUEST.size)) == REQUEST.size:
        operation, count = REQUEST.unpack(request)
        table = area[: ROW.size * count]
        rows = [(start + at, size, start + to, room) for at, size, to, room in ROW.iter_unpack(table)]
        decode = decoders.get(operation)
        # A timer of CPU time: however busy the machine is, what is sound has enough, and what loops for ever ends.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        answer = NO_LIBRARY if decode is None else DECODED if decode(rows) else CORRUPT
        signal.setitimer(signal.ITIMER_PROF, 0)
        os.write(1, ANSWER.pack(answer))


def main(descriptor: str, size: str, gdeflate_path: str, bitcomp_path: str) -> None:
    """Load what there is, and serve."""
    area = mmap.mmap(int(descriptor), int(size))
    decoders = {}
    for operation, decoder, path in ((GDEFLATE, gdeflate_decoder, gdeflate_path), (BITCOMP, bitcomp_decoder, bitcomp_path)):
        try:
            decoders[operation] = decoder(path)
        except (OSError, AttributeError):
            continue
    confine()
    serve(area, decoders)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
