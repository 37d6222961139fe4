"""Log lines on stderr: safe to print, without query strings, headers or bodies.

Times are UTC. With `--log-format json`, messages for a person are log lines, too.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime

from auditor.cli.output import set_message_format
from auditor.config import LogFormat, LogLevel, Settings
from auditor.util.text import safe_text

# Longer messages are truncated.
_MESSAGE_CHARS = 4000


class _Text(logging.Formatter):
    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = safe_text(record.message, _MESSAGE_CHARS)
        return super().formatMessage(record)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        more = {}
        if record.exc_info:
            more["exception"] = self.formatException(record.exc_info)
        return json_line(
            record.getMessage(),
            at_s=record.created,
            level=record.levelname.lower(),
            logger=record.name,
            **more,
        )


def json_line(
    message: str,
    *,
    at_s: float,
    level: str = "info",
    logger: str = "auditor",
    **more: str,
) -> str:
    """A JSON object with `at`, `level`, `logger`, `message` and `more`, in ASCII."""
    at = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    return json.dumps(
        {
            "at": at.replace("+00:00", "Z"),
            "level": level,
            "logger": logger,
            "message": safe_text(message, _MESSAGE_CHARS),
            **more,
        }
    )


def start_logging(settings: Settings) -> None:
    """Log messages of at least the configured level, and errors of libraries."""
    level = LogLevel.DEBUG if settings.verbose else settings.log_level
    if settings.quiet:
        level = LogLevel.ERROR
    handler = logging.StreamHandler()
    if settings.log_format is LogFormat.JSON:
        handler.setFormatter(_Json())
        set_message_format(lambda sentence: json_line(sentence, at_s=time.time()))
    else:
        handler.setFormatter(_Text("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    logging.getLogger("auditor").setLevel(level.upper())
