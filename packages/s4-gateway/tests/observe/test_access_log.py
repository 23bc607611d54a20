"""The access log: one line a request, whatever the client sends, and never at the gateway's cost."""

import asyncio
import io
import json
import logging
import os
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.observe import AccessLog
from s4_gateway.observe.access_log import MAX_TEXT, MAX_WAITING_BYTES, as_json, pretty, timestamp
from s4_gateway.observe.logs import JsonFormatter, PrettyFormatter

from .test_metrics import RECORD, RECORD_OF_AN_ERROR

AT = 1_700_000_000.25

HOSTILE = 'a"b\\c d=e\n2026 forged line\r\x1b[2J\x00\u2028\x85\U0001f600\xff'


def parse_pretty(line: str) -> dict[str, str]:
    """The fields of a logfmt line."""
    assert line.endswith("\n")
    found: dict[str, str] = {}
    position = 0
    pattern = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "]*)(?: |$)')
    while position < len(line) - 1:
        match = pattern.match(line, position, len(line) - 1)
        assert match is not None, line[position:]
        found[match[1]] = json.loads(match[2]) if match[2].startswith('"') else match[2]
        position = match.end()
    return found


def test_pretty() -> None:
    """Fields in order, absent ones left out, plain values without quotes."""
    line = pretty(RECORD._replace(user_agent="aws-cli/2 (x)"), AT)

    assert line == (
        "time=2023-11-14T22:13:20.250Z request_id=0000000000000000 principal=somebody operation=GetObject method=GET bucket=bucket key=key "
        'status=200 bytes_in=0 bytes_out=5000 ms=4.0 source_ip=10.0.0.1 user_agent="aws-cli/2 (x)" '
        "codec=cpu-zstd logical_bytes=5000 stored_bytes=700\n"
    )


def test_json() -> None:
    """The same fields as one object, numbers as numbers."""
    assert json.loads(as_json(RECORD_OF_AN_ERROR, AT)) == {
        "time": "2023-11-14T22:13:20.250Z",
        "request_id": "1" * 16,
        "operation": "PutObject",
        "method": "PUT",
        "bucket": "bucket",
        "key": "key",
        "status": 403,
        "error": "AccessDenied",
        "bytes_in": 10,
        "bytes_out": 300,
        "ms": 400000.0,
    }


@pytest.mark.parametrize("field", ["principal", "bucket", "key", "code", "source_ip", "user_agent", "method", "operation"])
def test_no_value_escapes_its_field(field: str) -> None:
    """Line ends, quotes, escape sequences and other control characters stay inside their value, in both forms, and can be read back."""
    record = RECORD._replace(**{field: HOSTILE})
    for line in (pretty(record, AT), as_json(record, AT)):
        assert re.fullmatch(r"[\x20-\x7e]+\n", line)
    name = {"code": "error"}.get(field, field)

    assert parse_pretty(pretty(record, AT))[name] == HOSTILE
    assert json.loads(as_json(record, AT))[name] == HOSTILE


@given(st.text(max_size=60), st.text(max_size=60))
def test_lines_can_be_read_back(key: str, agent: str) -> None:
    """Any texts give one line of printable ASCII from which both come back."""
    record = RECORD._replace(key=key, user_agent=agent)
    line = pretty(record, AT)
    found = parse_pretty(line)

    assert re.fullmatch(r"[\x20-\x7e]+\n", line)
    assert (found.get("key", ""), found.get("user_agent", "")) == (key, agent)


def test_notes_of_any_kind() -> None:
    """Whatever a handler leaves in its notes, the line is a line."""
    record = RECORD._replace(notes={"codec": ["cpu-zstd", HOSTILE], "stored_bytes": None, "unknown": HOSTILE})

    assert parse_pretty(pretty(record, AT))["codec"] == str(["cpu-zstd", HOSTILE])
    assert json.loads(as_json(record, AT))["codec"] == str(["cpu-zstd", HOSTILE])
    assert "unknown" not in parse_pretty(pretty(record, AT))


def test_long_texts_are_cut() -> None:
    """A user agent of the size of a head does not fill the disk; the longest key fits."""
    record = RECORD._replace(user_agent="x" * 100_000, key="k" * 1024)
    found = parse_pretty(pretty(record, AT))

    assert (len(found["user_agent"]), len(found["key"])) == (MAX_TEXT, 1024)


def test_timestamps() -> None:
    """Milliseconds are cut, not rounded into the next second."""
    assert [timestamp(at)[17:] for at in (0, 0.9999, 1.5)] == ["00.000Z", "00.999Z", "01.500Z"]


class TestWriting:
    """Lines on their way to the stream."""

    async def test_all_lines_are_written_at_the_end(self) -> None:
        """Closing writes what was gathered, in order."""
        stream, lost = io.BytesIO(), []
        log = AccessLog(stream, "json", dropped=lost.append)
        for number in range(5000):
            log.write(RECORD._replace(key=str(number)))
        assert await log.close()

        assert [json.loads(line)["key"] for line in stream.getvalue().splitlines()] == [str(number) for number in range(5000)]
        assert lost == []

    async def test_lines_do_not_wait_for_others(self) -> None:
        """A single line is written within a second."""
        stream = io.BytesIO()
        log = AccessLog(stream, "pretty", dropped=lambda _: None)
        log.write(RECORD)
        await asyncio.sleep(0.9)
        written = stream.getvalue()
        await log.close()

        assert written.count(b"\n") == 1

    async def test_a_stream_that_stands_still(self) -> None:
        """A full pipe stops neither the event loop nor the end: memory is bounded, what does not fit is dropped and counted."""
        reading, writing = os.pipe()
        lost: list[int] = []
        line = RECORD._replace(key="k" * 1000, user_agent="u" * 1000)
        with os.fdopen(writing, "wb") as stream:
            log = AccessLog(stream, "pretty", dropped=lost.append)
            number = 2 * MAX_WAITING_BYTES // len(pretty(line, AT))
            for _ in range(number):
                log.write(line)
            held = log.waiting
            finished = await log.close(timeout=0.2)
            assert not finished
            reader = threading.Thread(target=lambda: [*iter(lambda: os.read(reading, 1 << 16), b"")])
            reader.start()
        reader.join()
        os.close(reading)

        assert MAX_WAITING_BYTES // 2 < held <= MAX_WAITING_BYTES + 4096
        assert number // 3 < sum(lost) < number

    async def test_a_stream_that_fails(self) -> None:
        """A closed stream costs lines, counted, and nothing else."""
        stream, lost = io.BytesIO(), []
        stream.close()
        log = AccessLog(stream, "pretty", dropped=lost.append)
        log.write(RECORD)
        log.write(RECORD)
        log.flush()
        for _ in range(200):
            await asyncio.sleep(0.01)
            log.flush()
            if lost:
                break
        await log.close()

        assert sum(lost) == 2

    async def test_the_writer_ends(self) -> None:
        """Closing leaves no thread behind."""
        before = threading.active_count()
        log = AccessLog(io.BytesIO(), "pretty", dropped=lambda _: None)
        log.write(RECORD)
        await log.close()

        assert threading.active_count() <= before + 1


class TestOwnLog:
    """The process's own log lines."""

    @staticmethod
    def record(message: str, *, failed: bool = False) -> logging.LogRecord:
        """A log record, with a traceback or without."""
        info = None
        if failed:
            try:
                raise ValueError(HOSTILE)
            except ValueError as error:
                info = (type(error), error, error.__traceback__)
        made = logging.LogRecord("s4_gateway.app", logging.ERROR, __file__, 1, "%s", (message,), info)
        made.created = AT
        return made

    def test_pretty(self) -> None:
        """One line, control characters shown as such; a traceback is indented below it, so that it forges no line either."""
        first, *others = PrettyFormatter().format(self.record(HOSTILE, failed=True)).split("\n")

        assert first.startswith('2023-11-14T22:13:20.250Z ERROR   s4_gateway.app: a"b\\c d=e\\x0a2026 forged line\\x0d\\x1b[2J\\x00')
        assert others
        assert all(line.startswith("    ") and not re.search(r"[\x00-\x1f\x7f-\x9f]", line) for line in others)

    def test_json(self) -> None:
        """One object, the traceback a field of it."""
        line = JsonFormatter().format(self.record(HOSTILE, failed=True))
        found = json.loads(line)

        assert re.fullmatch(r"[\x20-\x7e]+", line)
        assert (found["level"], found["message"]) == ("error", HOSTILE)
        assert "ValueError" in found["traceback"]
