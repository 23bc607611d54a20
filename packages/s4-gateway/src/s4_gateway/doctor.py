"""What a backend can and cannot do, and what follows from it for the gateway."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from rich.console import Console
from rich.table import Table

from s4_gateway.backend.abc import Backend, BackendError, BucketState, Capabilities
from s4_gateway.backend.s3.client import S3Backend
from s4_gateway.backend.s3.report import Fact, Origin, StoreReport
from s4_gateway.errors import SettingsError

MAX_SKEW_SECONDS = 15 * 60
"""S3 refuses signatures from clocks that are further off."""

WORRYING_SKEW_SECONDS = 60
MAX_BUCKETS = 50
"""Buckets looked at one by one."""
FULL_CLIENT_METADATA = 2048 + 128
"""Metadata limit, in bytes, with which clients have all that S3 grants them beside the keys that the gateway needs."""


class Verdict(StrEnum):
    """How a finding bears on the gateway."""

    GOOD = "good"
    LIMITED = "limited"
    """It works, with less."""
    BROKEN = "broken"
    """It must be put right."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    topic: str
    value: str
    verdict: Verdict
    consequence: str = ""
    """What follows; empty where nothing does."""
    origin: Origin = Origin.TRIED


@dataclass(frozen=True, slots=True)
class Report:
    """All findings."""

    findings: Sequence[Finding]

    @property
    def healthy(self) -> bool:
        """Nothing has to be put right."""
        return all(finding.verdict is not Verdict.BROKEN for finding in self.findings)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"healthy": self.healthy, "findings": [asdict(finding) for finding in self.findings]}


async def run(backend: Backend) -> Report:
    """Start the backend, look at it, and close it. What is wrong with it is in the report, not raised."""
    try:
        await backend.start()
    except (BackendError, SettingsError, OSError) as error:
        return Report([Finding("start", "refused", Verdict.BROKEN, str(error))])
    try:
        report = backend.report if isinstance(backend, S3Backend) else None
        return Report([*_findings(report, backend.capabilities), *await _bucket_findings(backend)])
    finally:
        await backend.close()


def render(report: Report, *, width: int = 140) -> str:
    """The report as a table for a terminal, without colours."""
    table = Table(title="Backend", expand=False)
    for heading in ("what", "found", "how", "", "what follows"):
        table.add_column(heading, overflow="fold")
    for finding in report.findings:
        table.add_row(finding.topic, finding.value, finding.origin, finding.verdict, finding.consequence)
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, markup=False, highlight=False, emoji=False).print(table)
    return text.getvalue()


def _findings(report: StoreReport | None, capabilities: Capabilities) -> Iterator[Finding]:
    if report is not None:
        yield from _about_server(report)
    known = report or _own(capabilities)
    yield _conditional("conditional PUT", known.conditional_put, "conditional writes are answered 501; multipart uploads open early")
    yield _conditional(
        "conditional Complete", known.conditional_complete, "conditional writes of large or multipart objects are answered 501"
    )
    yield _conditional("conditional Copy", known.conditional_copy, "conditions on the target of CopyObject are answered 501")
    yield _min_part_size(known.min_part_size)
    yield _strict_parts(known.strict_parts)
    yield _metadata_limit(known.metadata_limit)
    yield _metadata_bytes(known.metadata_bytes)
    yield _order(known.ordered)


def _own(capabilities: Capabilities) -> StoreReport:
    """A store of ours says what it can do."""
    return StoreReport(
        conditional_put=Fact(capabilities.conditional_put, Origin.KNOWN),
        conditional_complete=Fact(capabilities.conditional_complete, Origin.KNOWN),
        conditional_copy=Fact(capabilities.conditional_put, Origin.KNOWN),
        min_part_size=Fact(capabilities.min_part_size, Origin.KNOWN),
        strict_parts=Fact(capabilities.strict_parts, Origin.KNOWN),
        metadata_limit=Fact(capabilities.metadata_limit, Origin.KNOWN),
        metadata_bytes=Fact("any", Origin.KNOWN),
        ordered=Fact(value=True, origin=Origin.KNOWN),
    )


def _about_server(report: StoreReport) -> Iterator[Finding]:
    yield Finding("server", report.server or "(not told)", Verdict.GOOD)
    if report.clock_skew is not None:
        off = abs(report.clock_skew)
        verdict = Verdict.GOOD if off <= WORRYING_SKEW_SECONDS else Verdict.LIMITED if off < MAX_SKEW_SECONDS else Verdict.BROKEN
        text = f"{report.clock_skew:+.0f} s"
        yield Finding(
            "our clock is ahead by", text, verdict, "" if verdict is Verdict.GOOD else "set the clocks: 15 minutes off is refused"
        )
    if report.tried:
        yield Finding("tried out in bucket", report.bucket or "", Verdict.GOOD)
    else:
        yield Finding(
            "tried out in bucket",
            "none",
            Verdict.LIMITED,
            "no writable bucket without versions was found: the rest is assumed to be as in Amazon S3 (make one, and ask again)",
            Origin.ASSUMED,
        )
    if report.leftovers:
        yield Finding("scratch objects left", ", ".join(report.leftovers), Verdict.LIMITED, "the keys may not delete: remove them by hand")


def _conditional(topic: str, fact: Fact, otherwise: str) -> Finding:
    if fact.value:
        return Finding(topic, "yes", Verdict.GOOD, origin=fact.origin)
    return Finding(topic, "no", Verdict.LIMITED, otherwise, fact.origin)


def _min_part_size(fact: Fact) -> Finding:
    if not fact.value:
        return Finding("minimum part size", "none", Verdict.GOOD, "every part goes straight to the store", fact.origin)
    size = f"{int(fact.value) / 2**20:g} MiB"
    return Finding("minimum part size", size, Verdict.GOOD, "parts that compress below it wait in records until Complete", fact.origin)


def _strict_parts(fact: Fact) -> Finding:
    if not fact.value:
        return Finding("parts of any size", "yes", Verdict.GOOD, origin=fact.origin)
    return Finding("parts of any size", "no", Verdict.LIMITED, "all parts wait in records and are cut to one size at Complete", fact.origin)


def _metadata_limit(fact: Fact) -> Finding:
    limit = int(fact.value)
    value = f"{limit} bytes"
    if limit >= FULL_CLIENT_METADATA:
        return Finding("user metadata", value, Verdict.GOOD, origin=fact.origin)
    return Finding("user metadata", value, Verdict.LIMITED, f"clients have {max(0, limit - 128)} bytes for theirs", fact.origin)


def _metadata_bytes(fact: Fact) -> Finding:
    if fact.value == "any":
        return Finding("metadata values", "any bytes", Verdict.GOOD, origin=fact.origin)
    text = "UTF-8 only" if fact.value == "utf-8" else "ASCII only"
    return Finding("metadata values", text, Verdict.LIMITED, "other values come back as the store makes them", fact.origin)


def _order(fact: Fact) -> Finding:
    if fact.value:
        return Finding("lists in byte order", "yes", Verdict.GOOD, origin=fact.origin)
    return Finding("lists in byte order", "no", Verdict.BROKEN, "listings would skip keys: this store cannot be used", fact.origin)


async def _bucket_findings(backend: Backend) -> Sequence[Finding]:
    """One line for each bucket that needs care."""
    try:
        buckets = await backend.list_buckets()
    except BackendError as error:
        return [Finding("buckets", "cannot be listed", Verdict.LIMITED, str(error))]
    findings = [Finding("buckets", str(len(buckets)), Verdict.GOOD)]
    for bucket in buckets[:MAX_BUCKETS]:
        try:
            state = await backend.head_bucket(bucket.name)
        except BackendError as error:
            findings.append(Finding(f"bucket {bucket.name}", "cannot be examined", Verdict.LIMITED, str(error)))
            continue
        if state.versioned or state.locked:
            findings.append(_kept_bucket(bucket.name, state))
    return findings


def _kept_bucket(name: str, state: BucketState) -> Finding:
    what = "locked" if state.locked else "versioned"
    consequence = "multipart records would stay as versions: give --staging-bucket, or parts are padded to the minimum"
    return Finding(f"bucket {name}", what, Verdict.LIMITED, consequence)
