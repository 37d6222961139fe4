"""A point in the past, given as a duration before now or as a date.

since    := duration | date | time
duration := whole number, then s, m, h, d or w:  30d, 12h, 2w
date     := RFC 3339 full-date, midnight UTC:    2026-01-31
time     := RFC 3339 date-time:                  2026-01-31T12:00:00Z
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_text

_DURATION = LazyPattern(r"(?P<count>[0-9]{1,6})(?P<unit>[smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DATE = LazyPattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ].+)?")
# Docker's first release. Reproducible builds write earlier times as placeholders:
# 0001-01-01 (Go's zero time), 1970-01-01 (SOURCE_DATE_EPOCH=0, Bazel, Jib), 1980-01-01
# (Cloud Native Buildpacks).
FIRST_IMAGE = datetime(2013, 3, 1, tzinfo=UTC)


def parse_since(text: str) -> timedelta | datetime:
    """Parse a duration or a date. Raises `ValueError` with a sentence."""
    if match := _DURATION.fullmatch(text):
        return timedelta(**{_UNITS[match["unit"]]: int(match["count"])})
    moment = _parse_iso(text) if _DATE.fullmatch(text) else None
    # A date alone means midnight UTC; a time of day needs a time zone.
    if moment is not None and moment.tzinfo is None and len(text) == len("2026-01-31"):
        moment = moment.replace(tzinfo=UTC)
    if moment is None or moment.tzinfo is None:
        raise ValueError(
            "expected a duration (30d, 12h) or a date (2026-01-31),"
            f' got "{safe_text(text, 40)}"'
        )
    return moment


def moment_of(since: timedelta | datetime, now: datetime) -> datetime:
    """The point in time that a parsed `since` means at `now`."""
    if isinstance(since, datetime):
        return since
    try:
        return now - since
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def parse_image_time(text: str | None) -> datetime | None:
    """An RFC 3339 time from an image or a product's API; None for a placeholder."""
    if (moment := _parse_iso(text or "")) is None:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment if moment >= FIRST_IMAGE else None


def is_older_than(
    since: datetime, *, created: datetime | None, pushed: datetime | None
) -> bool | None:
    """Whether an image was built before `since`; None if that is unknown.

    An image is built before it is pushed: if it was pushed before `since`, it is older.
    If it was pushed later, its age is unknown.
    """
    if created is not None and created >= FIRST_IMAGE:
        return created < since
    if pushed is not None and pushed < since:
        return True
    return None


def _parse_iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
