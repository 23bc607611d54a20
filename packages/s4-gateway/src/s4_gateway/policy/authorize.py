"""The ordered checks. Handlers never call one: `operations.table` says what an operation is, and the checks read that."""

from collections.abc import Callable
from typing import Protocol

from s4_gateway.call import Call
from s4_gateway.errors import S3Error
from s4_gateway.policy.reserved import key_is_free, source_is_free


class Entry(Protocol):
    """What the checks need to know of an operation's row in the table."""

    @property
    def writes(self) -> bool:
        """It changes the object or the upload that its key names."""
        ...


Check = Callable[[Call, Entry], None]


def signed(call: Call, _entry: Entry) -> None:
    """Nobody is served who did not sign; who did may do everything that the later checks allow.

    Raises:
        S3Error: AccessDenied.
    """
    if call.principal is None:
        raise S3Error("AccessDenied")


def reserved_key(call: Call, entry: Entry) -> None:
    """The storage layer's own objects do not exist for clients."""
    key_is_free(call.key, writes=entry.writes)


def reserved_source(call: Call, _entry: Entry) -> None:
    """The same for the object a copy reads."""
    source_is_free(call.headers)


CHECKS: tuple[Check, ...] = (signed, reserved_key, reserved_source)
"""In this order: who may not ask at all learns nothing about names."""


def authorize(call: Call, entry: Entry) -> None:
    """Run all checks.

    Raises:
        S3Error: of the first check that refuses.
    """
    for check in CHECKS:
        check(call, entry)
