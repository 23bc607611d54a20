"""How selected parts become backend parts (data-paths.md 3.5): a pure function, so concurrent gateways upload identical bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from s4_gateway.objects.uploads.records import PartRecord

MAX_PART_NUMBER = 10_000


@dataclass(frozen=True, slots=True)
class Group:
    """One backend part."""

    number: int
    members: tuple[PartRecord, ...]
    """One direct part, or one or more neighbouring staged ones; empty for a trailer that stands alone."""
    direct: bool
    pad_to: int | None = None
    """Smallest stored size this part must have, reached with S4P1 padding."""
    trailer: bool = False
    """The object's trailer follows the members."""


def group_parts(parts: Sequence[PartRecord], *, minimum: int, target: int) -> list[Group]:
    """Backend parts for the selected client parts.

    Neighbouring staged parts are joined up to about `target` stored bytes; a rest below `minimum` joins its predecessor in the same run. A
    run that stays below it is padded, unless it is last. The trailer joins a last staged group, or is part 10000 behind a direct one.

    Args:
        parts: in ascending order of number; direct ones are stored already.
        minimum: smallest legal backend part but the last, in bytes.
        target: stored bytes at which a group is closed.
    """
    groups: list[Group] = []
    run: list[PartRecord] = []
    for part in parts:
        if part.direct:
            groups.extend(_join(run, minimum, target))
            groups.append(Group(part.number, (part,), direct=True))
            run = []
        else:
            run.append(part)
    tail = _join(run, minimum, target)
    if not tail:
        return [*groups, Group(MAX_PART_NUMBER, (), direct=False, trailer=True)]
    last = tail[-1]
    return [*groups, *tail[:-1], Group(last.number, last.members, direct=False, trailer=True)]


def _join(run: Sequence[PartRecord], minimum: int, target: int) -> list[Group]:
    groups: list[list[PartRecord]] = []
    for part in run:
        if groups and sum(member.stored_size for member in groups[-1]) < max(target, minimum):
            groups[-1].append(part)
        else:
            groups.append([part])
    if len(groups) > 1 and sum(member.stored_size for member in groups[-1]) < minimum:
        groups[-2].extend(groups.pop())
    return [Group(members[0].number, tuple(members), direct=False, pad_to=minimum or None) for members in groups]
