"""What a host is waited for, for a person who looks at a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass

if TYPE_CHECKING:
    from auditor.registry.concurrency_limiter import ConcurrencyLimiter
    from auditor.registry.host_limits import RateLimiter

RETRYING = "retrying"  # how the sentence of a retry begins
NO_ANSWER = "no answer"  # how the text for a silent host begins


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """Why requests to a service wait, or are fewer than the settings allow.

    `text` is a part of a sentence, "" if nothing waits. No request is sent before
    `until` (epoch seconds), if that is known. `at_once`: the requests in flight that
    are allowed now, None for as many as the settings say; `per_second`: the pace that
    was found for the host, None without one.
    """

    name: str
    text: str
    until: float | None = None
    at_once: int | None = None
    per_second: float | None = None


def status_of(
    name: str,
    *,
    obstacle: tuple[str, float | None] | None,
    concurrency: ConcurrencyLimiter | None,
    rate_limiter: RateLimiter | None,
    with_limit: bool,
    epoch_s: float,
) -> HostStatus | None:
    """The status of a service; None if its requests wait for nothing.

    `obstacle` keeps all requests back: its text, and its end as a monotonic time, if
    that is known. `concurrency` is None if another service of the host has told of it.
    `with_limit`: how many requests are sent at once is said even if nothing keeps it
    low. `epoch_s` is the time of the epoch at the monotonic time 0.
    """
    found = obstacle
    if found is None and concurrency is not None and (pause := concurrency.pause):
        found = f"waiting for {pause[0]}", pause[1]
    if found is None and rate_limiter is not None:
        end = rate_limiter.used_up_until
        found = ("waiting for the rate limit", end) if end else None
    if found is None and concurrency is not None:
        silent_s = concurrency.silent_s
        if silent_s is not None:
            found = f"{NO_ANSWER} for {silent_s:.0f} s", None
    at_once = None
    if (
        obstacle is None
        and concurrency is not None
        and (concurrency.is_reduced or (with_limit and concurrency.in_flight))
    ):
        at_once = concurrency.limit
    per_second = None
    if obstacle is None and concurrency is not None:
        per_second = concurrency.pace.rate
    if found is None and at_once is None and per_second is None:
        return None
    text, until = found or ("", None)
    if until is not None:
        until += epoch_s
    return HostStatus(
        name=name, text=text, until=until, at_once=at_once, per_second=per_second
    )


def retrying(name: str, failure: Failure, *, most: int | None) -> str:
    """The sentence before the next attempt; `most` is their number, None if unknown."""
    of = "" if most is None else f" of {most}"
    return f"{RETRYING} {name} ({failure.attempts + 1}{of}): {cause_of(failure)}"


def cause_of(failure: Failure) -> str:
    """A failure in two or three words."""
    if failure.status is not None:
        return str(failure.status)
    if failure.reason is not None:
        return failure.reason.replace("_", " ")
    if failure.kind is FailureKind.CONNECT:
        return "connection lost"
    return failure.kind.replace("_", " ")
