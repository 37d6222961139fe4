"""What the progress says about hosts that are waited for."""

from __future__ import annotations

import time

import pytest

from auditor.cli.progress import (
    remaining_text,
    status_in_turn,
    status_text,
    statuses_text,
)
from auditor.registry.host_status import HostStatus

SLOW = HostStatus(name="slow.example.com", text="", at_once=23)
THROTTLED = HostStatus(
    name="registry.example.com",
    text="waiting for 429",
    until=2 * 3600 + 14 * 60 + 7.0,
    at_once=23,
)
PACED = HostStatus(name="paced.example.com", text="", at_once=1, per_second=4.91)
DEAD = HostStatus(
    name="dead.example.com", text="retrying dead.example.com (2 of 3): timeout"
)

ALL = (SLOW, THROTTLED, DEAD, PACED)


def test_a_status_has_the_host_what_it_is_waited_for_and_until_when() -> None:
    assert [status_text(one, time.gmtime) for one in ALL] == [
        "slow.example.com: 23 at once",
        "registry.example.com: waiting for 429 until 02:14:07, 23 at once",
        "retrying dead.example.com (2 of 3): timeout",
        "paced.example.com: 1 at once, 4.9 a second",
    ]


def test_the_terminal_shows_hosts_in_turn_and_those_that_wait_first() -> None:
    shown = [status_in_turn([SLOW, DEAD], now) for now in (0, 2.9, 3, 6)]
    assert shown == [
        "retrying dead.example.com (2 of 3): timeout; 1 more",
        "retrying dead.example.com (2 of 3): timeout; 1 more",
        "slow.example.com: 23 at once; 1 more",
        "retrying dead.example.com (2 of 3): timeout; 1 more",
    ]
    assert status_in_turn([], 0) == ""


def test_the_log_names_a_few_hosts_in_utc() -> None:
    assert statuses_text([]) == ""
    assert statuses_text([SLOW, DEAD, THROTTLED, SLOW]) == (
        "retrying dead.example.com (2 of 3): timeout;"
        " registry.example.com: waiting for 429 until 02:14:07Z, 23 at once;"
        " slow.example.com: 23 at once; 1 more"
    )


NOW = 2 * 3600 + 13 * 60 + 7.0  # one minute before the pause of THROTTLED ends


@pytest.mark.parametrize(
    ("estimate_s", "statuses", "expected"),
    [
        pytest.param(9.2, [], "0:00:10", id="no pause"),
        pytest.param(9.2, [SLOW], "0:00:10", id="fewer requests"),
        pytest.param(9.2, [THROTTLED, SLOW], "0:01:10", id="a pause"),
        pytest.param(3600.0, [THROTTLED] * 2, "1:01:00", id="pauses at one time"),
        pytest.param(9.2, [THROTTLED, DEAD], "-:--:--", id="without a known end"),
        pytest.param(None, [], "-:--:--", id="no speed yet"),
    ],
)
def test_the_remaining_time_counts_the_pauses_of_hosts(
    estimate_s: float | None, statuses: list[HostStatus], expected: str
) -> None:
    assert remaining_text(estimate_s, statuses, NOW) == expected


def test_a_pause_that_is_over_does_not_shorten_the_remaining_time() -> None:
    assert remaining_text(9.0, [THROTTLED], NOW + 100) == "0:00:09"
