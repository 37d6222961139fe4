from __future__ import annotations

import re

import pytest

from auditor.diagnose.dry_run import (
    Forecast,
    ForecastRateLimit,
    ForecastReferences,
    ForecastRequests,
    RegistryForecast,
    forecast_lines,
)
from auditor.report.listing_stats import Listing, Listings, ListKind
from auditor.report.summary_text import BLOBS, CACHE, SAVED, summary_lines
from auditor.util.text import (
    format_count,
    format_duration,
    format_expiry,
    format_time,
    how_to_install,
    pluralize,
    safe_text,
    safe_url,
)
from tests.records import image
from tests.unit.report.test_summary import summary

# A plural after a 1 that is not part of a name or of another number.
_WRONG = re.compile(r"(?<![\w.:/])1 (?:known |immutable |damaged )?(\w+(?:s|ies))\b")


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 repositories"), (1, "1 repository"), (2, "2 repositories")],
)
def test_counts_of_one_are_singular(count: int, expected: str) -> None:
    assert format_count(count, "repository", "repositories") == expected
    assert expected.endswith(pluralize(count, "repository", "repositories"))
    assert format_count(count, "page") == f"{count} page" + ("" if count == 1 else "s")


def ones() -> Listings:
    return Listings(
        Listing(
            selector="r.example.com/app:*",
            kind=kind,
            pages=1,
            entries=1,
            filtered=1,
            excluded=1,
            complete=True,
        )
        for kind in ListKind
    )


def test_a_summary_of_one_of_each_has_no_plural() -> None:
    names = [name for expected in SAVED.values() for name in expected]
    document = summary(
        image(),
        asked=1,
        duplicates=1,
        listings=ones(),
        saved=dict.fromkeys(names, 1),
        blobs={"checked": 1, **dict.fromkeys(BLOBS, 1)},
    ).to_json()
    document["store"] |= dict.fromkeys(CACHE, 1)
    lines = summary_lines(document)
    assert len(lines) >= 10
    assert [found for line in lines for found in _WRONG.findall(line)] == []


def test_a_forecast_of_one_of_each_has_no_plural() -> None:
    host = RegistryForecast(
        registry="r.example.com",
        references=1,
        repositories=1,
        scopes=("repository:a:pull",),
        requests=ForecastRequests(manifest_get=1, manifest_head=1, token=1),
        known_without_request=1,
        rate_limit=ForecastRateLimit(
            remaining=1, limit=None, window_s=None, wait_s=None
        ),
    )
    forecast = Forecast(
        references=ForecastReferences(
            asked=2, all_listed=True, duplicates=1, refused=1
        ),
        registries=(host,),
        listing_requests={},
        least_requests=2,
        not_counted=(),
        max_requests=None,
        lists=ones().to_json(),
        listings=tuple(one.to_json() for one in ones().shown),
    )
    lines = list(forecast_lines(forecast, {"r.example.com": True}))
    assert len(lines) >= 6
    assert [found for line in lines for found in _WRONG.findall(line)] == []


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [
        (-5, "0 seconds"),
        (0, "0 seconds"),
        (0.9, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (298, "4 minutes 58 seconds"),
        (3_600, "1 hour"),
        (3_601, "1 hour"),
        (7_260, "2 hours 1 minute"),
        (86_400 * 3 + 7_200, "3 days 2 hours"),
        (86_400 * 40, "1 month 9 days"),
        (335_496_348, "10 years 7 months"),
        (31_556_952, "1 year"),
        (1e300, "more than 10,000 years"),
    ],
)
def test_a_duration_has_its_two_largest_units(duration_s: float, expected: str) -> None:
    assert format_duration(duration_s) == expected


@pytest.mark.parametrize(
    ("expires_at", "expected"),
    [
        (1_298, "expires in 4 minutes 58 seconds"),
        (1_000, "expired 0 seconds ago"),
        (940, "expired 1 minute ago"),
    ],
)
def test_expiry_is_relative_to_now(expires_at: float, expected: str) -> None:
    assert format_expiry(expires_at, now=1_000) == expected


@pytest.mark.parametrize(
    ("epoch_s", "expected"),
    [
        (1_459_983_252, "2016-04-06 22:54:12 UTC"),
        (0, "1970-01-01 00:00:00 UTC"),
        (1e300, "a time outside the calendar"),
        (-1e18, "a time outside the calendar"),
    ],
)
def test_a_time_is_printed_in_utc(epoch_s: float, expected: str) -> None:
    assert format_time(epoch_s) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain text, with accents: é, 日本", "plain text, with accents: é, 日本"),
        ("two\nlines\r\n", r"two\nlines\r\n"),
        ("tab\there", r"tab\there"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x00\x7f\x80\x9b", r"\x00\x7f\x80\x9b"),
        ("a\u202eb\u2066c\u2069", r"a\u202eb\u2066c\u2069"),
        ("\u200e\u200f\u200b\ufeff\u2060", r"\u200e\u200f\u200b\ufeff\u2060"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\ud800 alone", r"\ud800 alone"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_invisible_characters_are_escaped(text: str, shown: str) -> None:
    assert safe_text(text) == shown


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("12345", 5, "12345"),
        ("123456", 5, "1234…"),
        ("\x1b\x1b", 5, r"\x1b…"),
        ("123456", 1, "…"),
        ("x" * 10_000_000, 3, "xx…"),
    ],
)
def test_long_text_is_cut_with_an_ellipsis(text: str, limit: int, shown: str) -> None:
    assert safe_text(text, limit) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h.example/v2/", "https://h.example/v2/"),
        ("https://h.example:5000/a?token=x#y", "https://h.example:5000/a"),
        ("https://user:pw@h.example/a", "https://h.example/a"),
        ("https://user:p@w@h.example/a", "https://h.example/a"),
        ("https://[::1]:5000/v2/?x=1", "https://[::1]:5000/v2/"),
        ("//user:pw@h.example/a", "//h.example/a"),
        ("/v2/a/tags/list?last=b", "/v2/a/tags/list"),
        ("https:user:pw@h.example/a", "https:h.example/a"),
        ("https:////user:pw@h.example/a", "https:h.example/a"),
        ("https://user:p/w@h.example/a", "(unreadable URL)"),
        ("https://user:p?w@h.example/a", "(unreadable URL)"),
        ("https://[::1/a", "(unreadable URL)"),
        ("https://h.example/\x1b[2J", r"https://h.example/\x1b[2J"),
        ("", ""),
    ],
)
def test_a_url_is_printed_without_its_secret_parts(url: str, shown: str) -> None:
    assert safe_url(url) == shown


def test_the_package_is_installed_from_where_it_is_published() -> None:
    """auditor itself may not be, or from somewhere else: its extras are not named."""
    advice = how_to_install("apprise")
    assert advice == (
        "pip install apprise in auditor's environment"
        " (pipx: pipx inject manifest-auditor apprise)"
    )
