"""Where rows are measured: a target, the objects that it needs, and a meter around the work."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from s4_codecs.testing import workloads
from servers.gateways import running_gateway_over

from benchmarks import processes
from benchmarks.link import Far
from benchmarks.targets import Target

MIB = 2**20
_WRITERS = 8


@cache
def workload(name: str, size: int) -> Path:
    """A file that holds a named workload; kept between runs, because making one takes longer than measuring it."""
    folder = Path(tempfile.gettempdir()) / "s4-bench-workloads"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{size}"
    if not path.exists() or path.stat().st_size != size:
        partial = path.with_name(f"{path.name}.partial")
        partial.write_bytes(workloads.WORKLOADS[name](size))
        partial.replace(path)
    return path


@dataclass(slots=True)
class Meter:
    """What the measured processes used while the work ran."""

    cpu: float = 0.0
    """Seconds, of the target alone."""
    all_cpu: float = 0.0
    """With the store."""
    peak: int = 0
    """Bytes of resident memory."""
    backend: dict[str, int] = field(default_factory=dict)
    """Requests to the store by operation."""

    def per(self, requests: int) -> dict[str, float]:
        """Backend requests per client request."""
        return {name: round(count / requests, 3) for name, count in sorted(self.backend.items())}


@dataclass(slots=True)
class Ground:
    """One target and what was prepared in it."""

    target: Target
    seconds: int
    """Length of a load."""
    rounds: int
    folder: Path
    """For what lives as long as the target."""
    far: Far | None = None
    """The link to the store, where there is one."""
    _done: set[str] = field(default_factory=set)

    @property
    def bucket(self) -> str:
        """The target's bucket, made on first use."""
        self.once("bucket", lambda: self.target.client().create_bucket(Bucket=self.target.own_bucket))
        return self.target.own_bucket

    def once(self, name: str, make: Callable[[], object]) -> bool:
        """Prepare something on first use; whether this was it."""
        if name in self._done:
            return False
        make()
        self._done.add(name)
        return True

    def write(self, objects: list[tuple[str, bytes]], *, bucket: str | None = None) -> None:
        """Put objects through the target."""
        self._write(self.target.client(), bucket or self.bucket, objects)

    def write_elsewhere(self, objects: list[tuple[str, bytes]]) -> None:
        """Put objects so that the target knows nothing of them: by another gateway where it is one of ours, which alone keep facts."""
        bucket = self.bucket
        if self.target.gateway is None:
            self._write(self.target.client(), bucket, objects)
            return
        with running_gateway_over(self.target.store, self.folder / f"elsewhere-{len(self._done)}") as other:
            self._write(other.client(), bucket, objects)

    @staticmethod
    def _write(s3: object, bucket: str, objects: list[tuple[str, bytes]]) -> None:
        with ThreadPoolExecutor(_WRITERS) as pool:
            list(pool.map(lambda one: s3.put_object(Bucket=bucket, Key=one[0], Body=one[1]), objects))  # type: ignore[attr-defined]

    @contextmanager
    def metered(self) -> Iterator[Meter]:
        """Measure what the body of the with statement costs."""
        meter = Meter()
        processes.forget_peak(self.target.pid)
        backend = self._backend_requests()
        cpu, all_cpu = self.target.cpu_seconds(), self.target.all_cpu_seconds()
        yield meter
        meter.cpu = self.target.cpu_seconds() - cpu
        meter.all_cpu = self.target.all_cpu_seconds() - all_cpu
        meter.peak = processes.peak_bytes(self.target.pid)
        meter.backend = dict(self._backend_requests() - backend)

    def _backend_requests(self) -> Counter[str]:
        """As the link counts them, the same way for every target; where there is none, as the target does."""
        return self.far.requests() if self.far else self.target.backend_requests()
