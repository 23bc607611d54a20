"""One piece of work through one file system; run by the Python that has it, since two packages are called s4fs.

Standard input: {"kind": "plain" or "s4", "options": of s3fs, "job": a name in JOBS, and what the job needs}.
Standard output: {"seconds", "bytes", "peak_rss"}.
"""

import hashlib
import json
import random
import resource
import sys
import time

MIB = 1 << 20


def columns(fs, asked):
    """The end of a Parquet file, its footer, and ranges of its columns."""
    total = 0
    with fs.open(asked["path"], "rb") as file:
        file.seek(-8, 2)
        footer = int.from_bytes(file.read(8)[:4], "little")
        file.seek(-8 - footer, 2)
        total += len(file.read(footer))
        for start, size in asked["ranges"]:
            file.seek(start)
            total += len(file.read(size))
    return total


def ranges(fs, asked):
    """Some ranges of one object, one after the other."""
    return sum(len(fs.cat_file(asked["path"], start=start, end=start + size)) for start, size in asked["ranges"])


def sizes(fs, asked):
    """A listing with sizes."""
    return sum(row["size"] for row in fs.ls(asked["path"], detail=True))


def sequential(fs, asked):
    """All of a file, in pieces."""
    total, digest = 0, hashlib.blake2b()
    with fs.open(asked["path"], "rb") as file:
        while piece := file.read(asked["piece"]):
            total += len(piece)
    digest.update(str(total).encode())
    return total


def anywhere(fs, asked):
    """Small reads at random places of an open file."""
    generator, total = random.Random(1), 0
    with fs.open(asked["path"], "rb") as file:
        for _ in range(asked["reads"]):
            file.seek(generator.randrange(asked["size"] - asked["piece"]))
            total += len(file.read(asked["piece"]))
    return total


def write(fs, asked):
    """A file written in pieces of 1 MiB, which repeat after 64."""
    from s4_codecs.testing.workloads import WORKLOADS

    pieces = [WORKLOADS["log"](MIB) for _ in range(1)] * 64
    total = 0
    with fs.open(asked["path"], "wb") as file:
        while total < asked["size"]:
            total += file.write(pieces[total // MIB % 64])
    return total


def pipe(fs, asked):
    """A local file as one object."""
    with open(asked["file"], "rb") as file:  # noqa: PTH123  -- as short as the rest
        data = file.read()
    fs.pipe_file(asked["path"], data)
    return len(data)


def many(fs, asked):
    """Small objects."""
    for number in range(asked["count"]):
        fs.pipe_file(f"{asked['path']}/{number:04}", b"some line of text\n" * number)
    return asked["count"]


JOBS = {job.__name__: job for job in (columns, ranges, sizes, sequential, anywhere, write, pipe, many)}


def main():
    """Do what standard input asks for."""
    asked = json.load(sys.stdin)
    if asked["kind"] == "plain":
        from s3fs import S3FileSystem

        fs = S3FileSystem(**asked["options"], skip_instance_cache=True)
    else:
        from s4fs import S4FileSystem

        fs = S4FileSystem(target_options=asked["options"], write_enabled=True, skip_instance_cache=True)
    fs.exists(asked["path"].split("/")[0])  # connections are made and modules loaded
    started = time.perf_counter()
    total = JOBS[asked["job"]](fs, asked)
    seconds = time.perf_counter() - started
    json.dump({"seconds": seconds, "bytes": total, "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}, sys.stdout)


if __name__ == "__main__":
    main()
