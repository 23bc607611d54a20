"""The process's own log (start, stop, unexpected errors): standard logging to standard error, in the access log's two forms."""

import json
import logging
import re
import sys
from typing import TYPE_CHECKING

from s4_gateway.observe.access_log import LogForm, timestamp

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

# Messages carry keys and texts of other servers; a control character must not reach a terminal or begin a forged line.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class PrettyFormatter(logging.Formatter):
    """`TIME LEVEL name: message`, tracebacks indented below it."""

    def format(self, record: logging.LogRecord) -> str:
        message = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", record.getMessage())
        lines = [f"{timestamp(record.created)} {record.levelname:<7} {record.name}: {message}"]
        if record.exc_info:
            lines += ["    " + _CONTROL.sub("?", line) for line in self.formatException(record.exc_info).splitlines()]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One JSON object in ASCII per record; the traceback is a field."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def configure(form: LogForm, stream: "SupportsWrite[str] | None" = None) -> None:
    """Send log records to a stream, None = standard error; call it in the process that serves, or before it is forked."""
    handler: logging.Handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(PrettyFormatter() if form == "pretty" else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("s4_gateway").setLevel(logging.INFO)
    # The web server repeats what the gateway logs itself, with tracebacks of refused starts.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
