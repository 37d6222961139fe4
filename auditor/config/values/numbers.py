"""Values that are numbers: counts, sizes, spans of time."""

from __future__ import annotations

import math
import re

from auditor.config.values import Value, require
from auditor.util.lazy_regex import Pattern

_WHOLE = Pattern(r"[+-]?[0-9]+(_[0-9]+)*")
_SPAN = Pattern(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?")
_SPAN_UNITS_S = (3600, 60, 1)
_SIZE = Pattern(r"([0-9]{1,15})([KMGT]?)i?B?", re.IGNORECASE)
_SIZE_UNITS = ("", "K", "M", "G", "T")


def whole(least: int, most: int) -> Value:
    """Make a whole number within bounds (both included)."""

    def typed(value: object) -> int:
        require(type(value) is int and least <= value <= most)
        return value  # type: ignore[return-value]

    def text(value: object) -> int:
        digits = str(value).strip()
        require(_WHOLE.fullmatch(digits))
        return typed(int(digits))

    wanted = f"a whole number from {least} to {most}"
    return Value(metavar="N", wanted=wanted, typed=typed, text=text)


def seconds(least: float, most: float) -> Value:
    """Make a span of time within bounds (both included)."""
    return _number(
        "SECONDS", f"a number of seconds from {least:.15g} to {most:.15g}", least, most
    )


def number(least: float, most: float) -> Value:
    """Make a number within bounds (both included)."""
    return _number("N", f"a number from {least:.15g} to {most:.15g}", least, most)


def _number(metavar: str, wanted: str, least: float, most: float) -> Value:
    def typed(value: object) -> float:
        require(type(value) in (int, float))
        found = float(value)  # type: ignore[arg-type]
        require(math.isfinite(found) and least <= found <= most)
        return found

    def text(value: object) -> float:
        return typed(float(str(value)))

    return Value(metavar=metavar, wanted=wanted, typed=typed, text=text)


def span(least: float, most: float) -> Value:
    """Make a span of time within bounds: seconds, or with units, as in `1h30m`."""

    def typed(value: object) -> float:
        if isinstance(value, str):
            return text(value)
        return plain.typed(value)  # type: ignore[return-value]

    def text(value: object) -> float:
        match = _SPAN.fullmatch(str(value).strip())
        if match is None or not match[0]:
            return plain.text(value)  # type: ignore[return-value]
        parts = zip(match.groups(default="0"), _SPAN_UNITS_S, strict=True)
        return plain.typed(sum(int(count) * unit_s for count, unit_s in parts))  # type: ignore[return-value]

    plain = seconds(least, most)
    wanted = f"{plain.wanted}, or a time such as 90m or 1h30m,"
    return Value(metavar="DURATION", wanted=wanted, typed=typed, text=text)


def size(least: int, most: int) -> Value:
    """Make a number of bytes within bounds, or one with K, M, G or T (of 1024)."""

    def typed(value: object) -> int:
        return text(value) if isinstance(value, str) else plain.typed(value)  # type: ignore[return-value]

    def text(value: object) -> int:
        match = _SIZE.fullmatch(str(value).strip())
        require(match)
        assert match is not None
        number, unit = match.groups()
        return plain.typed(int(number) * 1024 ** _SIZE_UNITS.index(unit.upper()))  # type: ignore[return-value]

    plain = whole(least, most)
    wanted = f"{plain.wanted}, or a size such as 500M or 2G,"
    return Value(metavar="SIZE", wanted=wanted, typed=typed, text=text)
