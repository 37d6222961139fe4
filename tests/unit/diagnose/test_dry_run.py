"""What `--dry-run` says an audit would take."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from auditor.diagnose.dry_run import Forecast, HostForecast, forecast_lines
from auditor.report.listing_stats import Listings
from auditor.wire.rate_limit import Allowance

HOUR_S = 3600


def host(gets: int, *, allowance: Allowance | None = None) -> HostForecast:
    return HostForecast(
        registry="r.example.com",
        references=gets + 7,
        repositories=4,
        scopes=["repository:a:pull"],
        asks=Counter(get=gets, head=5, none=2),
        wants_tokens=True,
        allowance=allowance,
    )


def forecast(*hosts: HostForecast, max_requests: int | None = None) -> Forecast:
    return Forecast(
        hosts=hosts,
        listed={"list": 3, "ping": 1, "token": 0},
        refused=1,
        duplicates=2,
        all_listed=True,
        listings=Listings(),
        max_requests=max_requests,
    )


@pytest.mark.parametrize(
    ("remaining", "limit", "window_s", "beyond_s"),
    [
        (250, 100, HOUR_S, None),  # more is left than is wanted
        (200, 100, HOUR_S, None),
        (199, 100, HOUR_S, HOUR_S),
        (100, 100, HOUR_S, HOUR_S),
        (99, 100, HOUR_S, 2 * HOUR_S),
        (0, 100, HOUR_S, 2 * HOUR_S),
        (0, None, HOUR_S, None),
        (0, 0, HOUR_S, None),
        (0, 100, None, None),
    ],
)
def test_how_long_an_allowance_makes_it(
    remaining: int, limit: int | None, window_s: int | None, beyond_s: float | None
) -> None:
    seen = Allowance(remaining=remaining, limit=limit, window_s=window_s)
    assert host(200, allowance=seen).beyond_allowance_s == beyond_s


def test_what_is_certain_is_counted_and_no_more() -> None:
    found = forecast(host(10), host(20))
    assert found.references == 44
    assert found.least_requests == 10 + 5 + 20 + 5 + 4
    document = json.loads(json.dumps(found.to_json()))
    assert document["kind"] == "forecast"
    assert document["references"]["asked"] == 45
    assert document["registries"][0]["requests"] == {
        "manifest_get": 10,
        "manifest_head": 5,
        "token": 4,
    }


@pytest.mark.parametrize(
    ("allowance", "max_requests", "words"),
    [
        (None, None, "10 manifests by GET, 5 known ones by HEAD"),
        (None, None, "2 known ones without a request, 4 tokens"),
        (None, None, "at least 19 requests"),
        (None, 18, "--max-requests 18 is not enough"),
        (None, 19, "--max-requests 19 is not used up"),
        (Allowance(remaining=50), None, "50 requests left, which is enough"),
        (Allowance(remaining=5), None, "5 requests left, which is not enough"),
        (
            Allowance(remaining=5, limit=5, window_s=21_600),
            None,
            "5 requests left, so the audit takes 6 hours at least",
        ),
    ],
)
def test_a_person_is_told(
    allowance: Allowance | None, max_requests: int | None, words: str
) -> None:
    found = forecast(host(10, allowance=allowance), max_requests=max_requests)
    assert words in "\n".join(forecast_lines(found))


@pytest.mark.parametrize(
    ("wants", "tokens", "words"),
    [(True, 4, " 4 tokens"), (None, 4, "up to 4 tokens"), (False, 0, "request")],
)
def test_tokens_are_told_where_the_registry_may_want_them(
    wants: bool | None, tokens: int, words: str
) -> None:
    one = host(10)
    one.wants_tokens = wants
    assert one.tokens == tokens
    assert any(line.endswith(words) for line in forecast_lines(forecast(one)))
