"""How long to wait before asking again. Pure: the clock and the dice are arguments."""

from __future__ import annotations

from datetime import UTC, datetime

from auditor.util.lazy_regex import Pattern

# 0.5, 1, 2, 4, ... at most 30 s: a registry that restarts is back within a minute,
# and three tries of a request stay well below its total deadline.
BASE_S = 0.5
CAP_S = 30.0
# A registry that asks for more patience than this has a quota, not a hiccup: the
# reference is better reported as rate limited than waited for.
RETRY_AFTER_CAP_S = 300.0
# 2**63 times anything is beyond every cap, and still a float.
_MAX_DOUBLINGS = 63

_SECONDS = Pattern(r"[+-]?[0-9]{1,300}(?:\.[0-9]{0,300})?")
# IMF-fixdate, RFC 850 and asctime dates (RFC 9110 section 5.6.7) begin with a day
# name; the longest, of RFC 850, has 33 characters.
_DATE = Pattern(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[A-Za-z]*,? [A-Za-z0-9: -]{15,30}")


def full_jitter(
    attempt: int, *, random: float, base_s: float = BASE_S, cap_s: float = CAP_S
) -> float:
    """Seconds to wait after attempt number `attempt` (from 1).

    Uniform between 0 and `min(cap_s, base_s * 2**(attempt - 1))`, with `random` in
    [0, 1): "full jitter" spreads clients that failed together the farthest.
    """
    doublings = min(max(attempt - 1, 0), _MAX_DOUBLINGS)
    return random * min(cap_s, base_s * 2.0**doublings)


def retry_after_s(
    value: str | None,
    *,
    response_date: str | None,
    now: float,
    cap_s: float = RETRY_AFTER_CAP_S,
) -> float | None:
    """The seconds that a Retry-After asks for (RFC 9110 section 10.2.3), 0 to `cap_s`.

    A date is taken against the response's own Date, so that a clock that is wrong on
    either side does not matter, or against `now` (epoch seconds) where that is
    missing. None for no value or one that is neither seconds nor a date.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        until = _epoch(text)
        if until is None:
            return None
        sent = _epoch((response_date or "").strip())
        seconds = until - (now if sent is None else sent)
    return min(max(seconds, 0.0), cap_s)


def _epoch(text: str) -> float | None:
    if not _DATE.fullmatch(text):
        return None
    # 2 ms of a start, and hardly anybody is told a date.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:  # asctime has no zone and means UTC
            date = date.replace(tzinfo=UTC)
        return (date - datetime.fromtimestamp(0, UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
