r"""Text for people: terminal-safe strings, URLs, counts, sizes, durations and times.

Text from a registry is not trusted. Characters that move the cursor, change the
writing direction or are invisible are printed as escapes (`\x1b`, `\u202e`): these are
all characters of the Unicode categories "other" and "separator" except the space. See
Unicode TR 36, "Bidirectional Text Spoofing".
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from auditor.util.lazy_regex import LazyPattern

if TYPE_CHECKING:
    import re

_NOT_ASCII = LazyPattern(r"[^\x00-\x7e]")
_ELLIPSIS = "…"
_UNREADABLE_URL = "(unreadable URL)"
_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
# Mean year and month of the Gregorian calendar: precise enough for a duration.
_DURATION_UNITS_S = (
    ("year", 31_556_952),
    ("month", 2_629_746),
    ("day", 86_400),
    ("hour", 3_600),
    ("minute", 60),
    ("second", 1),
)
# `datetime` ends with the year 9999.
_MAX_DURATION_S = 10_000 * 31_556_952


def safe_text(text: str, limit_chars: int = 200) -> str:
    """One printable line of at most `limit_chars` (>= 1) characters.

    Longer text is cut off and ends in an ellipsis. The result can be encoded as UTF-8
    and does not change when it is passed through again.
    """
    shown = text[: limit_chars + 1]
    if not shown.isprintable():
        shown = "".join(map(_printable, shown))
    if len(shown) <= limit_chars:
        return shown
    return shown[: limit_chars - 1] + _ELLIPSIS


def terminal_safe_json(data: bytes) -> bytes:
    """The same JSON with the characters escaped that act on a terminal.

    JSON escapes C0 only: C1 (U+009B begins a control sequence), DEL, bidirectional
    controls and line separators are written as they are (RFC 8259 section 7).
    """
    if data.isascii() and b"\x7f" not in data:
        return data
    return _NOT_ASCII.sub(_json_escape, data.decode()).encode()


def _json_escape(match: re.Match[str]) -> str:
    if match[0].isprintable():
        return match[0]
    units = match[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def safe_url(url: str) -> str:
    """`scheme://host[:port]/path` of a URL, through `safe_text`.

    Userinfo, query and fragment are left out: they can hold passwords, tokens and the
    signatures of presigned URLs. A URL that cannot be split reliably is not shown.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for a password that contains a slash
    except ValueError:
        return _UNREADABLE_URL
    host = parts.netloc.rpartition("@")[2]
    # Without an authority, userinfo is parsed as part of the path.
    path = parts.path if host else parts.path.rpartition("@")[2]
    prefix = f"{parts.scheme}:" if parts.scheme else ""
    return safe_text(f"{prefix}//{host}{path}" if host else f"{prefix}{path}")


def format_count(count: int, singular: str, plural: str | None = None) -> str:
    """`1 page`, `2,000 pages`. `plural` defaults to the singular with an s."""
    return f"{count:,} {pluralize(count, singular, plural)}"


def pluralize(count: int, singular: str, plural: str | None = None) -> str:
    """The noun for a count, without the number."""
    return singular if count == 1 else plural or f"{singular}s"


def format_size(size: int | None) -> str:
    """A number of bytes in powers of 1,000, as registries show it: `28.2 MB`."""
    if size is None:
        return "size unknown"
    value = float(size)
    for unit in _SIZE_UNITS:
        if value < 999.95 or unit == _SIZE_UNITS[-1]:  # 999.95 is printed as 1000.0
            break
        value /= 1000
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


def format_duration(duration_s: float) -> str:
    """`4 minutes 58 seconds`: the two largest units. Negative durations are 0."""
    if duration_s >= _MAX_DURATION_S:
        return "more than 10,000 years"
    rest = max(0, int(duration_s))
    parts: list[str] = []
    units = 0
    for name, unit_s in _DURATION_UNITS_S:
        units += bool(units or rest >= unit_s or unit_s == 1)
        if 1 <= units <= 2:
            count, rest = divmod(rest, unit_s)
            if count or not parts:
                parts.append(format_count(count, name))
    return " ".join(parts)


def format_expiry(expires_at: float, *, now: float) -> str:
    """`expires in 5 minutes` or `expired 3 days ago`; both are epoch seconds."""
    if expires_at > now:
        return f"expires in {format_duration(expires_at - now)}"
    return f"expired {format_duration(now - expires_at)} ago"


def format_time(epoch_s: float) -> str:
    """`2016-04-06 22:49:12 UTC`, or a phrase for times outside the years 1 to 9999."""
    try:
        return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "a time outside the calendar"


def how_to_install(package: str) -> str:
    """The command that installs a package of PyPI beside auditor."""
    return (
        f"pip install {package} in auditor's environment"
        f" (pipx: pipx inject manifest-auditor {package})"
    )


def _printable(char: str) -> str:
    if char.isprintable():
        return char
    return char.encode("unicode_escape").decode("ascii")
