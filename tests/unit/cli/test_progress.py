"""What the progress says about hosts that are waited for."""

from __future__ import annotations

import time

from auditor.cli.progress import status_in_turn, status_text, statuses_text
from auditor.registry.host_status import HostStatus

SLOW = HostStatus(name="slow.example.com", text="", at_once=23)
THROTTLED = HostStatus(
    name="registry.example.com",
    text="waiting for 429",
    until=2 * 3600 + 14 * 60 + 7.0,
    at_once=23,
)
DEAD = HostStatus(
    name="dead.example.com", text="retrying dead.example.com (2 of 3): timeout"
)


def test_a_status_has_the_host_what_it_is_waited_for_and_until_when() -> None:
    assert [status_text(one, time.gmtime) for one in (SLOW, THROTTLED, DEAD)] == [
        "slow.example.com: 23 at once",
        "registry.example.com: waiting for 429 until 02:14:07, 23 at once",
        "retrying dead.example.com (2 of 3): timeout",
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
