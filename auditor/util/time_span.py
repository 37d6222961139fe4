"""How far back: a span of time before now, or a date.

since    := span | date | time
span     := whole number, then s, m, h, d or w:  30d, 12h, 2w
date     := RFC 3339 full-date, midnight UTC:    2026-01-31
time     := RFC 3339 date-time:                  2026-01-31T12:00:00Z
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_text

_SPAN = LazyPattern(r"(?P<count>[0-9]{1,6})(?P<unit>[smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DATE = LazyPattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ].+)?")
# Reproducible builds write a time that says nothing: 0001-01-01 (Go's zero), 1970-01-01
# (SOURCE_DATE_EPOCH=0, Bazel, Jib), 1980-01-01 (Cloud Native Buildpacks). There was no
# image before docker's first release.
_FIRST_IMAGE = datetime(2013, 3, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Since:
    """Exactly one of `span` and `moment` is given. `text` is how it was written."""

    text: str
    span: timedelta | None = None
    moment: datetime | None = None

    def before(self, now: datetime) -> datetime:
        """The moment that is meant, as seen from `now`."""
        if self.moment is not None:
            return self.moment
        assert self.span is not None
        try:
            return now - self.span
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)

    def __str__(self) -> str:
        return self.text


def parse_since(text: str) -> Since:
    """A span or a date; `ValueError` with a sentence for anything else."""
    if found := _SPAN.fullmatch(text):
        span = timedelta(**{_UNITS[found["unit"]]: int(found["count"])})
        return Since(text, span=span)
    moment = _moment(text) if _DATE.fullmatch(text) else None
    if moment is None:
        raise ValueError(f'"{safe_text(text, 40)}" is neither a span nor a date')
    return Since(text, moment=moment)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is not None:
        return moment
    # A day's midnight is UTC's; a time of day without its zone could be anybody's.
    return moment.replace(tzinfo=UTC) if len(text) == len("2026-01-31") else None


def parse_image_time(text: str | None) -> datetime | None:
    """A time that an image or a product tells (RFC 3339); null if it says nothing."""
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    if moment is None:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment if moment >= _FIRST_IMAGE else None


def is_older_than(
    since: datetime, *, created: datetime | None, pushed: datetime | None = None
) -> bool | None:
    """Whether an image is older than `since`; null if what is known does not tell.

    What was put there before was made before; what was put there later may be old.
    """
    if created is not None and created >= _FIRST_IMAGE:
        return created < since
    if pushed is not None and pushed < since:
        return True
    return None
