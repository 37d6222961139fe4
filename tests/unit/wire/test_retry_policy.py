"""Decisions after unsuccessful responses and network failures."""

from __future__ import annotations

import pytest

from auditor.errors import Failure, FailureKind
from auditor.wire.retry_policy import (
    BACKOFF_BASE_S,
    BACKOFF_CAP_S,
    MAX_REAUTHENTICATIONS,
    RETRY_AFTER_CAP_S,
    RETRYABLE_STATUSES,
    THROTTLED_S,
    THROTTLED_TRIES,
    Authenticate,
    Decision,
    Fail,
    SentRequest,
    Wait,
    decide,
    failure_from_response,
    full_jitter,
    retry_after_s,
)
from tests.responses import response

NOW = 1_795_479_600.0  # Tue, 24 Nov 2026 00:20:00 GMT
BEARER = 'Bearer realm="https://auth.example.com/token",service="registry"'
ANONYMOUS = SentRequest()


def after(
    outcome: object,
    *,
    attempt: int = 1,
    tries: int = 3,
    sent: SentRequest = ANONYMOUS,
    random: float = 0.5,
) -> Decision:
    return decide(
        outcome,  # type: ignore[arg-type]
        attempt=attempt,
        tries=tries,
        sent=sent,
        now=NOW,
        random=random,
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (101, FailureKind.PROTOCOL_VIOLATION),
        (304, FailureKind.PROTOCOL_VIOLATION),
        (400, FailureKind.PROTOCOL_VIOLATION),
        (402, FailureKind.PROTOCOL_VIOLATION),
        (403, FailureKind.DENIED),
        (404, FailureKind.NOT_FOUND),
        (405, FailureKind.PROTOCOL_VIOLATION),
        (406, FailureKind.PROTOCOL_VIOLATION),
        (410, FailureKind.PROTOCOL_VIOLATION),
        (416, FailureKind.PROTOCOL_VIOLATION),
        (451, FailureKind.PROTOCOL_VIOLATION),
        (501, FailureKind.SERVER_ERROR),
        (505, FailureKind.SERVER_ERROR),
        (507, FailureKind.SERVER_ERROR),
        (599, FailureKind.SERVER_ERROR),
    ],
)
@pytest.mark.parametrize("sent", [ANONYMOUS, SentRequest(fixed=True)])
def test_a_final_status_fails_without_a_retry(
    status: int, kind: FailureKind, sent: SentRequest
) -> None:
    decision = after(response(status, WWW_Authenticate=BEARER), sent=sent)
    assert isinstance(decision, Fail)
    assert decision.failure.kind is kind
    assert decision.failure.status == status
    assert decision.failure.attempts == 1
    assert str(status) in decision.failure.detail


# -- 401 -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "again"),
    [
        (ANONYMOUS, True),  # nothing was sent: the challenge is news
        (SentRequest(reauthentications=MAX_REAUTHENTICATIONS - 1), True),
        (SentRequest(reauthentications=MAX_REAUTHENTICATIONS), False),
        (SentRequest(fixed=True), False),
        (
            SentRequest(other_origin=True, reauthentications=MAX_REAUTHENTICATIONS),
            False,
        ),
    ],
)
@pytest.mark.parametrize("attempt", [1, 3, 9])
def test_a_401_leads_to_a_limited_number_of_new_tokens(
    sent: SentRequest, again: bool, attempt: int
) -> None:
    decision = after(response(401, WWW_Authenticate=BEARER), sent=sent, attempt=attempt)
    if again:
        assert isinstance(decision, Authenticate)
        assert decision.challenge is not None
        assert decision.challenge.scheme == "bearer"
    else:
        assert isinstance(decision, Fail)
    assert decision.failure.kind is FailureKind.DENIED
    assert decision.failure.attempts == attempt


@pytest.mark.parametrize(
    ("challenge", "url"),
    [(BEARER, "https://registry.example.com/v2/"), ("Basic", None)],
)
@pytest.mark.parametrize("fixed", [True, False])
def test_another_host_that_a_redirect_led_to_gets_an_anonymous_token_at_most(
    challenge: str, url: str | None, fixed: bool
) -> None:
    sent = SentRequest(other_origin=True, fixed=fixed)
    decision = after(response(401, WWW_Authenticate=challenge), sent=sent)
    if url is None:
        assert isinstance(decision, Fail)
    else:
        assert isinstance(decision, Authenticate)
        assert decision.url == url


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        ((), None),
        (("Negotiate",), None),
        (("Bearer",), None),  # no realm: nothing to follow
        (("Basic realm=x",), "basic"),
        (("Basic realm=x", BEARER), "bearer"),
        (("Negotiate, Basic realm=x, " + BEARER,), "bearer"),
    ],
)
def test_the_preferred_challenge_of_all_lines_is_used(
    fields: tuple[str, ...], scheme: str | None
) -> None:
    decision = after(response(401, WWW_Authenticate=fields))
    assert isinstance(decision, Authenticate)
    found = decision.challenge
    assert (found.scheme if found else None) == scheme


# -- waiting -------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted(RETRYABLE_STATUSES - {429}))
@pytest.mark.parametrize(
    ("attempt", "tries", "waits"),
    [(1, 3, True), (2, 3, True), (3, 3, False), (4, 3, False), (1, 1, False)],
)
def test_a_server_error_is_retried_up_to_the_configured_attempts(
    status: int, attempt: int, tries: int, waits: bool
) -> None:
    decision = after(response(status), attempt=attempt, tries=tries)
    assert isinstance(decision, Wait if waits else Fail)
    assert decision.failure.attempts == attempt
    assert decision.failure.kind.retryable
    if isinstance(decision, Wait):
        assert decision.seconds == 0.5 * BACKOFF_BASE_S * 2 ** (attempt - 1)
        assert not decision.host_wide


@pytest.mark.parametrize(
    ("attempt", "tries", "waits"),
    [
        (1, 1, False),  # --tries 1
        (1, 2, True),
        (THROTTLED_TRIES - 1, 3, True),
        (THROTTLED_TRIES, 3, False),
        (THROTTLED_TRIES, 10, True),
        (10, 10, False),
    ],
)
def test_a_429_is_retried_more_often(attempt: int, tries: int, waits: bool) -> None:
    decision = after(response(429), attempt=attempt, tries=tries)
    assert isinstance(decision, Wait if waits else Fail)
    assert decision.failure.kind is FailureKind.RATE_LIMITED
    if isinstance(decision, Wait):
        assert decision.host_wide
        assert decision.seconds <= BACKOFF_CAP_S


@pytest.mark.parametrize("status", sorted(RETRYABLE_STATUSES))
@pytest.mark.parametrize(
    ("value", "date", "asked_s"),
    [
        ("7", None, 7),
        ("300", None, RETRY_AFTER_CAP_S),
        ("Tue, 24 Nov 2026 00:20:30 GMT", None, 30),
        # relative to the clock of the registry
        ("Tue, 24 Nov 2020 00:00:30 GMT", "Tue, 24 Nov 2020 00:00:00 GMT", 30),
        ("soon", None, None),
        ("", None, None),
    ],
)
def test_retry_after_delays_all_requests_to_the_host(
    status: int, value: str, date: str | None, asked_s: float | None
) -> None:
    fields = {"Retry_After": value} | ({"Date": date} if date else {})
    decision = after(response(status, **fields), random=0.4)  # type: ignore[arg-type]
    assert isinstance(decision, Wait)
    jitter_s = 0.4 * BACKOFF_BASE_S
    if asked_s is None:
        assert decision.seconds == jitter_s
        assert decision.host_wide is (status == 429)
    else:
        assert decision.seconds == asked_s + jitter_s / 10
        assert decision.host_wide


@pytest.mark.parametrize("status", sorted(RETRYABLE_STATUSES))
@pytest.mark.parametrize("value", ["0", "-5", "Tue, 24 Nov 2026 00:00:00 GMT"])
def test_a_retry_after_of_no_time_is_waited_for_as_if_there_were_none(
    status: int, value: str
) -> None:
    """A limiter that rounds down would be asked again, and refuse, at once."""
    decision = after(response(status, Retry_After=value), attempt=2, random=0.4)
    assert isinstance(decision, Wait)
    assert decision.seconds == 0.4 * 2 * BACKOFF_BASE_S
    assert decision.host_wide


@pytest.mark.parametrize(
    ("fields", "asked_s"),
    [
        ({"X_Retry_After": "7"}, 7),
        ({"X_Retry_After": "1746136938"}, 60),
        ({"Retry_After": "1746136938"}, 60),
        ({"Retry_After": "soon", "X_Retry_After": "1746136938"}, 60),
        ({"Retry_After": "7", "X_Retry_After": "1746136938"}, 7),
    ],
)
def test_docker_hub_sends_a_unix_time_in_either_field(
    fields: dict[str, str], asked_s: float
) -> None:
    # https://docs.docker.com/reference/api/hub/latest/ (Rate limiting), and what it
    # sends: docker/hub-feedback#2459
    date = "Thu, 01 May 2025 22:01:18 GMT"
    decision = after(response(429, Date=date, **fields), random=0.0)  # type: ignore[arg-type]
    assert isinstance(decision, Wait)
    assert (decision.seconds, decision.host_wide) == (asked_s, True)


@pytest.mark.parametrize("status", [429, 503])
def test_a_long_retry_after_fails_all_requests_to_the_host(status: int) -> None:
    decision = after(response(status, Retry_After="21600"))
    assert isinstance(decision, Fail)
    assert decision.host_wide_s == 21600
    assert decision.failure.detail.endswith("; retry after 6 hours")


def test_a_429_on_the_last_attempt_pauses_the_host() -> None:
    decision = after(response(429), attempt=THROTTLED_TRIES)
    assert isinstance(decision, Fail)
    assert decision.host_wide_s == THROTTLED_S


def test_retry_after_on_the_last_attempt_is_not_waited_for() -> None:
    decision = after(response(503, Retry_After="7"), attempt=3)
    assert isinstance(decision, Fail)


# -- no response --------------------------------------------------------------


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize(("attempt", "tries"), [(1, 3), (2, 3), (3, 3), (1, 1)])
def test_without_a_response_the_failure_kind_determines_the_retry(
    kind: FailureKind, attempt: int, tries: int
) -> None:
    decision = after(
        Failure(kind=kind, detail="x"), attempt=attempt, tries=tries, random=1 / 4
    )
    assert isinstance(decision, Wait | Fail)
    assert decision.failure == Failure(kind=kind, detail="x", attempts=attempt)
    assert isinstance(decision, Wait) is (kind.retryable and attempt < tries)
    if isinstance(decision, Wait):
        assert decision.seconds == BACKOFF_BASE_S / 4 * 2 ** (attempt - 1)
        assert not decision.host_wide


@pytest.mark.parametrize("attempt", [1, 2, 5, 7])
def test_jitter_is_between_zero_and_the_cap(attempt: int) -> None:
    waits = [after(response(429), attempt=attempt, random=r) for r in (0.0, 0.999)]
    assert isinstance(waits[0], Wait)
    assert isinstance(waits[1], Wait)
    assert waits[0].seconds == 0
    assert waits[1].seconds < min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** (attempt - 1))


def test_a_failure_contains_one_safe_sentence_of_the_body() -> None:
    body = b'{"errors":[{"code":"NAME_UNKNOWN","message":"no \\u001b[31m such"}]}'
    failure = failure_from_response(
        response(404, body, Content_Type="application/json")
    )
    assert failure.detail.startswith("not found, or not visible to this account (404")
    assert "\x1b" not in failure.detail


TEST_BACKOFF_NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("attempt", "random", "seconds"),
    [
        (1, 0.0, 0.0),
        (1, 0.5, 0.25),
        (2, 0.5, 0.5),
        (3, 0.5, 1.0),
        (7, 0.5, 15.0),
        (10**9, 0.5, 15.0),
        (0, 0.5, 0.25),
    ],
)
def test_the_wait_doubles_up_to_a_cap(
    attempt: int, random: float, seconds: float
) -> None:
    assert full_jitter(attempt, random=random) == seconds


@pytest.mark.parametrize(
    ("value", "response_date", "seconds"),
    [
        (None, None, None),
        ("", None, None),
        ("soon", None, None),
        ("0", None, 0.0),
        (" 7 ", None, 7.0),
        ("1.5", None, 1.5),
        ("-3", None, 0.0),
        ("301", None, 300.0),
        ("9" * 300, None, 300.0),
        # A Unix time: docker/hub-feedback#2459, in milliseconds:
        # rancher/charts-build-scripts#230
        ("784111807", None, 300.0),  # less than 1e9 is a delay
        (str(10**9 - 1), None, 300.0),
        ("1746136938", "Thu, 01 May 2025 22:01:18 GMT", 60.0),
        ("1746136938.5", "Thu, 01 May 2025 22:01:18 GMT", 60.5),
        ("1746136938000", "Thu, 01 May 2025 22:01:18 GMT", 60.0),
        ("1746136938", "Thu, 01 May 2025 22:03:18 GMT", 0.0),  # it is over
        ("1746136938000", "Thu, 01 May 2025 22:03:18 GMT", 0.0),
        ("1746136938", None, 300.0),  # far from `now`
        (str(10**15), None, 300.0),  # neither
        ("9" * 5000, None, None),
        ("1e3", None, None),
        ("nan", None, None),
        ("\u0663", None, None),
        ("Sun, 06 Nov 1994 08:50:07 GMT", DATE, 30.0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", "Sun, 06 Nov 1994 08:50:00 GMT", 7.0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", None, 30.0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", "nonsense", 30.0),
        ("Sunday, 06-Nov-94 08:50:07 GMT", DATE, 30.0),
        ("Sun Nov  6 08:50:07 1994", DATE, 30.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", DATE, 0.0),
        ("Sun, 06 Nov 2094 08:49:00 GMT", DATE, 300.0),
        ("Sun, 99 Nov 1994 08:49:00 GMT", DATE, None),
        ("Sun, 06 Nov 1994", DATE, None),
    ],
)
def test_retry_after_can_be_seconds_or_a_date(
    value: str | None, response_date: str | None, seconds: float | None
) -> None:
    assert (
        retry_after_s(value, response_date=response_date, now=TEST_BACKOFF_NOW)
        == seconds
    )
