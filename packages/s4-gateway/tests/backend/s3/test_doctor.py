"""The doctor's report."""

import json

import pytest

from s4_gateway import doctor
from s4_gateway.backend.abc import Backend, Capabilities
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.backend.memory_store import Versioning
from s4_gateway.backend.s3 import S3Backend, StaticCredentials
from s4_gateway.doctor import Verdict
from s4_gateway.testing.mini_s3 import MiniS3, Quirks

from .server import KEYS, options, serving


async def examined(mini: MiniS3) -> doctor.Report:
    """The report on a store."""
    async with serving(mini) as server:
        return await doctor.run(S3Backend(options(server.url), StaticCredentials(KEYS)))


def lines(report: doctor.Report) -> dict[str, tuple[str, Verdict]]:
    """Value and verdict by topic."""
    return {finding.topic: (finding.value, finding.verdict) for finding in report.findings}


async def test_good_store() -> None:
    """A store with everything has nothing but good lines."""
    mini = MiniS3(Capabilities(metadata_limit=8192))
    mini.store.create_bucket("bucket", None)
    report = await examined(mini)

    assert report.healthy
    assert {finding.verdict for finding in report.findings} == {Verdict.GOOD}
    assert lines(report)["minimum part size"] == ("5 MiB", Verdict.GOOD)
    assert lines(report)["tried out in bucket"] == ("bucket", Verdict.GOOD)


@pytest.mark.parametrize(
    ("quirks", "topic", "value", "verdict"),
    [
        (Quirks(ignores_put_conditions=True), "conditional PUT", "no", Verdict.LIMITED),
        (Quirks(ignores_complete_conditions=True), "conditional Complete", "no", Verdict.LIMITED),
        (Quirks(ignores_copy_conditions=True), "conditional Copy", "no", Verdict.LIMITED),
        (Quirks(counts_meta_prefix=True), "user metadata", "1696 bytes", Verdict.LIMITED),
        (Quirks(keeps_values="utf-8"), "metadata values", "UTF-8 only", Verdict.LIMITED),
        (Quirks(keeps_values="ascii"), "metadata values", "ASCII only", Verdict.LIMITED),
        (Quirks(readonly=True), "tried out in bucket", "none", Verdict.LIMITED),
        (Quirks(hides_buckets=True), "buckets", "cannot be listed", Verdict.LIMITED),
        (Quirks(unordered=True), "lists in byte order", "no", Verdict.BROKEN),
    ],
)
async def test_limits_are_named_with_what_follows(quirks: Quirks, topic: str, value: str, verdict: Verdict) -> None:
    """Each limit is a line, and only what cannot work makes the store unhealthy."""
    mini = MiniS3(quirks=quirks)
    mini.store.create_bucket("bucket", None)
    report = await examined(mini)

    assert lines(report)[topic] == (value, verdict)
    assert all(finding.consequence for finding in report.findings if finding.verdict is not Verdict.GOOD)
    assert report.healthy == (verdict is not Verdict.BROKEN)


async def test_an_empty_store() -> None:
    """Where there is no bucket to try things out in, the report says that its lines are assumptions, and how to get better ones."""
    report = await examined(MiniS3())
    (finding,) = [finding for finding in report.findings if finding.topic == "tried out in bucket"]

    assert (finding.value, finding.verdict) == ("none", Verdict.LIMITED)
    assert "make one" in finding.consequence


async def test_leftovers_are_named() -> None:
    """What could not be deleted is for the operator."""
    mini = MiniS3(quirks=Quirks(keeps_objects=True))
    mini.store.create_bucket("bucket", None)

    assert ".s4mpu/probe-" in lines(await examined(mini))["scratch objects left"][0]


async def test_buckets_that_need_care() -> None:
    """Versions and locks have consequences for multipart uploads."""
    mini = MiniS3()
    for name, locked in (("plain", False), ("versions", False), ("locks", True)):
        mini.store.create_bucket(name, None)
        if name != "plain":
            mini.store.set_versioning(name, Versioning.ENABLED, locked=locked)
    found = lines(await examined(mini))

    assert found["buckets"] == ("3", Verdict.GOOD)
    assert found["bucket versions"] == ("versioned", Verdict.LIMITED)
    assert found["bucket locks"] == ("locked", Verdict.LIMITED)
    assert "bucket plain" not in found


async def test_store_that_cannot_be_started() -> None:
    """What keeps the gateway from starting is the report."""
    async with serving() as server:
        await server.close()
        report = await doctor.run(S3Backend(options(server.url), StaticCredentials(KEYS)))

    assert not report.healthy
    assert [finding.topic for finding in report.findings] == ["start"]
    assert "no answer" in report.findings[0].consequence


async def test_store_of_our_own() -> None:
    """A store that is no S3 endpoint says itself what it can do."""
    backend: Backend = MemoryBackend(capabilities=Capabilities(min_part_size=0, conditional_put=False, strict_parts=True))
    found = lines(await doctor.run(backend))

    assert found["minimum part size"] == ("none", Verdict.GOOD)
    assert found["conditional PUT"] == ("no", Verdict.LIMITED)
    assert found["parts of any size"] == ("no", Verdict.LIMITED)
    assert "server" not in found


@pytest.mark.parametrize(("skew", "verdict"), [(0.4, Verdict.GOOD), (-61.0, Verdict.LIMITED), (900.0, Verdict.BROKEN)])
def test_clock(skew: float, verdict: Verdict) -> None:
    """A clock that is off is told before it refuses every request."""
    from s4_gateway.backend.s3 import StoreReport

    (finding,) = [finding for finding in doctor._about_server(StoreReport(clock_skew=skew)) if "clock" in finding.topic]
    assert finding.verdict is verdict


async def test_rendering() -> None:
    """A table for people and a document for programs, with all lines in both; values are never taken for markup."""
    report = doctor.Report([doctor.Finding("topic", "[bold]value[/bold]", Verdict.LIMITED, "what follows")])

    text = doctor.render(report)
    assert "[bold]value[/bold]" in text
    assert "what follows" in text
    assert json.loads(json.dumps(report.as_dict())) == {
        "healthy": True,
        "findings": [
            {"topic": "topic", "value": "[bold]value[/bold]", "verdict": "limited", "consequence": "what follows", "origin": "tried"},
        ],
    }
