"""What processes and their children use, as the kernel counts it."""

import os
import re
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_FORGET_PEAK = "5"


def family(pid: int) -> list[int]:
    """The process and all that descend from it, that live now."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(_fields(path)[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time that the family has used; its processes must outlive the measurement."""
    return sum(int(ticks) for one in family(pid) for ticks in _fields(Path(f"/proc/{one}/stat"))[11:13]) / _TICKS


def peak_bytes(pid: int) -> int:
    """Most resident memory of each process of the family since `forget_peak`, summed."""
    found = (_PEAK.search(Path(f"/proc/{one}/status").read_text()) for one in family(pid))
    return sum(int(match[1]) * 1024 for match in found if match)


def forget_peak(pid: int) -> None:
    """Let the peak of every process of the family begin at what it holds now."""
    for one in family(pid):
        Path(f"/proc/{one}/clear_refs").write_text(_FORGET_PEAK)


def _fields(stat: Path) -> list[str]:
    """Fields of a stat file from the state on, behind the name, which may hold blanks and parentheses."""
    return stat.read_text().rpartition(")")[2].split()
