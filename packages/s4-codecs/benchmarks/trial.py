"""What choosing by trial costs beside encoding, and what it chooses; prints the table of docs/adr/0015-choosing-by-trial.md.

    python packages/s4-codecs/benchmarks/trial.py [MIB [ROUNDS]]

Times are CPU seconds of the thread, the least of all rounds, because other work on the machine disturbs wall clocks.
"""

import sys
import time

from s4_codecs import EncodeOptions, FramePolicy, ObjectEncoder, explain, frame_size
from s4_codecs._buffer import Pieces
from s4_codecs.dispatch import TrialPilot
from s4_codecs.dispatch.by_options import pilot_for
from s4_codecs.testing.workloads import WORKLOADS

KIB, MIB = 1 << 10, 1 << 20
CHUNK = 64 * KIB
TRIAL = EncodeOptions(dispatcher="trial")


def pieces(view: memoryview) -> Pieces:
    """The bytes as a server receives them."""
    made = Pieces()
    for at in range(0, len(view), CHUNK):
        made.add(view[at : at + CHUNK])
    return made


def choosing(data: memoryview, frames: list[Pieces]) -> tuple[float, TrialPilot]:
    """Seconds that the choices of one object take, all frames given, and what made them."""
    pilot = pilot_for(TRIAL, len(data))
    if not isinstance(pilot, TrialPilot):
        raise TypeError("the options are no trial's")
    window = pieces(data[: pilot.window])
    began = time.thread_time()
    pilot.first(window)
    for frame in frames:
        pilot.following(frame)
    return time.thread_time() - began, pilot


def encoding(data: memoryview, codec: str) -> float:
    """Seconds that encoding takes without a choice."""
    encoder = ObjectEncoder(EncodeOptions(codec=codec, dispatcher="always"), size=len(data))
    began = time.thread_time()
    for task in [*encoder.feed(data), *encoder.finish()]:
        encoder.accept(task.run())
    return time.thread_time() - began


def measure(name: str, size: int, rounds: int) -> str:
    """One row of the table."""
    data = memoryview(WORKLOADS[name](size))
    pick = explain(data[: 512 * KIB], total_size=len(data)).codec
    step = frame_size(FramePolicy.DEFAULT, size=len(data), codec=pick)
    frames = [pieces(data[at : at + step]) for at in range(0, len(data), step)]
    chosen = [choosing(data, frames) for _ in range(rounds)]
    choice, encode = min(seconds for seconds, _ in chosen), min(encoding(data, pick.label) for _ in range(rounds))
    pilot = chosen[0][1]
    counted = pilot.spent_ns / pilot.encoding_ns
    return f"| `{name}` | {pick.label} | {choice * 1000:.2f} | {encode * 1000:.1f} | {choice / encode:.2%} | {counted:.2%} |"


def main() -> None:
    """Print the table of all workloads."""
    size = int(sys.argv[1]) * MIB if len(sys.argv) > 1 else 64 * MIB
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    lines = ["| workload | chosen | choosing ms | encoding ms | share | share by the table |", "|---|---|---:|---:|---:|---:|"]
    lines += [measure(name, size, rounds) for name in WORKLOADS]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
