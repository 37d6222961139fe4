"""The forecast of `--dry-run`."""

from __future__ import annotations

import pytest

from auditor.diagnose.dry_run import (
    Forecast,
    ForecastReferences,
    ForecastRequests,
    RegistryForecast,
    forecast_lines,
    forecast_rate_limit,
)
from auditor.report.listing_stats import Listings
from auditor.wire.rate_limit import RateLimit

HOUR_S = 3600
NAME = "r.example.com"


def forecast(
    gets: int, *, rate_limit: RateLimit | None = None, max_requests: int | None = None
) -> Forecast:
    host = RegistryForecast(
        registry=NAME,
        references=gets + 7,
        repositories=4,
        scopes=("repository:a:pull",),
        requests=ForecastRequests(manifest_get=gets, manifest_head=5, token=4),
        known_without_request=2,
        rate_limit=None
        if rate_limit is None
        else forecast_rate_limit(rate_limit, gets),
    )
    return Forecast(
        references=ForecastReferences(
            asked=gets + 8, all_listed=True, duplicates=2, refused=1
        ),
        registries=(host,),
        listing_requests={"list": 3, "ping": 1, "token": 0},
        least_requests=gets + 9,
        not_counted=(),
        max_requests=max_requests,
        lists=Listings().to_json(),
        listings=(),
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
    assert forecast_rate_limit(rate_limit, 200).wait_s == beyond_s


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
    found = forecast(10, rate_limit=rate_limit, max_requests=max_requests)
    assert text in "\n".join(forecast_lines(found, {NAME: True}))


@pytest.mark.parametrize(
    ("uses_tokens", "text"),
    [({NAME: True}, " 4 tokens"), ({}, "up to 4 tokens"), ({NAME: False}, "request")],
)
def test_tokens_are_printed_unless_the_registry_uses_none(
    uses_tokens: dict[str, bool], text: str
) -> None:
    lines = forecast_lines(forecast(10), uses_tokens)
    assert any(line.endswith(text) for line in lines)
