"""JSON lines on standard error, one an event, with the ids that join them to traces.

``cli`` installs it. A line holds what its caller put into ``extra["fields"]``; prompts, pictures and
keys are never put there.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except orjson.JSONEncodeError:  # half a surrogate pair: the name of a file that is not UTF-8
            return json.dumps(line, default=str)


def install(level: str, stream: TextIO | None = None) -> None:
    """Sends everything of ``muxel`` at ``level`` and warnings of libraries to ``stream`` (standard error)."""
    # The logging documentation's own list of what to switch off where nobody prints it: half of a record's cost.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("muxel").setLevel(level.upper())
