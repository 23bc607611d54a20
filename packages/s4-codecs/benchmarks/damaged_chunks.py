"""What nvCOMP's decoders for the CPU make of damaged chunks; prints the table of docs/adr/0013-decoding-in-a-helper-process.md.

    python packages/s4-codecs/benchmarks/damaged_chunks.py

Each of the mutations of the last chunk of a golden container is decoded in a process of its own: one bit, one bit near the start, a
truncation, or twenty bytes near the start. Needs the extra nvcomp-cpu.
"""

import ctypes
import os
import random
import sys
from collections import Counter
from pathlib import Path

from s4_format import Algorithm, parse_container

from s4_codecs.nvcomp.host_helper import Decoder, bitcomp_decoder, gdeflate_decoder
from s4_codecs.nvcomp.host_library import find_library

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "nvcomp"
CASES = {
    "GDeflate, entropy only": "gdeflate.text150k",
    "GDeflate, matches": "gdeflate-a1.text150k",
    "Bitcomp, u32 values": "bitcomp-char.u32mono160k",
    "Bitcomp, text": "bitcomp-char.text150k",
}
MUTATIONS = 150
OUTCOMES = ("said so", "gave other bytes", "ended the process", "gave the right bytes")


def mutated(chunk: bytes, number: int, chance: random.Random) -> bytes:
    """The chunk with damage of the kind that is this number's turn."""
    damaged = bytearray(chunk)
    near = min(len(chunk), 64)
    match number % 4:
        case 0:
            damaged[chance.randrange(len(chunk))] ^= 1 << chance.randrange(8)
        case 1:
            damaged[chance.randrange(near)] ^= 1 << chance.randrange(8)
        case 2:
            del damaged[chance.randrange(1, len(chunk)) :]
        case _:
            for _ in range(20):
                damaged[chance.randrange(min(len(chunk), 300))] = chance.randrange(256)
    return bytes(damaged)


def outcome(decode: Decoder, chunk: bytes, plain: bytes) -> str:
    """What decoding it in another process came to."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        source, target = ctypes.create_string_buffer(chunk + bytes(128)), ctypes.create_string_buffer(len(plain) + 128)
        starts = [-(-ctypes.addressof(buffer) // 64) * 64 for buffer in (source, target)]
        ctypes.memmove(starts[0], chunk, len(chunk))
        decoded = decode([(starts[0], len(chunk), starts[1], len(plain))])
        os._exit(0 if not decoded else 3 if ctypes.string_at(starts[1], len(plain)) == plain else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return OUTCOMES[status if status in (0, 1, 3) else 2]


def main() -> None:
    """Print the table."""
    library = find_library()
    if library is None:
        raise SystemExit("the extra nvcomp-cpu is not installed")
    decoders = {Algorithm.GDEFLATE: gdeflate_decoder(str(library.gdeflate)), Algorithm.BITCOMP: bitcomp_decoder(str(library.bitcomp))}
    sys.stdout.write("| | " + " | ".join(OUTCOMES) + " |\n")
    for title, name in CASES.items():
        payload = (GOLDEN / f"{name}.fcg1").read_bytes()
        container = parse_container(payload)
        chunk, size = list(container.chunks(payload))[-1]
        decode, target = decoders[container.algorithm], ctypes.create_string_buffer(size + 64)
        start = -(-ctypes.addressof(target) // 64) * 64
        aligned = ctypes.create_string_buffer(len(chunk) + 64)
        at = -(-ctypes.addressof(aligned) // 64) * 64
        ctypes.memmove(at, bytes(chunk), len(chunk))
        assert decode([(at, len(chunk), start, size)])
        plain, chance = ctypes.string_at(start, size), random.Random(name)
        found = Counter(outcome(decode, mutated(bytes(chunk), number, chance), plain) for number in range(MUTATIONS))
        sys.stdout.write(f"| {title} | " + " | ".join(str(found[one]) for one in OUTCOMES) + " |\n")


if __name__ == "__main__":
    main()
