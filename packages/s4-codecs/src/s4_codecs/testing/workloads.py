"""The named workloads of every ratio and throughput figure, deterministic byte for byte.

The first six are the published benchmark's generators (periodic, far more regular than real data); the others are randomised or realistic.
Random numbers are SplitMix64 of a counter, so no library version changes them. Sizes are in bytes; generators of fixed-width numbers
round down to whole numbers.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

_Words = npt.NDArray[np.uint64]
_Ints = npt.NDArray[np.int64]

_LCG_FACTOR = 6364136223846793005
_LCG_MASK = (1 << 64) - 1


def splitmix(count: int, seed: int) -> _Words:
    """`count` uniform 64-bit values."""
    with np.errstate(over="ignore"):
        z = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed) * np.uint64(1 << 32)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def uniform(count: int, low: int, high: int, *, seed: int) -> _Ints:
    """`count` integers in [low, high)."""
    return (splitmix(count, seed) % np.uint64(high - low)).astype(np.int64) + low


def _pack(values: npt.ArrayLike, form: str) -> bytes:
    return np.asarray(values).astype(form).tobytes()


def nginx(size: int) -> bytes:
    """One constant access-log line with a counter (the published "nginx")."""
    line = (
        b'203.0.113.42 - - [12/May/2026:10:30:45 +0000] "GET /api/v1/users/123 HTTP/1.1" 200 4521 "https://example.com/dashboard" '
        b'"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"\n'
    )
    step = len(line) + 21
    return b"".join(line + b" id=%016x\n" % k for k in range(size // step + 1))[:size]


def parquet_like(size: int) -> bytes:
    """1,024 consecutive u32, then 32 copies of a 36-byte text line, repeated (the published "Parquet-like")."""
    text = b"col=user_id,type=u32,encoding=plain\n" * 32
    blocks = size // (4096 + len(text)) + 1
    return b"".join(np.arange(i * 1024, (i + 1) * 1024, dtype="<u4").tobytes() + text for i in range(blocks))[:size]


def postings(size: int) -> bytes:
    """u32 0, 1, 2, ... (the published "postings")."""
    return np.arange(size // 4, dtype="<u4").tobytes()


def timestamps(size: int) -> bytes:
    """i64 ns, step 1,000,000 + (bytes written mod 256) (the published "timestamps")."""
    written = np.arange(1, size // 8 + 1, dtype=np.int64) * 8
    steps = 1_000_000 + (written & 0xFF)
    return _pack(1_700_000_000_000_000_000 + np.cumsum(steps) - steps, "<i8")


def doc_values(size: int) -> bytes:
    """Low 40 bits of a 64-bit linear congruential generator as i64 (the published "doc_values")."""
    count, block = size // 8, 1 << 14
    states = np.empty(block, dtype=np.uint64)
    state = 0xAAAAAAAA55555555
    factor, offset = 1, 0  # of `block` steps at once
    for i in range(block):
        state = (state * _LCG_FACTOR + 1) & _LCG_MASK
        states[i] = state
        factor, offset = factor * _LCG_FACTOR & _LCG_MASK, (offset * _LCG_FACTOR + 1) & _LCG_MASK
    out = np.empty((count + block - 1) // block * block, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for start in range(0, out.size, block):
            out[start : start + block] = states
            states = states * np.uint64(factor) + np.uint64(offset)
    return _pack(out[:count] & np.uint64(0xFFFFFFFFFF), "<i8")


def noise(size: int) -> bytes:
    """Incompressible bytes."""
    return _pack(splitmix(size // 8, 1), "<u8")


def log(size: int) -> bytes:
    """A realistic access log: zipf-like paths, addresses, sizes, times that advance, hex request ids (about 5x at zstd 3)."""
    per = 150
    n = size // per + 64
    u = splitmix(n * 6, 2).reshape(6, n)
    paths = [f"/api/v1/{a}/{b}" for a in ("users", "orders", "items", "search", "carts") for b in ("list", "get", "put", "stat", "x")]
    paths += ["/", "/index.html", "/static/app.js", "/healthz"]
    agents = (
        "Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0",
        "curl/8.5.0",
        "python-requests/2.31",
        "okhttp/4.12",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2)",
    )
    rank = ((u[0] % np.uint64(1000)).astype(np.float64) / 1000) ** 2
    pick = (rank * len(paths)).astype(np.int64).tolist()
    ip, status, sz, rid, ms = (u[i].tolist() for i in range(1, 6))
    codes = (200,) * 16 + (304, 404, 500, 302)
    form = '10.%d.%d.%d - - [20/Nov/2026:%02d:%02d:%02d +0000] "GET %s?id=%d HTTP/1.1" %d %d "-" "%s" rt=0.%03d rid=%08x\n'
    lines, t = [], 0
    for i in range(n):
        t += ms[i] % 7 == 0
        address = ip[i] % 4, ip[i] // 7 % 32, ip[i] // 911 % 250
        clock = t // 3600 % 24, t // 60 % 60, t % 60
        answer = codes[status[i] % 20], sz[i] % 90000, agents[sz[i] // 97 % 5]
        lines.append(form % (*address, *clock, paths[pick[i]], rid[i] % 5000, *answer, ms[i] % 900, rid[i] >> 32))
    body = "".join(lines).encode()
    while len(body) < size:
        body += body
    return body[:size]


def gaps(size: int) -> bytes:
    """u32 running sum of random steps 1..4: postings as they are."""
    return _pack(np.cumsum(uniform(size // 4, 1, 5, seed=3)), "<u4")


def jitter(size: int) -> bytes:
    """i64 ns, 1 ms + random 0..255 ns steps: timestamps as they are."""
    return _pack(1_700_000_000_000_000_000 + np.cumsum(1_000_000 + uniform(size // 8, 0, 256, seed=4)), "<i8")


def walk_i64(size: int) -> bytes:
    """i64 random walk with steps -1000..1000."""
    return _pack(np.cumsum(uniform(size // 8, -1000, 1001, seed=5)), "<i8")


def walk_f64(size: int) -> bytes:
    """f64 price walk in cents: steps -200..200 cents from 10,000, divided by 100."""
    return _pack((1_000_000 + np.cumsum(uniform(size // 8, -200, 201, seed=6))) / 100.0, "<f8")


def weights_f32(size: int) -> bytes:
    """f32 sums of four uniforms scaled to about +-0.02: bell-shaped model weights."""
    count = size // 4
    s = splitmix(count * 4, 7).reshape(4, count)
    return _pack(((s >> np.uint64(40)).astype(np.float64).sum(axis=0) / (1 << 24) - 2.0) * 0.02, "<f4")


def records(size: int) -> bytes:
    """36-byte records: u64 id, i64 time, f64 price, u32 quantity, 8-byte symbol; zeros up to `size`."""
    n = size // 36
    rec = np.zeros(n, dtype=[("id", "<u8"), ("t", "<i8"), ("p", "<f8"), ("q", "<u4"), ("s", "S8")])
    rec["id"] = np.arange(n)
    rec["t"] = np.cumsum(uniform(n, 0, 5000, seed=8))
    rec["p"] = (10_000 + np.cumsum(uniform(n, -3, 4, seed=9))) / 100.0
    rec["q"] = uniform(n, 1, 500, seed=10)
    rec["s"] = np.array([b"AAPL", b"MSFT", b"NVDA", b"AMZN", b"GOOG"])[uniform(n, 0, 5, seed=11)]
    return rec.tobytes().ljust(size, b"\0")


WORKLOADS: Mapping[str, Callable[[int], bytes]] = MappingProxyType(
    {
        make.__name__: make
        for make in (
            nginx,
            parquet_like,
            postings,
            timestamps,
            doc_values,
            noise,
            log,
            gaps,
            jitter,
            walk_i64,
            walk_f64,
            weights_f32,
            records,
        )
    }
)
"""Every generator by its name; each takes a size in bytes."""

SHA256_64MIB: Mapping[str, str] = MappingProxyType(
    {
        "nginx": "4309f25e7b3dba8394c7a76d34f13363a8595cdf57e09d278c7a677d1d6ae5fa",
        "parquet_like": "95c77a993c66fd334ab6a227e1f121425e0d0d82d7e9b85abed0799ef2db1536",
        "postings": "d5f530811c8d9d406ad550cfcda607b89df0716df2e0561686c46283f4a1f3bd",
        "timestamps": "e332df42a2eb6ed727b6bb09f8ccf26afb037d94e823f199e3041c7b473afba8",
        "doc_values": "486eb11891e8b438fc0a45d4394d79c5c8bd76491af7cadcc1e4b0cee8f6e857",
        "noise": "d229cc99aceda63ffecad5495f53e2092145c079a002e68de120b2770eebef42",
        "log": "7b9052665073697f7f0cb7b6172aca36a376b1e6bfccc261e85cc0d1a21f435d",
        "gaps": "eb6e6f9dd33f79fd66d7efd1dfe4b8d121e3c6d1dae7751b4f422e781e6dffa6",
        "jitter": "d89400481d23ef9ff4a29532262deae1d175a43df8f4669e6f627192d911c3d4",
        "walk_i64": "9602a78087bd9341304af5b55c20ee3476df385a41768affad42ab86999599fd",
        "walk_f64": "102fd44d825cfa777965c5c28ace808ad15c591c9cab8a9c2ef58635b18b92d1",
        "weights_f32": "e9fe8474643f16c75508eaeec655c5885609d6d581233e33023f09ffa89cab4e",
        "records": "480f81deb84f5038c0e7ec8969a8fbf35a66bfd0faa36a7a45e0fc8437841115",
    }
)
"""SHA-256 of each workload at 64 MiB."""
