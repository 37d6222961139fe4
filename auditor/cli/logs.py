"""Log lines on stderr: safe to show, never a query string, header or body."""

from __future__ import annotations

import logging

from auditor.config import LogLevel


def start_logging(level: LogLevel) -> None:
    """Log our own messages from `level` on; of libraries, what is serious."""
    logging.basicConfig(
        level=logging.ERROR, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("auditor").setLevel(level.upper())
