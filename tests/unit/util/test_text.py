from __future__ import annotations

import re
from collections import Counter

import pytest

from auditor.diagnose.dry_run import Forecast, HostForecast, forecast_lines
from auditor.input.listings import none_matches
from auditor.report.listing_stats import Listing, Listings, ListKind
from auditor.report.summary_text import BLOBS, SAVED, STORE, summary_lines
from auditor.util.text import counted, noun
from auditor.wire.rate_limit import Allowance
from tests.records import image
from tests.unit.report.test_summary import summary

# No plural stands behind a 1 that is no part of a name or of another number.
_WRONG = re.compile(r"(?<![\w.:/])1 (?:known |immutable |damaged )?(\w+(?:s|ies))\b")


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 repositories"), (1, "1 repository"), (2, "2 repositories")],
)
def test_one_is_one(count: int, said: str) -> None:
    assert counted(count, "repository", "repositories") == said
    assert said.endswith(noun(count, "repository", "repositories"))
    assert counted(count, "page") == f"{count} page" + ("" if count == 1 else "s")


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


def test_a_summary_of_one_of_each_says_no_plural() -> None:
    names = [name for words in SAVED.values() for name in words]
    whole = summary(
        image(),
        asked=1,
        duplicates=1,
        listings=ones(),
        saved=dict.fromkeys(names, 1),
        blobs={"checked": 1, **dict.fromkeys(BLOBS, 1)},
    ).to_json()
    whole["store"] |= dict.fromkeys(STORE, 1)
    lines = summary_lines(whole)
    assert len(lines) >= 10
    assert [found for line in lines for found in _WRONG.findall(line)] == []


def test_a_forecast_of_one_of_each_says_no_plural() -> None:
    host = HostForecast(
        registry="r.example.com",
        references=1,
        repositories=1,
        scopes=["repository:a:pull"],
        asks=Counter(get=1, head=1, none=1),
        wants_tokens=True,
        allowance=Allowance(remaining=1),
    )
    forecast = Forecast(
        hosts=[host],
        listed={},
        refused=1,
        duplicates=1,
        all_listed=True,
        listings=ones(),
    )
    lines = list(forecast_lines(forecast))
    assert len(lines) >= 6
    assert [found for line in lines for found in _WRONG.findall(line)] == []


def test_one_that_does_not_match_is_no_several() -> None:
    assert none_matches(1, "tag", "tags", of="app", pattern="2*") == (
        "the one tag of app does not match 2*"
    )
    assert none_matches(3, "tag", "tags", of="app", pattern="2*") == (
        "none of the 3 tags of app matches 2*"
    )
