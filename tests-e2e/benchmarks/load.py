"""Many small requests: wrk with a list of presigned URLs."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
THREADS = 2

SCRIPT = """
local urls, next_url = {}, 0
for line in io.lines("%(urls)s") do urls[#urls + 1] = line end
local threads = 0
function setup(thread) thread:set("id", threads); threads = threads + 1 end
function init() next_url = id * math.floor(#urls / %(threads)d) end
wrk.method = "%(method)s"
local file = io.open("%(body)s", "rb")
if file then wrk.body = file:read("*a") end
%(headers)s
function request()
  next_url = next_url %% #urls + 1
  local path, range = urls[next_url]:match("^(%%S+)\t?(.*)$")
  if range ~= "" then wrk.headers["Range"] = range end
  return wrk.format(nil, path)
end
function done(summary, latency)
  io.write(string.format("RESULT %%d %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""
_RESULT = re.compile(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw. Times in seconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    failures: int
    """Answers above 399, and broken connections."""

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def available() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def run(
    endpoint: str, method: str, paths: Sequence[str], *, seconds: int, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
) -> Load:
    """Send requests over 32 connections, going round through `paths`; a path may be followed by a tab and the value of a Range header.

    Raises:
        RuntimeError: wrk failed or said nothing.
    """
    with tempfile.TemporaryDirectory(prefix="s4-bench-") as folder:
        urls, content, script = (Path(folder) / name for name in ("urls", "body", "load.lua"))
        urls.write_text("\n".join(paths) + "\n")
        if body:
            content.write_bytes(body)
        lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers)
        script.write_text(SCRIPT % {"urls": urls, "method": method, "body": content, "headers": lines, "threads": THREADS})
        command = ["wrk", f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), endpoint]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = _RESULT.search(done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"wrk failed: {done.stdout}\n{done.stderr}")
    requests, micros, p50, p99, refused, broken = map(int, found.groups())
    return Load(requests, micros / 1e6, p50 / 1e6, p99 / 1e6, refused + broken)
