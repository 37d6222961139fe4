"""What to do with an answer that is not good: a decision without side effects.

The client carries it out: it sleeps, fetches tokens and sends again.
"""

from __future__ import annotations

import math
from dataclasses import replace

from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.protocol.backoff import (
    RETRY_AFTER_CAP_S,
    full_jitter,
    retry_after_s,
)
from auditor.protocol.scope import Scope, wider
from auditor.wire.challenge import Challenge, parse_challenges, preferred
from auditor.wire.error_body import error_sentence
from auditor.wire.response import Answer

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
class Sent:
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
    outcome: Answer | Failure,
    *,
    attempt: int,
    tries: int,
    sent: Sent,
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
    failure = failure_of(outcome, attempt=attempt)
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


def _unauthorized(answer: Answer, *, attempt: int, sent: Sent) -> Decision:
    values = answer.headers.getall("WWW-Authenticate", ())
    challenge = preferred(parse_challenges(values))
    fresh = sent.token_age_s is not None and sent.token_age_s < FRESH_TOKEN_S
    if fresh and sent.scope is not None and challenge is not None:
        # What it was made for does not do: one for more may.
        fresh = wider(sent.scope, challenge.parameters.get("scope")) is None
    if sent.fixed or sent.authenticated_again or sent.elsewhere or fresh:
        return Fail(failure=failure_of(answer, attempt=attempt))
    return Authenticate(challenge=challenge)


def failure_of(answer: Answer, *, attempt: int = 1) -> Failure:
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
