"""What can be found in a store, what each finding means, and the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Weight(StrEnum):
    """How a finding bears on the store."""

    DAMAGE = "damage"
    """Something that was stored cannot be given back, or not for sure. Nothing here can mend it."""
    LEFTOVER = "leftover"
    """Nothing that was stored is harmed; `--repair` puts it right."""
    NOTE = "note"
    """As it may be."""


class Kind(StrEnum):
    """What can be found."""

    DATABASE = "database"
    UNREADABLE = "unreadable"
    BODY_MISSING = "body-missing"
    FILE_MISSING = "file-missing"
    FILE_SIZE = "file-size"
    CONTENT = "content"
    UNDECODABLE = "undecodable"
    LIST = "list"
    UNREACHABLE = "unreachable"
    REFERENCES = "references"
    ORPHAN_BODY = "orphan-body"
    ORPHAN_FILE = "orphan-file"
    ORPHAN_PART = "orphan-part"
    UNFINISHED = "unfinished"
    STALE_UPLOAD = "stale-upload"
    STRANGER = "stranger"
    NOT_DECODED = "not-decoded"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a kind of finding says to whoever runs the store."""

    weight: Weight
    what: str
    advice: str


_RESTORE = "Restore the object from a backup or from where it came from, or delete it."
MEANINGS = {
    Kind.DATABASE: Meaning(
        Weight.DAMAGE,
        "SQLite's own check of the database fails",
        "Stop using the store, copy the directory as it is, and restore it from a backup; SQLite's `.recover` may save more.",
    ),
    Kind.UNREADABLE: Meaning(Weight.DAMAGE, "the disk does not give the bytes", f"Look at the disk. {_RESTORE}"),
    Kind.BODY_MISSING: Meaning(Weight.DAMAGE, "the database has no body for it", _RESTORE),
    Kind.FILE_MISSING: Meaning(Weight.DAMAGE, "the file of its body is gone", _RESTORE),
    Kind.FILE_SIZE: Meaning(Weight.DAMAGE, "its body does not have the size that was stored", _RESTORE),
    Kind.CONTENT: Meaning(Weight.DAMAGE, "its bytes are not those that were stored: they do not give its ETag", _RESTORE),
    Kind.UNDECODABLE: Meaning(Weight.DAMAGE, "its bytes are as they were stored, but do not decode to what its attributes say", _RESTORE),
    Kind.LIST: Meaning(Weight.DAMAGE, "the list of its parts cannot be read", _RESTORE),
    Kind.UNREACHABLE: Meaning(Weight.DAMAGE, "its bucket is not in the database", "Make a bucket again only after a look at the database."),
    Kind.REFERENCES: Meaning(Weight.LEFTOVER, "its count of references is not the number of references", "--repair sets it."),
    Kind.ORPHAN_BODY: Meaning(Weight.LEFTOVER, "nothing refers to this body", "--repair removes it."),
    Kind.ORPHAN_FILE: Meaning(Weight.LEFTOVER, "no body has this file; a write was cut off", "--repair removes it."),
    Kind.ORPHAN_PART: Meaning(Weight.LEFTOVER, "a part of an upload that is not there", "--repair removes it."),
    Kind.UNFINISHED: Meaning(
        Weight.LEFTOVER, "a run did not stop clean and left this to do", "--repair does it, and so does the next start."
    ),
    Kind.STALE_UPLOAD: Meaning(Weight.NOTE, "an upload was begun long ago and holds space", "Abort it if nobody means to complete it."),
    Kind.STRANGER: Meaning(Weight.NOTE, "a file that is not the store's", "It is left alone."),
    Kind.NOT_DECODED: Meaning(Weight.NOTE, "its bytes are as they were stored; what they hold was not looked at", "Nothing is wrong."),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    kind: Kind
    subject: str
    """The object as `bucket/key`, the file, or the row."""
    detail: str = ""
    repaired: bool = False

    @property
    def meaning(self) -> Meaning:
        return MEANINGS[self.kind]

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        advice = "Repaired." if self.repaired else self.meaning.advice
        return f"{self.meaning.weight}: {self.subject}: {self.meaning.what}{detail}. {advice}"


@dataclass(frozen=True, slots=True)
class Report:
    """What an examination came to."""

    findings: Sequence[Finding]
    objects: int
    bodies: int
    stored_bytes: int
    """Sum over the bodies."""
    read: bool
    """Whether the bytes of bodies were read, and not their sizes alone."""

    def open(self, weight: Weight) -> list[Finding]:
        """What is left of a weight."""
        return [finding for finding in self.findings if finding.meaning.weight is weight and not finding.repaired]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "objects": self.objects,
            "bodies": self.bodies,
            "stored_bytes": self.stored_bytes,
            "read": self.read,
            "findings": [
                {
                    "kind": finding.kind,
                    "weight": finding.meaning.weight,
                    "subject": finding.subject,
                    "detail": finding.detail,
                    "what": finding.meaning.what,
                    "advice": "" if finding.repaired else finding.meaning.advice,
                    "repaired": finding.repaired,
                }
                for finding in self.findings
            ],
        }
