"""What to do with an answer that is not good: a decision without side effects.

The client carries it out: it sleeps, fetches tokens and sends again.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.wire.challenge import (
    Challenge,
    Scope,
    parse_challenges,
    preferred_challenge,
    wider_scope,
)
from auditor.wire.error_body import error_sentence
from auditor.wire.response import Response

# -- backoff --
# How long to wait before asking again. Pure: the clock and the dice are arguments.

# 0.5, 1, 2, 4, ... at most 30 s: a registry that restarts is back within a minute,
# and three tries of a request stay well below its total deadline.
BASE_S = 0.5
CAP_S = 30.0
# A registry that asks for more patience than this has a quota, not a hiccup: the
# reference is better reported as rate limited than waited for.
RETRY_AFTER_CAP_S = 300.0
# 2**63 times anything is beyond every cap, and still a float.
_MAX_DOUBLINGS = 63

_SECONDS = LazyPattern(r"[+-]?[0-9]{1,300}(?:\.[0-9]{0,300})?")
# IMF-fixdate, RFC 850 and asctime dates (RFC 9110 section 5.6.7) begin with a day
# name; the longest, of RFC 850, has 33 characters.
_DATE = LazyPattern(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[A-Za-z]*,? [A-Za-z0-9: -]{15,30}")


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


# RFC 9110 section 15.5.9, RFC 6585 section 4, RFC 9110 section 15.6: a later
# identical request may succeed.
RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
# A throttled request is not a failed one: the registry asks for patience and says
# for how long, so it is asked more often than a broken one before it is given up.
THROTTLED_TRIES = 8
# A host that throttles to the last try is left alone by everybody for so long.
THROTTLED_S = 30.0
# A token younger than this was made for this request: that it is refused is an
# answer, not an accident of time.
FRESH_TOKEN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRequest:
    """What the request carried. `token_age_s` is null when it carried no token.

    `scope` is what that token was asked for.
    `fixed`: what it carried cannot be renewed (a password, a ready token).
    `elsewhere`: a redirect led to another origin, which was sent no token. What that
    one asks for is not the registry's word.
    """

    token_age_s: float | None = None
    scope: Scope | None = None
    fixed: bool = False
    authenticated_again: bool = False
    elsewhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticate:
    """Get a token for `challenge` (null: the host's known one) and send again."""

    challenge: Challenge | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Send again after `seconds`; `host_wide`: nobody may ask the host sooner."""

    seconds: float
    host_wide: bool
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """Nothing more can be done.

    `host_wide_s`: for so many seconds nothing can be done for anybody on the host.
    """

    failure: Failure
    host_wide_s: float | None = None


Decision = Authenticate | Wait | Fail


def decide(
    outcome: Response | Failure,
    *,
    attempt: int,
    tries: int,
    sent: SentRequest,
    now: float,
    random: float,
) -> Decision:
    """What to do after attempt number `attempt` (from 1) of at most `tries`.

    Good answers do not come here: whoever sent the request knows which those are, and
    has nothing to decide. `now` is epoch seconds, `random` a number in [0, 1) for the
    jitter.
    """
    if isinstance(outcome, Failure):
        failure = replace(outcome, attempts=attempt)
        if failure.kind.retryable and attempt < tries:
            return Wait(
                seconds=full_jitter(attempt, random=random),
                host_wide=False,
                failure=failure,
            )
        return Fail(failure=failure)
    if outcome.status == 401:
        return _unauthorized(outcome, attempt=attempt, sent=sent)
    failure = failure_from_response(outcome, attempt=attempt)
    if outcome.status in RETRYABLE_STATUSES:
        throttled = outcome.status == 429
        limit = max(tries, THROTTLED_TRIES) if throttled and tries > 1 else tries
        asked = retry_after_s(
            outcome.headers.get("Retry-After"),
            response_date=outcome.headers.get("Date"),
            now=now,
            cap_s=math.inf,
        )
        if asked is not None and asked > RETRY_AFTER_CAP_S:
            detail = f"{failure.detail}; it may be asked again in {asked:.0f} s"
            return Fail(failure=replace(failure, detail=detail), host_wide_s=asked)
        if attempt >= limit:
            return Fail(failure=failure, host_wide_s=THROTTLED_S if throttled else None)
        jitter = full_jitter(attempt, random=random)
        return Wait(
            seconds=jitter if asked is None else asked + jitter / 10,
            host_wide=asked is not None or throttled,
            failure=failure,
        )
    return Fail(failure=failure)


def _unauthorized(answer: Response, *, attempt: int, sent: SentRequest) -> Decision:
    values = answer.headers.getall("WWW-Authenticate", ())
    challenge = preferred_challenge(parse_challenges(values))
    fresh = sent.token_age_s is not None and sent.token_age_s < FRESH_TOKEN_S
    if fresh and sent.scope is not None and challenge is not None:
        # What it was made for does not do: one for more may.
        fresh = wider_scope(sent.scope, challenge.parameters.get("scope")) is None
    if sent.fixed or sent.authenticated_again or sent.elsewhere or fresh:
        return Fail(failure=failure_from_response(answer, attempt=attempt))
    return Authenticate(challenge=challenge)


def failure_from_response(answer: Response, *, attempt: int = 1) -> Failure:
    """The failure that an unsuccessful answer stands for, by its status."""
    said = error_sentence(
        answer.body, content_type=answer.content_type, status=answer.status
    )
    kind, meaning = _meaning(answer.status)
    detail = f"{meaning} ({answer.status}" + (f": {said})" if said else ")")
    return Failure(kind=kind, detail=detail, status=answer.status, attempts=attempt)


def _meaning(status: int) -> tuple[FailureKind, str]:
    match status:
        case 401:
            return FailureKind.DENIED, "the registry asks for other credentials"
        case 403:
            return FailureKind.DENIED, "the registry denies access"
        case 404:
            return (
                FailureKind.NOT_FOUND,
                "not there, or not visible to this account",
            )
        case 408:
            return FailureKind.TIMEOUT, "the registry gave up waiting"
        case 429:
            return FailureKind.RATE_LIMITED, "the registry limits the request rate"
        case _ if status >= 500:
            return FailureKind.SERVER_ERROR, "the registry failed"
        case _:
            return FailureKind.PROTOCOL_VIOLATION, "the registry refused the request"
