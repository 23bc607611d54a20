"""The access log: one structured line per request, to a stream that must never stop the gateway.

Lines are formatted on the event loop, gathered, and written by a thread, so that a reader that stands still (a full pipe) costs log lines
and never requests. `pretty` is logfmt. Every value that is not plain is written as a JSON string, so that no key and no user agent can
start a line, end one, or move a terminal's cursor.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from s4_gateway.observe.lines import ByteSink, LineWriter
from s4_gateway.observe.record import NOTES, Record

FLUSH_SECONDS = 0.5
FLUSH_BYTES = 64 * 1024
MAX_WAITING_BYTES = 8 * 2**20
"""Most bytes that wait for the stream; beyond it new lines are dropped and counted."""
MAX_TEXT = 2048
"""Most characters of one text that are logged. A key (1,024 bytes) always fits."""

LogForm = Literal["pretty", "json"]

_PLAIN = re.compile(r"[A-Za-z0-9_.,:;/@%+*~!&()\[\]{}<>?|^$#-]+")
_quote = json.JSONEncoder(ensure_ascii=True).encode
_object = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def fields(record: Record) -> dict[str, object]:
    """What a line holds, in order, without the time; absent values are left out, texts are not longer than MAX_TEXT."""
    found: dict[str, object] = {"request_id": record.request_id}
    if record.principal is not None:
        found["principal"] = record.principal
    found["operation"] = record.operation
    found["method"] = record.method
    if record.bucket:
        found["bucket"] = record.bucket
    if record.key:
        found["key"] = record.key[:MAX_TEXT]
    found["status"] = record.status
    if record.code is not None:
        found["error"] = record.code[:MAX_TEXT]
    found["bytes_in"] = record.received
    found["bytes_out"] = record.sent
    found["ms"] = round(record.seconds * 1000, 2)
    if record.source_ip is not None:
        found["source_ip"] = record.source_ip
    if record.user_agent is not None:
        found["user_agent"] = record.user_agent[:MAX_TEXT]
    notes = record.notes
    for name in NOTES:
        if name in notes:
            note = notes[name]
            if note is not None:
                found[name] = note if isinstance(note, int | float) else str(note)[:MAX_TEXT]
    return found


def pretty(record: Record, at: float) -> str:
    """The line as logfmt, newline included. `at` is in seconds since the epoch."""
    shown = [f"{name}={value if name in _OURS else _text(value)}" for name, value in fields(record).items()]
    return f"time={timestamp(at)} {' '.join(shown)}\n"


_OURS = frozenset({"request_id", "status", "bytes_in", "bytes_out", "ms"})
"""Fields whose values are made here, of plain characters."""


def _text(value: object) -> object:
    return (value if _PLAIN.fullmatch(value) else _quote(value)) if isinstance(value, str) else value


def as_json(record: Record, at: float) -> str:
    """The line as one JSON object in ASCII, newline included. `at` is in seconds since the epoch."""
    return _object({"time": timestamp(at), **fields(record)}) + "\n"


def timestamp(at: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    seconds, milliseconds = divmod(int(at * 1000), 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


_last_second: tuple[int, str] = (-1, "")


def _second(seconds: int) -> str:
    """Formatting a date costs more than the rest of a line; lines of one second share it."""
    global _last_second  # noqa: PLW0603
    known, shown = _last_second
    if known != seconds:
        shown = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _last_second = (seconds, shown)
    return shown


class AccessLog:
    """Formats records and has them written. All methods are called on the event loop.

    Args:
        stream: binary; not closed.
        form: `pretty` or `json`.
        dropped: told how many lines were lost, at once or with a later line.
    """

    def __init__(self, stream: ByteSink, form: LogForm, *, dropped: Callable[[int], None]) -> None:
        self._format = {"pretty": pretty, "json": as_json}[form]
        self._dropped = dropped
        self._lines: list[str] = []
        self._gathered = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writer = LineWriter(stream)

    @property
    def waiting(self) -> int:
        """Bytes that are not written yet."""
        return self._gathered + self._writer.waiting

    def write(self, record: Record) -> None:
        """Log one request."""
        if self.waiting > MAX_WAITING_BYTES:
            self._dropped(1)
            return
        line = self._format(record, time.time())
        self._lines.append(line)
        self._gathered += len(line)
        if self._gathered >= FLUSH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Give all gathered lines to the writer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            lines, self._lines, self._gathered = self._lines, [], 0
            self._writer.put("".join(lines).encode("ascii"), len(lines))
        if lost := self._writer.take_lost():
            self._dropped(lost)

    async def close(self, timeout: float = 2.0) -> bool:
        """Write all that waits, for at most `timeout` seconds. Returns whether all of it was written."""
        self.flush()
        return await asyncio.to_thread(self._writer.close, timeout)
