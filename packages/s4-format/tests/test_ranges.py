"""Range plans."""

from hypothesis import given
from hypothesis import strategies as st

from s4_format import FrameTable, RangePlan, decode_sidecar, lookup_range
from s4_format.testing import frame_tables, gapped_frame_tables

from . import golden_files


def golden_plan(plan: dict[str, int] | None) -> RangePlan | None:
    """A plan of the golden table as ours."""
    if plan is None:
        return None
    return RangePlan(plan["first"], plan["last"], plan["byte_start"], plan["byte_end"], plan["slice_start"], plan["slice_end"])


def test_golden_cases() -> None:
    """Every query of the reference's table has its plan."""
    for row in golden_files.rows("cases/range_cases.jsonl"):
        frames = decode_sidecar(bytes.fromhex(row["index_hex"])).frames
        for query in row["queries"]:
            assert lookup_range(frames, query["start"], query["end"]) == golden_plan(query["plan"]), (row, query)


@given(frames=frame_tables(), pick=st.data())
def test_plan_covers_exactly_the_frames_of_the_range(frames: FrameTable, pick: st.DataObject) -> None:
    """A range inside a whole object is planned: first and last frame hold its ends, and the slice is the range."""
    if frames.original_size == 0:
        assert lookup_range(frames, 0, 1) is None
        return
    start = pick.draw(st.integers(0, frames.original_size - 1))
    stop = pick.draw(st.integers(start + 1, frames.original_size + 5))
    plan = lookup_range(frames, start, stop)

    assert plan is not None
    first, last = frames[plan.first], frames[plan.last]
    assert first.original_offset <= start < first.original_end
    assert last.original_offset < min(stop, frames.original_size) <= last.original_end
    assert (plan.stored_start, plan.stored_end) == (first.stored_offset, last.stored_end)
    assert plan.slice_start + first.original_offset == start
    assert plan.slice_end + first.original_offset == min(stop, frames.original_size)


@given(frames=gapped_frame_tables(), start=st.integers(-5, 2**42), stop=st.integers(-5, 2**42))
def test_no_plan_for_empty_ranges_and_gaps(frames: FrameTable, start: int, stop: int) -> None:
    """There is a plan exactly when the range is not empty, begins in the object, and both ends lie in frames."""
    end = min(stop, frames.original_size)
    possible = 0 <= start < end and frames.find(start) is not None and frames.find(end - 1) is not None

    assert (lookup_range(frames, start, stop) is not None) == possible
