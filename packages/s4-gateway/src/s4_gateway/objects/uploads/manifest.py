"""The client's manifest at Complete: which record each part is, and what the finished object is (data-paths.md 3.4, 3.5). Pure."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, combinations, islice, pairwise, product

from s4_codecs import CRC_ALGORITHMS, Digests, combine_crc, crc_bytes
from s4_format import composite_etag

from s4_gateway.errors import S3Error
from s4_gateway.objects.options import MAX_OBJECT_BYTES
from s4_gateway.objects.uploads.records import PartRecord, UploadRecord

MIN_LOGICAL_PART = 5 * 2**20
"""Every part but the last is at least this large, in the client's bytes, as on S3."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One part of the client's manifest."""

    number: int
    etag: str
    """Unquoted, as the client sent it."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Lower-case algorithm -> base64."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The records that the manifest names."""

    parts: tuple[PartRecord, ...]
    alternatives: Mapping[int, tuple[PartRecord, ...]]
    """Other direct records of the same part and content: only the backend knows which of them its part still is."""
    stated: Mapping[int, Mapping[str, str]]
    """Checksums that the manifest states, by part number."""
    digest: str
    """SHA-256 of the manifest."""

    @property
    def size(self) -> int:
        """Logical bytes of the object."""
        return sum(part.size for part in self.parts)

    @property
    def etag(self) -> str:
        """Composite logical ETag."""
        return composite_etag([bytes.fromhex(part.md5) for part in self.parts])


def manifest_etag(choices: Sequence[Choice]) -> str | None:
    """The composite ETag that a manifest stands for; None if an ETag in it cannot be one of ours."""
    try:
        return composite_etag([bytes.fromhex(choice.etag) for choice in choices])
    except ValueError:
        return None


def choose(records: Sequence[PartRecord], choices: Sequence[Choice], *, object_size: int | None) -> Chosen:
    """Select one record per part: the first staged one in name order, else the newest direct one.

    Raises:
        S3Error: InvalidPartOrder, InvalidPart, EntityTooSmall, EntityTooLarge, InvalidRequest (x-amz-mp-object-size differs).
    """
    numbers = [choice.number for choice in choices]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise S3Error("InvalidPartOrder")
    found: dict[tuple[int, str], list[PartRecord]] = {}
    for record in records:
        found.setdefault((record.number, record.md5), []).append(record)
    parts: list[PartRecord] = []
    alternatives: dict[int, tuple[PartRecord, ...]] = {}
    for choice in choices:
        candidates = found.get((choice.number, choice.etag.lower()))
        if not candidates:
            raise S3Error("InvalidPart", fields={"PartNumber": str(choice.number), "ETag": choice.etag})
        part, others = _select(candidates)
        _check_stated(choice, part)
        parts.append(part)
        if others:
            alternatives[choice.number] = others
    _check_sizes(parts, object_size)
    digest = sha256("".join(f"{choice.number}:{choice.etag.lower()}\n" for choice in choices).encode()).hexdigest()
    return Chosen(tuple(parts), alternatives, {choice.number: choice.checksums for choice in choices if choice.checksums}, digest)


def _select(candidates: Sequence[PartRecord]) -> tuple[PartRecord, tuple[PartRecord, ...]]:
    staged = [record for record in candidates if not record.direct]
    if staged:
        return min(staged), ()
    newest, *older = sorted(candidates, key=_age, reverse=True)
    return newest, tuple(record for record in older if (record.size, record.crc64nvme) == (newest.size, newest.crc64nvme))


def variants(parts: Sequence[PartRecord], others: Mapping[int, Sequence[PartRecord]], *, most: int) -> Iterator[tuple[PartRecord, ...]]:
    """Selections with other direct records in the place of the newest ones, the likeliest first: as few others as possible.

    Args:
        parts: the first selection, which is not repeated.
        others: by part number.
        most: so many at most.
    """
    replaced = chain.from_iterable(combinations(sorted(others), count) for count in range(1, len(others) + 1))
    picks = chain.from_iterable(product(*(others[number] for number in numbers)) for numbers in replaced)
    for pick in islice(picks, most):
        changed = {record.number: record for record in pick}
        yield tuple(changed.get(part.number, part) for part in parts)


def _age(record: PartRecord) -> tuple[int, int]:
    return record.modified, record.millis


def newest_parts(records: Sequence[PartRecord]) -> list[PartRecord]:
    """What ListParts shows: per number the record with the greatest (Last-Modified, ms), in number order."""
    newest: dict[int, PartRecord] = {}
    for record in records:
        known = newest.get(record.number)
        if known is None or _age(record) >= _age(known):
            newest[record.number] = record
    return [newest[number] for number in sorted(newest)]


def _check_stated(choice: Choice, part: PartRecord) -> None:
    """What the name alone can prove; checksums of other algorithms are compared when the record is read."""
    stated = choice.checksums.get("crc64nvme")
    if stated is not None and stated != part.crc64nvme:
        raise S3Error("InvalidPart", fields={"PartNumber": str(choice.number)})


def _check_sizes(parts: Sequence[PartRecord], object_size: int | None) -> None:
    for part in parts[:-1]:
        if part.size < MIN_LOGICAL_PART:
            fields = {
                "ProposedSize": str(part.size),
                "MinSizeAllowed": str(MIN_LOGICAL_PART),
                "PartNumber": str(part.number),
                "ETag": part.md5,
            }
            raise S3Error("EntityTooSmall", fields=fields)
    size = sum(part.size for part in parts)
    if size > MAX_OBJECT_BYTES:
        raise S3Error("EntityTooLarge")
    if object_size is not None and object_size != size:
        raise S3Error(
            "InvalidRequest", f"The provided 'x-amz-mp-object-size' header value {object_size} does not match what was computed: {size}"
        )


def full_crc64nvme(parts: Sequence[PartRecord]) -> str:
    """CRC64NVME of the whole object, combined from its parts', base64."""
    return _combine("crc64nvme", [(part.crc64nvme, part.size) for part in parts])


def object_checksums(record: UploadRecord, parts: Sequence[PartRecord], values: Mapping[int, str]) -> tuple[dict[str, str], str]:
    """Checksums of the finished object and their type; CRC64NVME, which is kept beside the one that was named, is always of the whole.

    Args:
        record: names algorithm and type.
        parts: in order.
        values: the parts' checksums under that algorithm, base64, by part number.
    """
    algorithm = record.checksum_algorithm
    if algorithm is None or algorithm == "crc64nvme":
        return {"crc64nvme": full_crc64nvme(parts)}, "FULL_OBJECT"
    if record.checksum_type == "FULL_OBJECT" and algorithm in CRC_ALGORITHMS:
        whole = _combine(algorithm, [(values[part.number], part.size) for part in parts])
        return {algorithm: whole, "crc64nvme": full_crc64nvme(parts)}, "FULL_OBJECT"
    digests = Digests([algorithm])
    for part in parts:
        digests.update(base64.b64decode(values[part.number]))
    return {algorithm: f"{digests.base64(algorithm)}-{len(parts)}", "crc64nvme": full_crc64nvme(parts)}, "COMPOSITE"


def names_prove(record: UploadRecord) -> bool:
    """Whether the checksums of this upload's object follow from the names of its records."""
    return record.checksum_algorithm in (None, "crc64nvme")


def check_object(checksums: Mapping[str, str], stated: Mapping[str, str], *, parts: int) -> None:
    """Compare what the client states of the whole object.

    Raises:
        S3Error: BadDigest.
    """
    for name, value in stated.items():
        if checksums.get(name) not in (value, f"{value}-{parts}"):
            raise S3Error("BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")


def _combine(algorithm: str, values: Sequence[tuple[str, int]]) -> str:
    crc = 0
    for value, size in values:
        crc = combine_crc(algorithm, crc, int.from_bytes(base64.b64decode(value)), size)
    return base64.b64encode(crc_bytes(algorithm, crc)).decode()
