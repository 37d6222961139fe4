"""The summary: counts, merging, and its text."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from auditor.errors import FailureKind
from auditor.model import (
    ContentKind,
    FailureRecord,
    Record,
    Shape,
    Warn,
    WarningCode,
)
from auditor.report.listing_stats import Listing, Listings, ListKind
from auditor.report.shapes import encoder
from auditor.report.summary import (
    SUMMARY_FIELDS,
    Summary,
    Tally,
    merge_summaries,
)
from auditor.report.summary_text import summary_lines
from auditor.wire.host_concurrency import HostConcurrency, Move
from auditor.wire.rate_limit import RateLimit
from tests.records import EVERYTHING, failure, image

LIMITED = FailureKind.RATE_LIMITED
# Fields that are false for a run that was not stopped and not late.
NO_OR_FALSE = {"sboms", "interrupted", "deadline_reached", "hosts_left_out"}


def summary(*records: Record, **more: Any) -> Summary:
    tally = Tally()
    for record in records:
        tally.add(record)
    fields: dict[str, Any] = {
        "started_at": "2026-11-24T02:00:00Z",
        "finished_at": "2026-11-24T02:00:02Z",
        "duration_s": 2.0,
        "interrupted": False,
        "output": "-",
        "asked": len(records),
        "all_listed": True,
        "duplicates": 0,
        "tally": tally,
        "requests": {"manifest": 3, "token": 1, "blob": 0},
        "repeated": {"retries": 1},
        "saved": {},
        "listings": Listings(),
    }
    return Summary(**(fields | more))


def numbered(number: int, kind: FailureKind = LIMITED) -> FailureRecord:
    return failure(failure=kind, reference=f"r.example.com/app:{number}")


def text(found: Summary) -> str:
    return "\n".join(summary_lines(found.to_json()))


def test_a_tally_counts_records() -> None:
    tally = summary(image(), image(), EVERYTHING, numbered(1), numbered(2)).tally
    assert (tally.audited, tally.failed) == (3, 2)
    assert tally.architectures == {"linux/amd64": 3, "linux/arm64": 1}
    assert tally.warnings == {"child_missing": 1}
    assert tally.failures == {LIMITED: 2}
    assert sum(tally.media_types.values()) == 3


@pytest.mark.parametrize("shape", Shape)
def test_only_images_have_architectures(shape: Shape) -> None:
    # A signature with an image config, and a module for a platform.
    records = [image(content=content) for content in (ContentKind.IMAGE, *ContentKind)]
    found, resumed = summary(*records), Tally()
    for record in records:
        resumed.add_lines(encoder(shape)(record))
    for tally in (found.tally, resumed):
        assert tally.architectures == {"linux/amd64": 2}
        assert tally.content == {
            "image": 2, "attachment": 1, "artifact": 1, "unknown": 1,
        }  # fmt: skip
    assert "  content: image 2, attachment 1, artifact 1, unknown 1" in text(found)


def test_the_example_of_a_failure_kind_is_the_first_one() -> None:
    tally = summary(numbered(1), numbered(2), failure()).tally
    assert tally.examples[LIMITED].reference.endswith(":1")
    assert tally.examples[FailureKind.NOT_FOUND] == failure()


@pytest.mark.parametrize(("asked", "to_do"), [(2, 0), (3, 1), (100, 98)])
def test_references_without_a_record_are_still_to_do(asked: int, to_do: int) -> None:
    found = summary(image(), failure(), asked=asked)
    assert found.to_do == to_do
    references = found.to_json()["references"]
    assert references["asked"] == sum(
        references[key] for key in ("audited", "failed", "to_do")
    )
    assert ("still to do" in text(found)) is bool(to_do)


def test_a_run_stopped_while_listing_says_at_least_how_much_is_to_do() -> None:
    found = summary(image(), asked=3, all_listed=False, interrupted=True)
    assert found.to_json()["references"]["all_listed"] is False
    assert "at least 2 still to do (listing not finished)" in text(found)
    found = summary(image(), asked=1, all_listed=False, interrupted=True)
    # Half a reference a second is not shown as 0/s.
    assert "audited in 2.0 s, more still to do (listing not finished)" in text(found)


def test_the_summary_file_is_json_with_every_field() -> None:
    listing = Listing(
        selector="r.example.com/app:*", pages=1, tags=100, suspicious=True
    )
    found = summary(
        image(), numbered(1), numbered(2), failure(),
        saved=Counter(manifests=4), listings=Listings([listing]), duplicates=3,
    ).to_json()  # fmt: skip
    assert json.loads(json.dumps(found)) == found
    assert found["kind"] == "summary"
    assert found["references"]["duplicates"] == 3
    assert list(found["failures"]) == ["rate_limited", "not_found"]
    assert found["failures"]["rate_limited"]["count"] == 2
    assert found["failures"]["rate_limited"]["example"]["reference"].endswith(":1")
    assert found["listings"][0]["suspicious"] is True
    assert found["requests"] == {"blob": 0, "manifest": 3, "token": 1}
    assert found["saved"] == {"manifests": 4}
    assert found["store"] == {"damaged": 0, "not_stored": 0}


def host(**changes: Any) -> HostConcurrency:
    """The concurrent requests of a host that throttled."""
    found = HostConcurrency(
        host="r.example.com", limit=12, lowest=4, highest=20, least=1, most=64,
        baseline_s=0.05, round_trip_s=0.0521, last_move=Move.RECOVERED,
        moves={Move.FASTER: 3, Move.THROTTLED: 1, Move.RECOVERED: 1},
    )  # fmt: skip
    return replace(found, **changes)


def test_a_host_that_got_fewer_requests_is_told() -> None:
    calm = host(host="calm.example.com", moves={Move.QUEUE: 5})
    found = summary(image(), hosts=[host(), calm])
    line = "  requests at once to r.example.com: 12 at the end, 4 to 20 (lowered after:"
    assert f"{line} throttled 1)" in text(found)
    assert "calm" not in text(found)
    assert found.to_json()["hosts"][0] == {
        "host": "r.example.com", "limit": 12, "lowest": 4, "highest": 20, "least": 1,
        "most": 64, "runs": 1, "round_trip_min_ms": 50.0, "round_trip_ms": 52.1,
        "last_move": "recovered",
        "moves": {"faster": 3, "recovered": 1, "throttled": 1},
        "per_second": None, "lowest_per_second": None,
    }  # fmt: skip
    assert host().sentence() == (
        "12 requests at once: the host is well again (round trip 52.1 ms, 50 ms"
        " without a queue)"
    )
    nothing = host(limit=1, baseline_s=None, round_trip_s=None, last_move=Move.START)
    assert nothing.sentence() == "1 request at once, as at the start"


def test_a_host_with_a_learned_pace_is_told() -> None:
    paced = host(limit=1, per_second=4.912, lowest_per_second=0.5)
    found = summary(image(), hosts=[paced])
    assert "throttled 1); 4.9 a second at the end, 0.5 a second at the slow" in text(
        found
    )
    assert found.to_json()["hosts"][0]["per_second"] == 4.91
    assert paced.sentence().startswith("1 request at once and 4.9 a second: the host")
    assert paced.pace_sentence(None) == (
        "at most 4.9 a second: the host asked for fewer requests"
    )
    assert paced.pace_sentence(4) == "at most 4.9 a second: it accepted 4 a second"
    free = host(limit=1, moves={}, lowest_per_second=12.3)
    assert free.pace_sentence(12.3) == "requests do not wait for a pace any more"
    line = "1 at the end, 4 to 20; 12 a second at the slowest"
    assert line in text(summary(image(), hosts=[free]))


@pytest.mark.parametrize(
    ("before", "cause", "round_trip_s", "expected"),
    [
        (6, Move.FASTER, 0.0521, "more requests bring more answers (round trip 52.1 ms,"
         " 50 ms without a queue)"),
        (19, Move.QUEUE, 0.0521, "more requests only make answers slower (round trip"
         " 52.1 ms, 50 ms without a queue)"),
        (1, Move.QUEUE, 0.0521, "as many as it answers without a queue (round trip"
         " 52.1 ms, 50 ms without a queue)"),
        # The last ones can be shorter than all those of some requests.
        (6, Move.FASTER, 0.04, "more requests bring more answers (round trip 40 ms,"
         " no queue)"),
    ],
)  # fmt: skip
def test_a_move_is_told_with_the_limit_before(
    before: int, cause: Move, round_trip_s: float, expected: str
) -> None:
    moved = host(last_move=cause, round_trip_s=round_trip_s)
    assert moved.sentence(before) == f"12 requests at once, {before} before: {expected}"


@pytest.mark.parametrize("cause", [Move.CONNECTION, Move.TIMEOUT])
def test_a_host_that_never_answered_is_told_by_its_failures_alone(cause: Move) -> None:
    moves = {cause: 2}
    never = host(baseline_s=None, round_trip_s=None, moves=moves)
    assert "requests at once" not in text(summary(image(), hosts=[never]))
    lost = summary(image(), hosts=[host(moves=moves)])
    assert f"(lowered after: {cause} 2)" in text(lost)


def test_a_summary_has_a_bounded_number_of_hosts() -> None:
    hosts = [host(host=f"r{number}.example.com") for number in range(103)]
    found = summary(image(), hosts=hosts).to_json()
    assert (len(found["hosts"]), found["hosts_left_out"]) == (100, 3)


def test_a_host_of_several_shards_is_told_with_their_number() -> None:
    first = full().to_json()
    merged = merge_summaries([first, first], output="x")
    assert (
        "  requests at once to r.example.com (2 runs together): 24 at the end,"
        " 8 to 40 (lowered after: throttled 2)"
    ) in summary_lines(merged)


def full() -> Summary:
    """A summary with a value in every field."""
    return summary(
        image(location="m.example.com/team/app"),
        numbered(1), numbered(2), failure(), EVERYTHING,
        registries_conf=["registries.conf"],
        asked=9, duplicates=3, blobs={"checked": 2}, saved={"manifests": 7},
        listings=Listings(
            Listing(selector=f"r.example.com/{kind}", kind=kind, pages=1, entries=2)
            for kind in ListKind
        ),
        max_requests=7, resumed={"kept": 1, "left_out": 2}, damaged=1,
        rate_limits=[("r.example.com", RateLimit(limit=100, remaining=7))],
        unused_logins=[("r.example.com", "nightly.toml:3")],
        hosts=[host()],
    )  # fmt: skip


def test_merging_one_summary_changes_nothing() -> None:
    first = full().to_json()
    assert all(first[one.name] for one in SUMMARY_FIELDS if one.name not in NO_OR_FALSE)
    assert merge_summaries([first], output=first["output"]) == first


def test_two_summaries_are_merged_field_by_field() -> None:
    first = full().to_json()
    second = first | {
        "started_at": "2026-11-24T01:00:00Z",
        "duration_s": 1.0,
        "interrupted": True,
        "rate_limits": [first["rate_limits"][0] | {"remaining": 3}],
        "resumed": None,
        "unused_logins": [{"registry": "a.example.com", "login": "auth.json"}],
        "references": first["references"] | {"all_listed": False},
    }
    merged = merge_summaries([first, second], output="all.jsonl")
    assert list(merged) == list(first)
    assert (merged["started_at"], merged["finished_at"]) == (
        "2026-11-24T01:00:00Z", first["finished_at"],
    )  # fmt: skip
    assert (merged["duration_s"], merged["interrupted"]) == (2.0, True)
    assert merged["resumed"] == first["resumed"]
    assert merged["unused_logins"] == second["unused_logins"] + first["unused_logins"]
    assert merged["references"] == {
        "asked": 18, "all_listed": False, "duplicates": 6, "audited": 4, "failed": 6,
        "filtered": 0, "to_do": 8, "not_asked": 0,
    }  # fmt: skip
    assert merged["failures"]["rate_limited"] == {
        "count": 4, "example": first["failures"]["rate_limited"]["example"],
    }  # fmt: skip
    assert merged["architectures"] == {"linux/amd64": 4, "linux/arm64": 2}
    assert merged["lists"]["repositories"] == first["lists"]["repositories"]
    assert merged["lists"]["tags"]["lists"] == 2
    assert [one["kind"] for one in merged["listings"]] == [
        "repositories",
        "tags",
        "tags",
    ]
    assert merged["rate_limits"] == second["rate_limits"]
    assert (merged["max_requests"], merged["store"]["damaged"]) == (14, 2)
    assert merged["requests"] == {"blob": 0, "manifest": 6, "token": 2}


def test_a_run_without_failures_prints_few_lines() -> None:
    assert summary_lines(summary(image(), image()).to_json()) == [
        "2 of 2 references audited in 2.0 s (1/s)",
        "  architectures: linux/amd64 2",
        "  requests: 3 manifest, 1 token (1 retry)",
    ]


def test_a_run_with_failures_prints_what_to_act_on() -> None:
    found = text(
        summary(
            image(), numbered(1), numbered(2), EVERYTHING,
            asked=9, duplicates=2, interrupted=True, saved={"manifests": 7},
        )
    )  # fmt: skip
    assert found.startswith("interrupted: 2 of 9 references audited")
    assert "2 failed, 5 still to do, 2 duplicates skipped" in found
    assert "2 rate_limited, for example r.example.com/app:1" in found
    assert "warnings: child_missing 1" in found
    assert "reused within this run: 7 manifests" in found


def test_a_listing_that_may_be_truncated_is_named() -> None:
    cut = Listing(
        selector="r.example.com/cut:*",
        pages=1,
        entries=100,
        complete=True,
        suspicious=True,
    )
    whole = Listing(
        selector="r.example.com/whole:*", pages=2, entries=150, complete=True
    )
    found = text(summary(listings=Listings([whole, cut])))
    assert "listings of tags: 2, 3 pages, 250 tags, 1 suspicious" in found
    assert "r.example.com/cut:*: exactly 100 tags and no next page" in found
    assert "whole" not in found


def test_only_the_most_frequent_architectures_are_printed() -> None:
    many = image(architectures=tuple(f"linux/a{number}" for number in range(9)))
    assert "and 3 more" in text(summary(many))


def test_an_empty_run_and_a_run_of_zero_seconds_are_printed() -> None:
    found = summary_lines(summary(duration_s=0.0, requests={}, repeated={}).to_json())
    assert found == [
        "0 of 0 references audited in 0.0 s",
        "  requests: none",
    ]


def test_text_from_a_registry_is_escaped_for_the_terminal() -> None:
    evil = "\x1b]0;title\x07\u202e\r\n"
    found = summary(
        image(architectures=(evil,), warnings=(
            Warn(code=WarningCode.FOREIGN_LAYER, detail=evil),
        )),
        failure(reference=evil, detail=evil),
    )  # fmt: skip
    assert all(line.isprintable() for line in summary_lines(found.to_json()))


def test_saved_requests_are_printed_by_reason() -> None:
    found = text(
        summary(
            saved={"manifests": 7, "known_tags": 5, "immutable_tags": 2},
            damaged=3,
            not_stored=4,
        )
    )
    assert "  reused within this run: 7 manifests\n" in found
    assert (
        "  from the cache: 5 tags, unchanged (checked with HEAD);"
        " 2 immutable tags (no request)\n" in found
    )
    assert found.endswith(
        "  cache: 3 damaged entries removed; their content was fetched again\n"
        "  cache: 4 entries not stored: the disk is too slow"
    )


def test_names_beyond_a_thousand_are_counted_as_other() -> None:
    tally = Tally()
    for number in range(1500):
        tally.add(image(architectures=(f"linux/{number}",)))
    assert len(tally.architectures) == 1001
    assert tally.architectures["other"] == 500
    assert tally.architectures["linux/999"] == 1
