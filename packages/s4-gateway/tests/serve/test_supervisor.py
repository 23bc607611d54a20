"""The supervisor with jobs that only say what happens to them; real processes and signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SECONDS = 30.0


class Supervised:
    """A supervisor in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def said(self, *wanted: str) -> list[int]:
        """Wait for these words, in any order; the process ids of who said them."""
        assert self.process.stdout is not None
        missing, pids = list(wanted), dict[str, list[int]]()
        while missing:
            line = self.process.stdout.readline()
            assert line, f"it ended and never said {missing}"
            word, _, pid = line.strip().rpartition(" ")
            if word in missing:
                missing.remove(word)
                pids.setdefault(word, []).append(int(pid))
        return [pids[word].pop(0) for word in wanted]

    def rest(self) -> str:
        """All that is said until the end."""
        out, _ = self.process.communicate(timeout=SECONDS)
        return out


@contextmanager
def supervised(job: str, tmp_path: Path) -> Iterator[Supervised]:
    """A supervisor of two workers with this job of supervised.py; killed at the end."""
    command = [sys.executable, str(Path(__file__).with_name("supervised.py")), job, str(tmp_path / "mark")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield Supervised(process)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def is_gone(pid: int) -> bool:
    """Whether the process has ended, within a while."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_end_is_told_to_all(tmp_path: Path, how: signal.Signals) -> None:
    """It says that all are ready when they are, tells each to stop when it is told, and ends with 0 after them."""
    with supervised("until_told", tmp_path) as running:
        workers = running.said("serves", "serves", "ready")[:2]
        running.process.send_signal(how)
        assert sorted(running.said("told", "told")) == sorted(workers)
        running.said("ended")
        assert running.process.wait(SECONDS) == 0


def test_a_hang_up_changes_nothing(tmp_path: Path) -> None:
    """SIGHUP is ignored."""
    with supervised("until_told", tmp_path) as running:
        running.said("serves", "serves", "ready")
        running.process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        running.process.terminate()
        running.said("told", "told", "ended")


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    """At once the first time, and as often as it happens."""
    with supervised("until_told", tmp_path) as running:
        victim, other, _ = running.said("serves", "serves", "ready")
        for _ in range(3):
            os.kill(victim, signal.SIGKILL)
            (successor,) = running.said("serves")
            assert successor not in (victim, other)
            victim = successor
        running.process.terminate()
        assert sorted(running.said("told", "told")) == sorted([successor, other])


def test_descriptors_do_not_pile_up(tmp_path: Path) -> None:
    """A worker that starts after many others has no more files open than they had."""
    with supervised("lists_descriptors", tmp_path) as running:
        assert running.process.stdout is not None
        counts = []
        victims: list[int] = []
        while len(counts) < 7:
            word, _, pid = running.process.stdout.readline().strip().rpartition(" ")
            if word.startswith("descriptors"):
                counts.append(int(word.split()[1]))
            elif word == "serves":
                victims.append(int(pid))
            if len(victims) == 2:
                os.kill(victims.pop(), signal.SIGKILL)

    assert len(set(counts)) == 1


def test_a_refusal_ends_the_first_start(tmp_path: Path) -> None:
    """What one worker cannot start with is told once, as what it is, and nothing is tried again."""
    with supervised("refuses", tmp_path) as running:
        said = running.rest()
        assert said.startswith("SettingsError: --this: is refused | ")
        assert said.count("\n") == 1
        assert running.process.returncode == 1


def test_a_worker_that_dies_at_its_first_start(tmp_path: Path) -> None:
    """The message says how it ended."""
    with supervised("breaks", tmp_path) as running:
        assert "WorkersFailed: it was ended by SIGKILL before it served |" in running.rest()


def test_it_gives_up_before_all_served(tmp_path: Path) -> None:
    """Where not all workers ever come up, the others are told to stop after some attempts, and the message says why."""
    with supervised("later_ones_break", tmp_path) as running:
        said = running.rest()
        assert "WorkersFailed: the workers cannot start: it was ended by SIGKILL before it served |" in said
        assert "told" in said
        assert "ready" not in said
        assert running.process.returncode == 1


def test_a_start_that_fails_is_tried_again(tmp_path: Path) -> None:
    """Once the gateway serves, one failed start of another worker is no reason to end."""
    with supervised("breaks_once", tmp_path) as running:
        running.said("serves", "serves", "ready")
        running.process.terminate()
        running.said("told", "told", "ended")


def test_workers_end_without_their_supervisor(tmp_path: Path) -> None:
    """kill -9 of the supervisor is noticed by each of them."""
    with supervised("until_told", tmp_path) as running:
        workers = running.said("serves", "serves", "ready")[:2]
        running.process.kill()
        assert sorted(running.said("orphaned", "orphaned")) == sorted(workers)
        assert all(is_gone(pid) for pid in workers)


def test_a_second_interrupt_kills(tmp_path: Path) -> None:
    """Workers that do not end are killed by a second Ctrl-C, which is no orderly end."""
    with supervised("never_ends", tmp_path) as running:
        workers = running.said("serves", "serves", "ready")[:2]
        running.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert running.process.poll() is None
        running.process.send_signal(signal.SIGINT)
        assert "WorkersFailed: a worker was ended by SIGKILL instead of ending in order |" in running.rest()
        assert all(is_gone(pid) for pid in workers)
