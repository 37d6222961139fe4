r"""Text from elsewhere, made fit for a terminal, a log or a report.

What moves the cursor, changes the direction of writing or cannot be seen becomes a
visible escape (`\x1b`, `\u202e`): everything that is "other" or "separator" in the
Unicode database but the space. See Unicode TR 36, "Bidirectional Text Spoofing".
"""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

_ELLIPSIS = "…"
_UNREADABLE_URL = "(unreadable URL)"


def safe_text(text: str, limit_chars: int = 200) -> str:
    """One printable line of at most `limit_chars` (>= 1) characters.

    A longer text ends in an ellipsis. Encodable as UTF-8; safe to apply twice.
    """
    shown = text[: limit_chars + 1]
    if not shown.isprintable():
        shown = "".join(map(_visible, shown))
    if len(shown) <= limit_chars:
        return shown
    return shown[: limit_chars - 1] + _ELLIPSIS


def safe_url(url: str) -> str:
    """`scheme://host[:port]/path` of a URL, through `safe_text`.

    No userinfo, query or fragment: they hold passwords, tokens and the signatures of
    presigned URLs. A URL in which these parts cannot be told apart is not shown.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # a password with a slash in it looks like a bad port
    except ValueError:
        return _UNREADABLE_URL
    host = parts.netloc.rpartition("@")[2]
    # Without an authority, userinfo can stand in what looks like the path.
    path = parts.path if host else parts.path.rpartition("@")[2]
    prefix = f"{parts.scheme}:" if parts.scheme else ""
    return safe_text(f"{prefix}//{host}{path}" if host else f"{prefix}{path}")


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    return char.encode("unicode_escape").decode("ascii")


# -- counted --
# Numbers of things in sentences: `1 page`, `2 pages`.


def format_count(count: int, one: str, many: str | None = None) -> str:
    """So many of something; `many` is its plural, if that does not end in another s."""
    return f"{count} {pluralize(count, one, many)}"


def pluralize(count: int, one: str, many: str | None = None) -> str:
    """What stands behind a number, where that is written in its own way."""
    return one if count == 1 else many or f"{one}s"


# -- sizes --

_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def format_size(size: int | None) -> str:
    """A number of bytes in powers of 1,000, as registries show it: `28.2 MB`."""
    if size is None:
        return "size unknown"
    value = float(size)
    for unit in _SIZE_UNITS:
        if value < 999.95 or unit == _SIZE_UNITS[-1]:  # 1000.0 is the next unit's 1.0
            break
        value /= 1000
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


# -- duration --
# Times and durations in words.

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


def format_duration(duration_s: float) -> str:
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


def format_expiry(expires_at: float, *, now: float) -> str:
    """`expires in 5 minutes` or `expired 3 days ago`; both are epoch seconds."""
    if expires_at > now:
        return f"expires in {format_duration(expires_at - now)}"
    return f"expired {format_duration(now - expires_at)} ago"


def format_time(epoch_s: float) -> str:
    """`2016-04-06 22:49:12 UTC`, or a phrase for what no calendar holds."""
    try:
        return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "a time outside of the calendar"
