"""Many small requests: wrk with finished requests, signed before the clock starts."""

import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """
local body
local file = io.open("%(body)s", "rb")
if file then body = file:read("*a"); file:close() end
local requests, last = {}, 0
function init()
  for line in io.lines("%(urls)s") do
    local path, range = line:match("^(%%S+)\t?(.*)$")
    local headers = {}
    if range ~= "" then headers["Range"] = range end
    if body then headers["Content-Type"] = "application/octet-stream" end
    requests[#requests + 1] = wrk.format("%(method)s", path, headers, body)
  end
end
function request()
  last = last %% #requests + 1
  return requests[last]
end
function done(summary, latency)
  io.write(string.format("RESULT %%d %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""
_RESULT = re.compile(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)
MISSING = "wrk is not installed (Debian package wrk); the load rows need it"


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw. Times in seconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    failures: int
    """Answers above 399, and broken connections."""
    share: float
    """Part of its one core that wrk itself used; near 1 it, and not what it measures, is the limit."""

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def available() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def run(endpoint: str, method: str, paths: Sequence[str], *, seconds: int, connections: int, body: bytes = b"") -> Load:
    """Send requests from one thread, going round through `paths`; a path may be followed by a tab and the value of a Range header.

    Raises:
        RuntimeError: wrk failed or said nothing.
    """
    with tempfile.TemporaryDirectory(prefix="s4-bench-") as folder:
        urls, content, script = (Path(folder) / name for name in ("urls", "body", "load.lua"))
        urls.write_text("\n".join(paths) + "\n")
        if body:
            content.write_bytes(body)
        script.write_text(SCRIPT % {"urls": urls, "method": method, "body": content})
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), endpoint]
        before = _child_seconds()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        used = _child_seconds() - before
    found = _RESULT.search(done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"wrk failed: {done.stdout}\n{done.stderr}")
    requests, micros, p50, p99, refused, broken = map(int, found.groups())
    return Load(requests, micros / 1e6, p50 / 1e6, p99 / 1e6, refused + broken, used / (micros / 1e6))


def _child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
