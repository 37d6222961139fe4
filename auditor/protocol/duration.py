"""Times and durations in words."""

from __future__ import annotations

from datetime import UTC, datetime

# The Gregorian calendar's mean year and month: good for words, not for dates.
_UNITS_S = (
    ("year", 31_556_952),
    ("month", 2_629_746),
    ("day", 86_400),
    ("hour", 3_600),
    ("minute", 60),
    ("second", 1),
)
# Beyond the calendar of `datetime` a number of years says nothing.
_MAX_DURATION_S = 10_000 * 31_556_952


def duration_words(duration_s: float) -> str:
    """`4 minutes 58 seconds`: whole numbers of the two largest units, none negative."""
    if duration_s >= _MAX_DURATION_S:
        return "more than 10000 years"
    rest = max(0, int(duration_s))
    words: list[str] = []
    units = 0
    for name, unit_s in _UNITS_S:
        units += bool(units or rest >= unit_s or unit_s == 1)
        if 1 <= units <= 2:
            count, rest = divmod(rest, unit_s)
            if count or not words:
                words.append(f"{count} {name}" + ("" if count == 1 else "s"))
    return " ".join(words)


def expiry_words(expires_at: float, *, now: float) -> str:
    """`expires in 5 minutes` or `expired 3 days ago`; both are epoch seconds."""
    if expires_at > now:
        return f"expires in {duration_words(expires_at - now)}"
    return f"expired {duration_words(now - expires_at)} ago"


def time_words(epoch_s: float) -> str:
    """`2016-04-06 22:49:12 UTC`, or a phrase for what no calendar holds."""
    try:
        return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "a time outside of the calendar"
