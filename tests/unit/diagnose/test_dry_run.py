"""The forecast of `--dry-run`."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from auditor.diagnose.dry_run import Forecast, HostForecast, forecast_lines
from auditor.report.listing_stats import Listings
from auditor.wire.rate_limit import RateLimit

HOUR_S = 3600


def host(gets: int, *, rate_limit: RateLimit | None = None) -> HostForecast:
    return HostForecast(
        registry="r.example.com",
        references=gets + 7,
        repositories=4,
        scopes=["repository:a:pull"],
        cheapest=Counter(get=gets, head=5, none=2),
        uses_tokens=True,
        rate_limit=rate_limit,
    )


def forecast(*hosts: HostForecast, max_requests: int | None = None) -> Forecast:
    return Forecast(
        hosts=hosts,
        listing_requests={"list": 3, "ping": 1, "token": 0},
        refused=1,
        duplicates=2,
        all_listed=True,
        listings=Listings(),
        max_requests=max_requests,
    )


@pytest.mark.parametrize(
    ("remaining", "limit", "window_s", "beyond_s"),
    [
        (250, 100, HOUR_S, None),
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
def test_how_long_the_rate_limit_delays_the_requests(
    remaining: int, limit: int | None, window_s: int | None, beyond_s: float | None
) -> None:
    rate_limit = RateLimit(remaining=remaining, limit=limit, window_s=window_s)
    assert host(200, rate_limit=rate_limit).rate_limit_wait_s == beyond_s


def test_the_minimum_of_requests_leaves_out_tokens() -> None:
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
    ("rate_limit", "max_requests", "text"),
    [
        (None, None, "10 manifests with GET, 5 cached with HEAD"),
        (None, None, "2 cached without a request, 4 tokens"),
        (None, None, "at least 19 requests"),
        (None, 18, "--max-requests 18 is not enough"),
        (None, 19, "--max-requests 19 is enough for these"),
        (RateLimit(remaining=50), None, "50 requests left, enough for these"),
        (RateLimit(remaining=5), None, "5 requests left, not enough for these"),
        (
            RateLimit(remaining=5, limit=5, window_s=21_600),
            None,
            "5 requests left; the audit waits at least 6 hours",
        ),
    ],
)
def test_the_lines_of_a_forecast(
    rate_limit: RateLimit | None, max_requests: int | None, text: str
) -> None:
    found = forecast(host(10, rate_limit=rate_limit), max_requests=max_requests)
    assert text in "\n".join(forecast_lines(found))


@pytest.mark.parametrize(
    ("uses_tokens", "tokens", "text"),
    [(True, 4, " 4 tokens"), (None, 4, "up to 4 tokens"), (False, 0, "request")],
)
def test_tokens_are_counted_unless_the_registry_uses_none(
    uses_tokens: bool | None, tokens: int, text: str
) -> None:
    one = host(10)
    one.uses_tokens = uses_tokens
    assert one.tokens == tokens
    assert any(line.endswith(text) for line in forecast_lines(forecast(one)))
