"""Where frames and chunks lie, how copies are put together, and memory that is used again."""

import gc

from hypothesis import given
from hypothesis import strategies as st
from s4_format import Algorithm, ElementType, GpuContainer

from s4_codecs.gpu.layout import ALIGNMENT, BatchLimits, aligned, chunk_layout, packed_batches, plain_batches

from .fake_cuda import fake_cupy

CHUNK = 65_536
LIMITS = BatchLimits(plain_bytes=4 * CHUNK, chunks=6)


@given(st.lists(st.integers(0, 10 * CHUNK), max_size=40))
def test_plain_batches(sizes: list[int]) -> None:
    """Batches hold every byte once, in order, keep their limits, and cut frames at chunks only if they must."""
    seen = dict.fromkeys(range(len(sizes)), 0)
    for batch in plain_batches(sizes, LIMITS):
        assert sum(aligned(size) for size in batch.sizes) <= LIMITS.plain_bytes
        assert sum(-(-size // CHUNK) for size in batch.sizes) <= LIMITS.chunks
        for frame, start, size in zip(batch.frames, batch.starts, batch.sizes, strict=True):
            assert size > 0
            assert start == seen[frame]
            assert start % CHUNK == 0
            assert size == sizes[frame] or sizes[frame] > LIMITS.plain_bytes
            seen[frame] += size
    assert list(seen.values()) == sizes


@given(st.lists(st.tuples(st.integers(1, 3 * CHUNK), st.sampled_from([1000, 4096, CHUNK])), min_size=1, max_size=20))
def test_layout(spans: list[tuple[int, int]]) -> None:
    """Chunks are aligned, do not overlap, and add up to their spans."""
    sizes, chunks = (tuple(numbers) for numbers in zip(*spans, strict=True))
    layout = chunk_layout(sizes, chunks)
    ends = layout.starts + layout.sizes
    assert (layout.starts % ALIGNMENT == 0).all()
    assert (layout.starts[1:] >= ends[:-1]).all()
    assert layout.total == ends[-1]
    assert layout.largest_chunk == layout.sizes.max()
    for number, (size, chunk) in enumerate(spans):
        mine = layout.sizes[layout.chunk_span == number]
        assert mine.sum() == size
        assert (mine[:-1] == chunk).all()


@given(st.lists(st.lists(st.integers(1, 2 * CHUNK), max_size=12), max_size=8))
def test_packed_batches(stored: list[list[int]]) -> None:
    """Containers are cut at chunks, in order, within the limits of plaintext, chunks and stored bytes."""
    containers = [GpuContainer(Algorithm.ZSTD, ElementType.CHAR, len(sizes) * CHUNK, CHUNK, sizes) for sizes in stored]
    room = 4 * CHUNK
    seen = [0] * len(containers)
    for batch in packed_batches(containers, LIMITS, packed_bytes=room):
        used = 0
        for place, frame in enumerate(batch.frames):
            first, count = batch.first_chunks[place], batch.chunks[place]
            mine = stored[frame][first : first + count]
            assert first == seen[frame]
            assert (batch.starts[place], batch.sizes[place]) == (first * CHUNK, count * CHUNK)
            assert batch.packed_starts[place] == containers[frame].table_end + sum(stored[frame][:first])
            assert batch.packed_sizes[place] == sum(mine)
            used += sum(map(aligned, mine))
            seen[frame] += count
        assert used <= room
        assert sum(batch.chunks) <= LIMITS.chunks
    assert seen == [len(sizes) for sizes in stored]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 3000)), max_size=30))
def test_transfers_copy_what_they_should(runs: list[tuple[int, int, int]]) -> None:
    """Whatever gaps lie between runs, each byte of a run gets to its place, in transfers that are not too large."""
    with fake_cupy():
        from s4_codecs.gpu import transfers

        limit = transfers.PIECE_BYTES
        transfers.PIECE_BYTES = 1024
        try:
            pieces = transfers.ToDevicePieces(1 << 40)
            expected: dict[int, int] = {}
            device = host = 0
            for before, behind, size in runs:
                device, host = device + before, host + behind
                pieces.add(device, host, size, gap=8)
                expected.update((device + at, host + at) for at in range(size))
                device, host = device + size, host + size
            pieces.flush()
            found: dict[int, int] = {}
            for transfer in pieces.transfers:
                assert transfer.size <= 1024
                for offset, source, size in transfer.segments:
                    assert offset + size <= transfer.size
                    found.update((transfer.device - (1 << 40) + offset + at, source + at) for at in range(size))
            assert all(found[place] == source for place, source in expected.items())
        finally:
            transfers.PIECE_BYTES = limit


def test_results_are_used_again() -> None:
    """Memory of results comes back when the last view of it goes, not before, and no more of it is kept than allowed."""
    with fake_cupy():
        from s4_codecs.gpu.memory import ResultPool

        pool = ResultPool(idle_bytes=3 << 20)
        address, view = pool.take(1_000_000)
        part = view[10:20]
        del view
        gc.collect()
        assert pool.kept == 0
        part[:] = b"0123456789"
        other, second = pool.take(1_000_000)
        assert other != address
        assert bytes(part) == b"0123456789"
        del part
        gc.collect()
        assert pool.kept == 1 << 20
        assert pool.take(600_000)[0] == address
        many = [pool.take(1 << 20)[1] for _ in range(8)]
        del many, second
        gc.collect()
        assert 0 < pool.kept <= 3 << 20
