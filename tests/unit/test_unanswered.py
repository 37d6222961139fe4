"""What becomes of requests that a host lets run into their time, though it is there."""

from __future__ import annotations

from auditor.errors import Failure, FailureKind
from auditor.registry.host_health import DEAD_S, UNANSWERED_PATIENCE_S, Unanswered
from tests.clock import ManualClock

SILENT = Failure(kind=FailureKind.TIMEOUT, detail="silent for 30 s")
APP = "https://registry.example.com/v2/team/app/manifests/1"
SAME = "https://registry.example.com/v2/team/app/tags/list?n=100"
OTHER = "https://registry.example.com/v2/team/other/manifests/1"
SILENCE_S = 30.0
ENOUGH = int(UNANSWERED_PATIENCE_S / SILENCE_S)


class _Host:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.unanswered = Unanswered(host="registry.example.com", clock=self.clock)

    def silent(self, url: str, times: int = 1, *, together: int = 1) -> None:
        for _ in range(times):
            sent_at = self.clock.now
            self.clock.now += SILENCE_S
            for _ in range(together):
                self.unanswered.timed_out(url, SILENT, sent_at=sent_at)

    def refuses(self, url: str) -> bool:
        return self.unanswered.refusal(url) is not None


def test_a_repository_without_an_answer_is_given_up_and_no_other_one() -> None:
    host = _Host()
    host.silent(APP, ENOUGH - 1)
    assert not host.refuses(APP)
    host.silent(APP)
    assert host.refuses(APP)
    assert host.refuses(SAME)
    assert not host.refuses(OTHER)
    refusal = host.unanswered.refusal(APP)
    assert refusal is not None
    assert refusal.kind is FailureKind.TIMEOUT
    assert refusal.attempts == 0
    assert refusal.detail == (
        "registry.example.com was given up for this repository: it is there, but 10"
        " requests in a row had no answer, for 300 s: silent for 30 s"
    )


def test_where_no_repository_is_answered_the_host_is_given_up() -> None:
    host = _Host()
    host.silent(APP, ENOUGH // 2)
    host.silent(OTHER, ENOUGH // 2)
    assert host.refuses(APP)
    assert host.refuses("https://registry.example.com/v2/new/manifests/1")


def test_requests_that_waited_together_waited_once() -> None:
    host = _Host()
    host.silent(APP, ENOUGH - 1, together=8)
    assert not host.refuses(APP)


def test_time_in_which_nothing_was_asked_for_does_not_count() -> None:
    host = _Host()
    host.silent(APP)
    host.clock.now += 10 * UNANSWERED_PATIENCE_S
    host.silent(APP)
    assert not host.refuses(APP)


def test_an_answer_is_the_end_of_it() -> None:
    host = _Host()
    host.silent(APP, ENOUGH - 1)
    host.unanswered.answered(SAME)
    assert not host.unanswered.any
    host.silent(APP, ENOUGH - 1)
    assert not host.refuses(APP)


def test_an_answer_elsewhere_is_a_sign_of_the_host_and_not_of_the_repository() -> None:
    host = _Host()
    for _ in range(ENOUGH):
        host.silent(APP)
        host.unanswered.answered(OTHER)
    assert host.refuses(APP)
    assert not host.refuses(OTHER)


def test_after_a_pause_it_is_asked_again_and_one_silence_is_enough() -> None:
    host = _Host()
    host.silent(APP, ENOUGH)
    host.clock.now += DEAD_S
    assert not host.refuses(APP)
    host.silent(APP)
    assert host.refuses(APP)
    host.clock.now += DEAD_S
    host.unanswered.answered(APP)
    assert not host.refuses(APP)
    host.silent(APP, ENOUGH - 1)
    assert not host.refuses(APP)
