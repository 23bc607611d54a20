"""Many small requests: wrk with finished requests, signed before the clock starts."""

import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# After its time wrk would cut connections in the middle of requests. Gateways pass that on, and MinIO's reader of trailers never ends after
# an upload that was cut: it takes a core and ever more memory. So every connection ends its last request, and then wrk is told to stop.
SCRIPT = """
local ffi = require("ffi")
ffi.cdef("struct moment { long seconds; long nanos; }; int clock_gettime(int, struct moment *); int kill(int, int); int getpid();")
local moment = ffi.new("struct moment")
local function now()
  ffi.C.clock_gettime(1, moment)
  return tonumber(moment.seconds) + tonumber(moment.nanos) / 1e9
end
local body
local file = io.open("%(body)s", "rb")
if file then body = file:read("*a"); file:close() end
local requests, last, until_time, waiting = {}, 0, nil, 0
function init()
  for line in io.lines("%(urls)s") do
    local path, range = line:match("^(%%S+)\t?(.*)$")
    local headers = {}
    if range ~= "" then headers["Range"] = range end
    if body then headers["Content-Type"] = "application/octet-stream" end
    requests[#requests + 1] = wrk.format("%(method)s", path, headers, body)
  end
end
function delay()
  until_time = until_time or now() + %(seconds)d
  if now() < until_time then return 0 end
  waiting = waiting + 1
  if waiting == %(connections)d then ffi.C.kill(ffi.C.getpid(), 2) end
  return 1e6
end
function request()
  last = last %% #requests + 1
  return requests[last]
end
function done(summary, latency)
  io.write(string.format("RESULT %%d %%d %%d %%d %%d\\n", summary.requests, latency:percentile(50), latency:percentile(99),
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""
_PATIENCE = 60
"""Seconds that requests under way may take to end."""
_RESULT = re.compile(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)
MISSING = "wrk is not installed (Debian package wrk); the load rows need it"


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw. Times in seconds."""

    requests: int
    """Ended ones."""
    rate: float
    """Requests per second: those ended while the clock ran, of those under way when it stopped a half."""
    p50: float
    p99: float
    failures: int
    """Answers above 399, and broken connections."""
    share: float
    """Part of its one core that wrk itself used; near 1 it, and not what it measures, is the limit."""


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
        values = {"urls": urls, "method": method, "body": content, "seconds": seconds, "connections": connections}
        script.write_text(SCRIPT % values)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds + _PATIENCE}s", "--timeout", f"{_PATIENCE}s", "-s", str(script), endpoint]
        before = _child_seconds()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        used = _child_seconds() - before
    found = _RESULT.search(done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"wrk failed: {done.stdout}\n{done.stderr}")
    requests, p50, p99, refused, broken = map(int, found.groups())
    return Load(requests, (requests - connections / 2) / seconds, p50 / 1e6, p99 / 1e6, refused + broken, used / seconds)


def _child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
