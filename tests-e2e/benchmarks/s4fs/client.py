"""One piece of work with one file system, in a process of its own; run by the environment that has that file system.

Standard input: a line of JSON that says what (`Asked` of programs.py), and an empty line to begin, once "ready" was said.
Standard output: "ready", and a line of JSON: seconds, CPU seconds, bytes and a digest of what was read, and the process's memory.
"""

import hashlib
import json
import random
import re
import sys
import time
from pathlib import Path

import fsspec

MIB = 1 << 20


def main() -> None:
    """Get ready, wait, work, tell."""
    asked = json.loads(sys.stdin.readline())
    # Behind everything that the environment itself has: libraries that it lacks.
    sys.path.extend(asked["extra_path"])
    work = WORK[asked["work"]]
    if asked["work"].startswith("parquet"):
        import pyarrow.parquet  # noqa: F401  loaded before the clock runs
    fs = file_system(asked)
    # The connection is open and the client is made before the clock runs.
    fs.exists(asked["bucket"] + "/nothing")
    before = resident("VmHWM")
    print("ready", flush=True)
    sys.stdin.readline()
    cpu, started = time.process_time(), time.perf_counter()
    result = work(fs, asked["path"], **asked["arguments"])
    told = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    told |= {"peak_bytes": resident("VmHWM"), "ready_bytes": before, "bytes": size(result), "digest": digest(result)}
    print(json.dumps(told), flush=True)


def file_system(asked: dict) -> "fsspec.AbstractFileSystem":
    """s3fs, or an s4fs over it, at its default settings."""
    options = {"endpoint_url": asked["endpoint"], "key": asked["access_key"], "secret": asked["secret_key"]}
    if asked["file_system"] == "s3":
        return fsspec.filesystem("s3", **options)
    return fsspec.filesystem("s4", target_protocol="s3", target_options=options, write_enabled=True)


def parquet(fs, path, columns):
    """Columns of a Parquet file, the way pyarrow reads them through fsspec."""
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path, columns=columns, filesystem=fs)


def parquet_known(fs, path, columns):
    """The same with fsspec's own reader, which asks for the parts that are needed at once, before pyarrow reads."""
    import pyarrow.parquet
    from fsspec.parquet import open_parquet_file

    with open_parquet_file(path, fs=fs, columns=columns, engine="pyarrow") as file:
        return pyarrow.parquet.read_table(file, columns=columns)


def ranges(fs, path, size, step):
    """The whole object, range by range."""
    return [fs.cat_file(path, start=start, end=min(size, start + step)) for start in range(0, size, step)]


def listing(fs, path):
    """Names and sizes."""
    return [json.dumps(sorted((entry["name"].rpartition("/")[2], entry["size"]) for entry in fs.ls(path, detail=True))).encode()]


def sequential(fs, path, step):
    """An open file, read to its end."""
    with fs.open(path, "rb") as file:
        return list(iter(lambda: file.read(step), b""))


def whole(fs, path):
    """The object at once."""
    return [fs.cat_file(path)]


def one_by_one(fs, path, size, length, count):
    """Ranges at random places, each asked for when the one before has come."""
    return [fs.cat_file(path, start=start, end=start + length) for start in places(size, length, count)]


def seeking(fs, path, size, length, count):
    """The same ranges of one open file."""
    with fs.open(path, "rb") as file:
        return [_at(file, start, length) for start in places(size, length, count)]


def _at(file, start, length):
    file.seek(start)
    return file.read(length)


def together(fs, path, size, length, count):
    """The same ranges, asked for at once."""
    starts = places(size, length, count)
    return fs.cat_ranges([path] * count, starts, [start + length for start in starts])


def places(size, length, count):
    """The same random places for everybody."""
    chosen = random.Random(7)
    return [chosen.randrange(0, size - length) for _ in range(count)]


def write(fs, path, local, times):
    """A local file, several times over, through an open file a MiB at a time; what was written is not told back."""
    with fs.open(path, "wb") as file:
        for _ in range(times):
            with Path(local).open("rb") as source:
                while piece := source.read(MIB):
                    file.write(piece)
    return []


def put(fs, path, local):
    """A local file."""
    fs.put_file(local, path)
    return []


def check(fs, path, step):
    """SHA-256 of an object that is too large to be held."""
    sha = hashlib.sha256()
    with fs.open(path, "rb") as file:
        while piece := file.read(step):
            sha.update(piece)
    return [sha.digest()]


READS = (parquet, parquet_known, ranges, listing, sequential, whole, one_by_one, seeking, together)
WORK = {work.__name__: work for work in (*READS, write, put, check)}


def resident(name):
    """Bytes, as the kernel tells them in /proc; a process's rusage would begin at what its parent had."""
    return int(re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)[1]) * 1024


def size(result):
    """Bytes of pieces, or of a table in memory."""
    return sum(map(len, result)) if isinstance(result, list) else result.nbytes


def digest(result):
    """SHA-256 over all pieces; of a table over its columns' names, counts and sums, for how it lies in memory depends on how it came."""
    if not isinstance(result, list):
        import pyarrow.compute

        of = {"count": pyarrow.compute.count, "sum": pyarrow.compute.sum}
        columns = {name: {what: count(result[name]).as_py() for what, count in of.items()} for name in result.column_names}
        result = [json.dumps([result.num_rows, columns]).encode()]
    sha = hashlib.sha256()
    for piece in result:
        sha.update(piece)
    return sha.hexdigest()


if __name__ == "__main__":
    main()
