"""Random histories against a perfect S3: 20,000 steps, over four stores, on two gateways that know nothing of each other, and at once.

A failure prints its seed and the shortest history found that still fails; `play(setting, [Step(...), ...])` repeats it.
"""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from s4_gateway.backend.abc import BackendError, Condition
from s4_gateway.errors import S3Error
from s4_gateway.objects import listing
from s4_gateway.objects.put import LogicalCondition, Putter
from s4_gateway.objects.uploads import roster
from s4_gateway.objects.uploads.records import PartRecord
from s4_gateway.state.cache import Entry
from s4_gateway.wire.ranges import ByteRange

from .driver import FULL, SMALL, Setting, fails, steps_of
from .history import Seen

LENGTH = 100
FIXED = {"memory": 42, "racing": 10, "strict": 18, "local": 25, "http": 12}
"""Histories of LENGTH steps that are the same in every run."""
RANDOM = {"memory": 34, "racing": 10, "strict": 14, "local": 22, "http": 10}
"""Histories with a seed of the day."""
LARGE = {"memory": 1, "local": 1, "http": 1}
"""Histories at the limits as they are."""

REFUSALS = {
    "complete": "EntityTooSmall InvalidPart InvalidPartOrder InvalidRequest MalformedXML NoSuchUpload PreconditionFailed",
    "copy": "InvalidRequest MetadataTooLarge NoSuchBucket NoSuchKey PreconditionFailed",
    "copy_part": "InvalidArgument NoSuchKey NoSuchUpload",
    "create": "InvalidRequest NoSuchBucket",
    "part": "BadDigest InvalidArgument InvalidRequest NoSuchUpload",
    "put": "BadDigest InvalidObjectName MetadataTooLarge NoSuchBucket NoSuchKey PreconditionFailed",
    "read": "InvalidPartNumber InvalidRange InvalidRequest NoSuchKey PreconditionFailed 304 404 412 416",
    "abort": "NoSuchUpload",
    "bucket": "BucketAlreadyOwnedByYou",
}
SUCCESSES = {"read": "200 206", "delete": "204", "abort": "204", "bucket": "200 404"}
OTHERS = ("put", "copy", "attributes", "delete_many", "create", "part", "copy_part", "complete", "list", "list_parts", "list_uploads")
EVERYWHERE = {f"{step} {code}" for table in (REFUSALS, SUCCESSES) for step, codes in table.items() for code in codes.split()} | {
    f"{step} 200" for step in OTHERS
}
"""Answers without which the histories prove little."""
FORMS = {"foreign", "raw", "framed", "frames and trailer", "streamed", "multipart"}


def history(setting: Setting, seed: str, seen: Seen, *, length: int = LENGTH) -> None:
    """Play one; a failure is told at its shortest."""
    told = fails(setting, steps_of(setting, seed, length), seen)
    if told is not None:
        pytest.fail(f"seed {seed!r}: {told}", pytrace=False)


def settings(store: str, number: int) -> Setting:
    """Gateways with state files and without, by turns."""
    return Setting(store, SMALL, keeps_state=number % 2 == 0)


@pytest.mark.histories
@pytest.mark.timeout(900)
@pytest.mark.parametrize("store", FIXED)
def test_fixed_histories(store: str) -> None:
    """Every answer is S3's, and the histories come to every answer and every stored form."""
    seen = Seen()
    for number in range(FIXED[store]):
        history(settings(store, number), f"fixed {number}", seen)

    assert seen.steps == FIXED[store] * LENGTH
    if store == "memory":
        assert EVERYWHERE - set(seen.answers) == set()
    if store != "racing":
        assert FORMS - set(seen.forms) == set()


@pytest.mark.histories
@pytest.mark.timeout(900)
@pytest.mark.parametrize("store", RANDOM)
def test_random_histories(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for histories that nobody has seen before."""
    # The same all day, so that what failed fails again and what passed passes; another tomorrow.
    seed = datetime.now(UTC).date().isoformat()
    with capsys.disabled():
        sys.stdout.write(f"{store}: seed {seed}\n")
    seen = Seen()
    for number in range(RANDOM[store]):
        history(settings(store, number), f"{seed} {number}", seen)
    assert seen.steps == RANDOM[store] * LENGTH


@pytest.mark.histories
@pytest.mark.timeout(900)
@pytest.mark.parametrize("store", LARGE)
def test_histories_at_full_scale(store: str) -> None:
    """With frames, parts and buffers as they are."""
    seen = Seen()
    for number in range(LARGE[store]):
        history(Setting(store, FULL), f"large {number}", seen)
    assert seen.steps == LARGE[store] * LENGTH


def stale(patch: pytest.MonkeyPatch) -> None:
    """What is remembered of a key counts, whatever is there now."""
    patch.setattr(Entry, "describes", lambda _self, _stored: True)


def short_range(patch: pytest.MonkeyPatch) -> None:
    """Ranges that end behind the object's end miss its last byte."""
    right = ByteRange.resolve

    def wrong(self: ByteRange, size: int) -> tuple[int, int]:
        start, stop = right(self, size)
        return start, stop - (self.stop is not None and self.stop > size and stop - start > 1)

    patch.setattr(ByteRange, "resolve", wrong)


def shows_sidecars(patch: pytest.MonkeyPatch) -> None:
    """Listings show what belongs to the storage layer."""
    patch.setattr(listing, "is_reserved", lambda key: key.startswith(".s4mpu/"))


def oldest_part(patch: pytest.MonkeyPatch) -> None:
    """ListParts shows parts as they were first sent."""

    def wrong(records: Sequence[PartRecord]) -> list[PartRecord]:
        first: dict[int, PartRecord] = {}
        for record in sorted(records, key=lambda record: record.millis):
            first.setdefault(record.number, record)
        return [first[number] for number in sorted(first)]

    patch.setattr(roster, "newest_parts", wrong)


def check_then_act(patch: pytest.MonkeyPatch) -> None:
    """A condition is looked at before the write and not given to the store: wrong only where two requests meet."""
    right = Putter.resolve

    async def wrong(self: Putter, bucket: str, key: str, logical: LogicalCondition) -> Condition | None:
        if not logical.if_absent:
            await right(self, bucket, key, logical)
            return None
        try:
            await right(self, bucket, key, LogicalCondition(if_match="*"))
        except BackendError:
            return None
        raise S3Error("PreconditionFailed")

    patch.setattr(Putter, "resolve", wrong)


DEFECTS = {stale: "memory", short_range: "memory", shows_sidecars: "memory", oldest_part: "memory", check_then_act: "racing"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("defect", DEFECTS)
def test_planted_defects_are_found(defect: Callable[[pytest.MonkeyPatch], None]) -> None:
    """A defect is found within some thousand steps; one is told at its shortest."""
    shortened = defect is short_range
    with pytest.MonkeyPatch.context() as patch:
        defect(patch)
        for number in range(30):
            setting = settings(DEFECTS[defect], number)
            told = fails(setting, steps_of(setting, f"canary {number}", LENGTH), seconds=10 if shortened else 0)
            if told is not None:
                break
        else:
            pytest.fail("nobody noticed")
    assert not shortened or told.count("    Step(") < LENGTH / 3, told
