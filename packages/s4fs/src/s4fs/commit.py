"""Writes whose answer may be lost: the write token at the path tells whether this write is there (data-paths.md section 2)."""

import contextlib
import errno
import os
from collections.abc import Coroutine
from typing import Any

from s4_format import FormatError, Manifest

from s4fs.errors import ConditionFailedError, LostWriteError
from s4fs.stored import Condition
from s4fs.targets import Target
from s4fs.targets.s3 import DEFINITE, code_of


async def confirmed(target: Target, path: str, token: str, write: Coroutine[Any, Any, str | None], condition: Condition) -> str | None:
    """Await a write that stamps `token`; find out what became of one whose answer was lost, or refused after a lost attempt.

    Returns:
        The ETag of the object written, if the target tells.

    Raises:
        FileExistsError, ConditionFailedError: the condition does not hold.
        LostWriteError: there was no answer, and the write is not to be seen.
        OSError: the target's own refusal.
    """
    try:
        return await write
    except OSError as error:
        if not target.keeps_metadata or code_of(error) in DEFINITE or isinstance(error, PermissionError) or _was_not_sent(error):
            raise
        found = await _find_own(target, path, token, error)
        if found is not None:
            return found
        if isinstance(error, ConditionFailedError):
            if condition.if_absent:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from error
            raise
        raise LostWriteError(path, f"the write did not happen ({error})") from error


def _was_not_sent(error: OSError) -> bool:
    """Whether the request was refused here, before the store could see it."""
    return code_of(error) is None and error.errno in (errno.EINVAL, errno.EISDIR)


async def _find_own(target: Target, path: str, token: str, refusal: OSError) -> str | None:
    """The ETag of the object at the path if it is the write with this token; None if it is definitely not.

    Raises:
        LostWriteError: the path cannot be read: a failure is not an absence.
    """
    try:
        found = await target.head(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LostWriteError(path, f"the outcome of the write is unknown ({refusal})") from error
    with contextlib.suppress(FormatError):
        # Nothing of ours has metadata that cannot be read.
        if Manifest.from_metadata(found.metadata).write_token == token:
            return found.etag
    return None
