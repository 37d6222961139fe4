"""Rate limit headers."""

from __future__ import annotations

import pytest

from auditor.wire.rate_limit import CountedBy, RateLimit, parse_rate_limit
from tests.responses import HeaderFields

HOUR = 3600


@pytest.mark.parametrize(
    ("remaining", "limit", "expected"),
    [
        ("76;w=21600", "100;w=21600", (76, 100, 6 * HOUR)),
        ("0;w=21600", "100;w=21600", (0, 100, 6 * HOUR)),
        (" 76 ; w=21600 ", "100", (76, 100, 6 * HOUR)),
        # the window is in RateLimit-Remaining only
        ("196;w=21600", "200=21600", (196, None, 6 * HOUR)),
        ("76", "100;w=21600", (76, 100, 6 * HOUR)),
        ("76;w=21600", None, (76, None, 6 * HOUR)),
        # GitLab and others
        ("59", "60", (59, 60, None)),
        # draft-ietf-httpapi-ratelimit-headers-03
        ("9", "10, 10;w=1, 50;w=60", (9, 10, 1)),
        ("9", '10, 10;w=60;comment="burst"', (9, 10, 60)),
        ("9", '10, 10;policy="a";w=60', (9, 10, 60)),
        # invalid windows
        ("9;w=0", "10", (9, 10, None)),
        ("9;w=-5", "10", (9, 10, None)),
        ("9;w=1e3", "10", (9, 10, None)),
        ("9;w=99999999999", "10", (9, 10, None)),
        ("9;window=60", "10", (9, 10, None)),
        # remaining exceeds the limit
        ("500;w=60", "100;w=60", (500, 100, 60)),
    ],
)
def test_remaining_limit_and_window_are_parsed(
    remaining: str, limit: str | None, expected: tuple[int, int | None, int | None]
) -> None:
    fields = {"ratelimit-remaining": remaining}
    if limit is not None:
        fields["ratelimit-limit"] = limit
    found = parse_rate_limit(HeaderFields(fields))
    assert found is not None
    assert (found.remaining, found.limit, found.window_s) == expected


@pytest.mark.parametrize(
    "remaining",
    [
        None, "", ";w=21600", "many", "-1", "+1", "1.5", "0x10", "12 34", "1,many", ",",
        "9" * 19, "9999999999", "٣", "1" + " " * 300,
    ],
)  # fmt: skip
def test_headers_without_a_number_are_ignored(remaining: str | None) -> None:
    fields = {"ratelimit-limit": "100;w=21600"}
    if remaining is not None:
        fields["ratelimit-remaining"] = remaining
    assert parse_rate_limit(HeaderFields(fields)) is None


@pytest.mark.parametrize(
    ("source", "counted_by"),
    [
        ("192.0.2.7", CountedBy.ADDRESS),
        ("2600:3c00::", CountedBy.ADDRESS),
        ("fe80::1%eth0", CountedBy.ADDRESS),
        ("0c1d2e3f-0000-4000-8000-000000000000", CountedBy.ACCOUNT),
        ("", None),
        (None, None),
    ],
)
def test_the_source_shows_which_requests_are_counted(
    source: str | None, counted_by: CountedBy | None
) -> None:
    fields = {"ratelimit-remaining": "1"}
    if source is not None:
        fields["docker-ratelimit-source"] = source
    assert parse_rate_limit(HeaderFields(fields)) == RateLimit(
        remaining=1, counted_by=counted_by
    )
