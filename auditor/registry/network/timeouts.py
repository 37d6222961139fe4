"""How long a request may take."""

from __future__ import annotations

from auditor.fast_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds for connecting, for each silence while reading, and for the whole."""

    connect_s: float
    read_s: float
    request_s: float
