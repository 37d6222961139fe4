"""The rate limit in response headers (`RateLimit-Limit`, `RateLimit-Remaining`).

Docker Hub counts manifest requests (not HEAD) in a window and reports the count in each
response (Docker documentation, "Docker Hub pull usage and limits"):

    ratelimit-limit: 100;w=21600
    ratelimit-remaining: 76;w=21600
    docker-ratelimit-source: 192.0.2.7

The headers are absent for accounts without a limit, and sometimes without a reason.
They resemble draft-ietf-httpapi-ratelimit-headers-03, in which the window is in further
items: `10, 10;w=1, 50;w=60`. Other products omit the window: their numbers are printed
but not used.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address

from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.wire.response import Headers

# Larger values are mistakes; a window is at most a year.
MAX_REQUESTS = 10**9
MAX_WINDOW_S = 366 * 86_400
# More than any product sends: about nine items.
_MAX_CHARS = 200
# An item is a number with parameters.
_ITEM = LazyPattern(r"[ \t]*([0-9]{1,18})[ \t]*(?:;([^,]*))?")
_WINDOW = LazyPattern(r"(?:\A|;)[ \t]*w[ \t]*=[ \t]*([0-9]{1,18})[ \t]*(?:;|\Z)")


class CountedBy(StrEnum):
    """Which requests are counted together."""

    ADDRESS = "address"  # all from the same IP address
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """The rate limit of a response; values that are missing are None."""

    remaining: int
    limit: int | None = None
    window_s: int | None = None
    counted_by: CountedBy | None = None


def parse_rate_limit(headers: Headers) -> RateLimit | None:
    """Parse the rate limit headers. None if they are absent or malformed."""
    value = headers.get("RateLimit-Remaining")
    items = None if value is None else _items(value)
    if not items:
        return None
    remaining, window_s = items[0]
    limits = _items(headers.get("RateLimit-Limit") or "")
    limit = limits[0][0] if limits else None
    windows = [window_s, *(w for number, w in limits if number == limit)]
    return RateLimit(
        remaining=remaining,
        limit=limit,
        window_s=next((w for w in windows if w is not None), None),
        counted_by=_counted_by(headers.get("Docker-RateLimit-Source") or ""),
    )


def _items(text: str) -> list[tuple[int, int | None]]:
    """Number and window in seconds of each item; empty if an item is malformed."""
    items: list[tuple[int, int | None]] = []
    for part in text.split(",") if len(text) <= _MAX_CHARS else ():
        item = _ITEM.fullmatch(part)
        if item is None or int(item[1]) > MAX_REQUESTS:
            return []
        window = _WINDOW.search(item[2] or "")
        window_s = int(window[1]) if window else None
        if window_s is not None and not 0 < window_s <= MAX_WINDOW_S:
            window_s = None
        items.append((int(item[1]), window_s))
    return items


def _counted_by(source: str) -> CountedBy | None:
    """The source is an IP address, or an opaque identifier of an account."""
    source = source.strip()
    if not source:
        return None
    try:
        ip_address(source.partition("%")[0])
    except ValueError:
        return CountedBy.ACCOUNT
    return CountedBy.ADDRESS
