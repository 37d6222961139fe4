"""The allowance that a registry says is left to us.

Docker Hub counts manifest requests (not HEAD) in a window and says so with each
answer (Docker documentation, "Docker Hub pull usage and limits"):

    ratelimit-limit: 100;w=21600
    ratelimit-remaining: 76;w=21600
    docker-ratelimit-source: 192.0.2.7

The fields are absent for accounts without a limit, and sometimes for no reason. They
look like those of draft-ietf-httpapi-ratelimit-headers-03, which gives the limit's
window in further items: `10, 10;w=1, 50;w=60`. Other products leave the window out:
what they say is shown, and nothing follows from it.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address

from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.wire.response import Headers

# A window of a year and a thousand million requests: more is not meant.
MAX_REQUESTS = 10**9
MAX_WINDOW_S = 366 * 86_400
# Nine items of a list are more than any product sends.
_MAX_CHARS = 200
# An item: a number, then parameters; what else stands there is not looked at.
_ITEM = LazyPattern(r"[ \t]*([0-9]{1,18})[ \t]*(?:;([^,]*))?")
_WINDOW = LazyPattern(r"(?:\A|;)[ \t]*w[ \t]*=[ \t]*([0-9]{1,18})[ \t]*(?:;|\Z)")


class CountedBy(StrEnum):
    """Whose requests are counted together."""

    ADDRESS = "address"  # everybody's behind the same address
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """What an answer says; null where it says nothing. The window is in seconds."""

    remaining: int
    limit: int | None = None
    window_s: int | None = None
    counted_by: CountedBy | None = None


def parse_rate_limit(headers: Headers) -> RateLimit | None:
    """The allowance in these header fields, or None: no field, or not such a one."""
    said = headers.get("RateLimit-Remaining")
    if said is None:
        return None
    remaining = _items(said)
    if not remaining:
        return None
    left, window_s = remaining[0]
    limits = _items(headers.get("RateLimit-Limit") or "")
    limit = limits[0][0] if limits else None
    windows = [window_s, *(w for number, w in limits if number == limit)]
    return RateLimit(
        remaining=left,
        limit=limit,
        window_s=next((w for w in windows if w is not None), None),
        counted_by=_counted_by(headers.get("Docker-RateLimit-Source") or ""),
    )


def _items(text: str) -> list[tuple[int, int | None]]:
    """Number and window of each item; nothing if one of them is no number."""
    found = []
    for part in text.split(",") if len(text) <= _MAX_CHARS else ():
        item = _ITEM.fullmatch(part)
        if item is None or int(item[1]) > MAX_REQUESTS:
            return []
        window = _WINDOW.search(item[2] or "")
        window_s = int(window[1]) if window else None
        if window_s is not None and not 0 < window_s <= MAX_WINDOW_S:
            window_s = None
        found.append((int(item[1]), window_s))
    return found


def _counted_by(source: str) -> CountedBy | None:
    """An address is said as it is, an account as an opaque identifier."""
    source = source.strip()
    if not source:
        return None
    try:
        ip_address(source.partition("%")[0])
    except ValueError:
        return CountedBy.ACCOUNT
    return CountedBy.ADDRESS
