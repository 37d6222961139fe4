"""The retry policy: what to do after a response that is not a success, or no response.

`decide` is pure; time and randomness are arguments. The request loop carries out its
decision: authenticate, wait and send again, or fail.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import format_duration
from auditor.wire.challenge import Challenge, parse_challenges, preferred_challenge
from auditor.wire.error_body import error_sentence
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of

# The same request may succeed later: RFC 9110 sections 15.5.9 and 15.6, RFC 6585
# section 4.
RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
# The service that a request is sent to, in messages.
REGISTRY = "the registry"
TOKEN_SERVICE = "the token service"
# Attempts after 429, which says when to retry and is therefore retried more often.
THROTTLED_TRIES = 8
# Seconds without requests to a host that returned 429 up to the last attempt.
THROTTLED_S = 30.0
# Authorizations that a request gets after a 401 each: for the first challenge, for a
# token that was revoked, and once more, because others may have used the new token
# before it was revoked as well.
MAX_REAUTHENTICATIONS = 3

# Seconds: 0.5, 1, 2, 4, ... up to 30. A registry that restarts is back within a minute,
# and three attempts stay well below the request's deadline.
BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 30.0
# Longest Retry-After that is waited for, in seconds; beyond it the reference is
# reported as rate limited.
RETRY_AFTER_CAP_S = 300.0
# 2001-09-09 as Unix time; as a delay, 31 years. Docker Hub sends the time at which
# requests are allowed again (docker/hub-feedback#2459).
_UNIX_TIME = 1e9
# 2.0**63 exceeds every cap and does not overflow.
_MAX_DOUBLINGS = 63

_SECONDS = LazyPattern(r"[+-]?[0-9]{1,300}(?:\.[0-9]{0,300})?")
# IMF-fixdate, RFC 850 and asctime dates (RFC 9110 section 5.6.7), at most 33
# characters.
_DATE = LazyPattern(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[A-Za-z]*,? [A-Za-z0-9: -]{15,30}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRequest:
    """The authentication of the request that was sent.

    `fixed`: the authentication cannot be renewed (a password, a registry token).
    `reauthentications`: how often this request already followed an `Authenticate`.
    `other_origin`: a redirect led to another origin, so the challenge is not the
    registry's and gets no login. `server` names the service in messages, `login` the
    credential that was sent, and `login_location` where that is configured.
    """

    fixed: bool = False
    reauthentications: int = 0
    other_origin: bool = False
    server: str = REGISTRY
    login: str | None = None
    login_location: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticate:
    """Get a token for `challenge` (None: the host's last one) and send again.

    `failure` is the outcome if there is no other token. `url` is that of another host
    to which a redirect led, and to which only an anonymous token may be sent.
    """

    challenge: Challenge | None
    failure: Failure
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Send again after `seconds`; `host_wide`: no request to the host before that."""

    seconds: float
    host_wide: bool
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """Give up.

    `host_wide_s`: seconds in which no request to the host can succeed.
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

    `outcome` is an unsuccessful response or a network failure; the caller knows which
    responses are successful. `now` is epoch seconds, `random` in [0, 1) is for jitter.
    """
    if isinstance(outcome, Failure):
        failure = replace(outcome, attempts=attempt)
        if failure.kind.retryable and attempt < tries:
            jitter = full_jitter(attempt, random=random)
            return Wait(seconds=jitter, host_wide=False, failure=failure)
        return Fail(failure=failure)
    if outcome.status == 401:
        return _unauthorized(outcome, attempt=attempt, sent=sent)
    failure = failure_from_response(outcome, attempt=attempt, server=sent.server)
    if outcome.status in RETRYABLE_STATUSES:
        throttled = outcome.status == 429
        limit = tries_after(outcome.status, tries)
        requested_s = requested_wait_s(outcome, now=now, cap_s=math.inf)
        if requested_s is not None and requested_s > RETRY_AFTER_CAP_S:
            detail = f"{failure.detail}; retry after {format_duration(requested_s)}"
            failure = replace(failure, detail=detail)
            return Fail(failure=failure, host_wide_s=requested_s)
        if attempt >= limit:
            return Fail(failure=failure, host_wide_s=THROTTLED_S if throttled else None)
        jitter = full_jitter(attempt, random=random)
        return Wait(
            # "Now" says nothing about what the host can take.
            seconds=requested_s + jitter / 10 if requested_s else jitter,
            host_wide=requested_s is not None or throttled,
            failure=failure,
        )
    return Fail(failure=failure)


def tries_after(status: int | None, tries: int) -> int:
    """The attempts of a request that got this status, with `tries` in the settings."""
    return max(tries, THROTTLED_TRIES) if status == 429 and tries > 1 else tries


def failure_from_response(
    response: Response, *, attempt: int = 1, server: str = REGISTRY
) -> Failure:
    """The failure for an unsuccessful response of `server`, by its status."""
    message = error_sentence(
        response.body, content_type=response.content_type, status=response.status
    )
    other = _SERVER_ERROR if response.status >= 500 else _REJECTED
    kind, meaning = _MEANINGS.get(response.status, other)
    detail = meaning.format(server=server) + f" ({response.status}"
    detail += f": {message})" if message else ")"
    return Failure(kind=kind, detail=detail, status=response.status, attempts=attempt)


def with_login(
    failure: Failure, login: str, location: str | None, host: str
) -> Failure:
    """The failure for a 401 or 403, with the credential that `host` rejected."""
    detail = failure.detail.replace(REGISTRY, host, 1)
    detail = detail.replace("the login or requires one", login, 1)
    if failure.status == 403:
        detail = detail.replace("denied access", f"rejected {login}", 1)
    return replace(failure, detail=f"{detail}; check the credential in {location}")


def full_jitter(attempt: int, *, random: float) -> float:
    """Seconds to wait after attempt number `attempt` (from 1); `random` in [0, 1).

    Full jitter, uniform between 0 and the backoff, spreads clients that failed together
    the farthest.
    """
    doublings = min(max(attempt - 1, 0), _MAX_DOUBLINGS)
    return random * min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0**doublings)


def requested_wait_s(
    response: Response, *, now: float, cap_s: float = RETRY_AFTER_CAP_S
) -> float | None:
    """The wait that a response asks for (see `retry_after_s`); None for none.

    Docker Hub's API documents its field as `X-Retry-After`.
    """
    headers = response.headers
    date = headers.get("Date")
    for name in ("Retry-After", "X-Retry-After"):
        value = headers.get(name)
        seconds = retry_after_s(value, response_date=date, now=now, cap_s=cap_s)
        if seconds is not None:
            return seconds
    return None


def retry_after_s(
    value: str | None,
    *,
    response_date: str | None,
    now: float,
    cap_s: float = RETRY_AFTER_CAP_S,
) -> float | None:
    """Seconds to wait for a Retry-After header (RFC 9110 section 10.2.3), 0 to `cap_s`.

    A date is relative to the Date of the response, so that wrong clocks do not matter,
    or to `now` (epoch seconds) without one. A number that can only be a Unix time, in
    seconds or milliseconds, is a date. None if the value is missing or invalid.
    """
    text = (value or "").strip()
    until = None
    if not _SECONDS.fullmatch(text):
        until = _epoch(text)
        if until is None:
            return None
    elif _UNIX_TIME <= (seconds := float(text)) < 1000 * _UNIX_TIME:
        until = seconds
    elif 1000 * _UNIX_TIME <= seconds < 1_000_000 * _UNIX_TIME:
        until = seconds / 1000
    if until is not None:
        sent = _epoch((response_date or "").strip())
        seconds = until - (now if sent is None else sent)
    return min(max(seconds, 0.0), cap_s)


def _unauthorized(response: Response, *, attempt: int, sent: SentRequest) -> Decision:
    values = response.headers.getall("WWW-Authenticate", ())
    challenge = preferred_challenge(parse_challenges(values))
    failure = failure_from_response(response, attempt=attempt, server=sent.server)
    is_last = sent.reauthentications >= MAX_REAUTHENTICATIONS
    is_bearer = challenge is not None and challenge.scheme == "bearer"
    if sent.other_origin and is_bearer and not is_last:
        # A registry at another name (lscr.io): docker and containerd follow, too.
        return Authenticate(challenge=challenge, failure=failure, url=response.url)
    if sent.login is not None and not sent.other_origin:
        host = origin_of(response.url).name
        failure = with_login(failure, sent.login, sent.login_location, host)
    if sent.fixed or sent.other_origin or is_last:
        return Fail(failure=failure)
    return Authenticate(challenge=challenge, failure=failure)


_MEANINGS = {
    401: (FailureKind.DENIED, "{server} rejected the login or requires one"),
    403: (FailureKind.DENIED, "{server} denied access"),
    404: (FailureKind.NOT_FOUND, "not found, or not visible to this account"),
    408: (FailureKind.TIMEOUT, "{server} timed out"),
    429: (FailureKind.RATE_LIMITED, "the rate limit of {server} is exceeded"),
}
_SERVER_ERROR = FailureKind.SERVER_ERROR, "{server} returned an error"
_REJECTED = FailureKind.PROTOCOL_VIOLATION, "{server} rejected the request"


def _epoch(text: str) -> float | None:
    if not _DATE.fullmatch(text):
        return None
    # Rarely needed, and 2 ms of the start of a command.
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:  # asctime has no zone and means UTC
            date = date.replace(tzinfo=UTC)
        return (date - datetime.fromtimestamp(0, UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
