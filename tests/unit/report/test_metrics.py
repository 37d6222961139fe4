"""Metrics, parsed by prometheus-client's own parser."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from auditor.errors import FailureKind, OutputError
from auditor.model import Record, WarningCode
from auditor.report.listing_stats import Listing, Listings
from auditor.report.metrics import (
    DEFINITIONS,
    MAX_LABEL_VALUES,
    Metric,
    audit_metrics,
    check_metrics,
    render_textfile,
    write_textfile,
)
from auditor.report.summary import Summary, Tally
from auditor.wire.host_concurrency import HostConcurrency, Move
from auditor.wire.rate_limit import RateLimit
from tests.records import EVERYTHING, REFUSED, failure, image

GOLDEN = Path(__file__).parents[2] / "golden"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def summary(
    *records: Record,
    asked: int | None = None,
    all_listed: bool = True,
    interrupted: bool = False,
    listings: tuple[Listing, ...] = (),
    tally: Tally | None = None,
) -> Summary:
    tally = tally or Tally()
    for record in records:
        tally.add(record)
    return Summary(
        started_at="2026-11-24T02:00:00Z",
        finished_at="2026-11-24T02:00:02Z",
        duration_s=2.5,
        interrupted=interrupted,
        output="-",
        asked=len(records) if asked is None else asked,
        all_listed=all_listed,
        duplicates=0,
        tally=tally,
        requests={"manifest": 3, "token": 1},
        repeated={},
        saved={"manifest": 4},
        listings=Listings(listings),
    )


def parsed(text: bytes) -> Samples:
    """Every sample of an exposition; none may occur twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def read(found: Summary) -> Samples:
    return parsed(render_textfile(audit_metrics(found.to_json()), name="nightly"))


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset((labels | {"audit": "nightly"}).items())]


def test_prometheus_parses_the_metrics_of_a_run() -> None:
    samples = read(summary(image(), EVERYTHING, failure(), REFUSED, asked=5))
    assert value(samples, "auditor_run_duration_seconds") == 2.5
    assert value(samples, "auditor_run_started_timestamp_seconds") == 1795485600
    assert value(samples, "auditor_run_finished_timestamp_seconds") == 1795485602
    for state, count in (("audited", 2), ("failed", 2), ("to_do", 1)):
        assert value(samples, "auditor_references", state=state) == count
    name = "auditor_failures"
    assert value(samples, name, failure="not_found", blame="user") == 1
    assert value(samples, name, failure="invalid_reference", blame="user") == 1
    assert value(samples, "auditor_warnings", code="child_missing") == 1
    name = "auditor_architectures"
    assert value(samples, name, architecture="linux/amd64") == 2
    assert value(samples, "auditor_requests", kind="manifest") == 3
    assert value(samples, "auditor_saved_requests", reason="manifest") == 4


def test_failures_and_warnings_that_did_not_occur_are_zero_not_absent() -> None:
    samples = read(summary())
    for kind in FailureKind:
        labels = {"failure": kind.value, "blame": kind.blame.value}
        assert value(samples, "auditor_failures", **labels) == 0
    for code in WarningCode:
        assert value(samples, "auditor_warnings", code=code.value) == 0
    for state in ("complete", "empty", "suspicious", "denied", "incomplete"):
        assert value(samples, "auditor_listings", state=state) == 0


COMPLETE = Listing(selector="r/a:*", entries=1, complete=True)
BROKEN = Listing(selector="r/a:*", failure="timeout")
NO_MATCH = Listing(selector="r/a:9*", entries=1, complete=True, failure="not_found")
EMPTY = Listing(selector="r/a:*", complete=True)
CUT = Listing(selector="r/a:*", entries=100, complete=True, suspicious=True)
DENIED = Listing(selector="r/**:*", failure="denied")


@pytest.mark.parametrize(
    ("found", "complete"),
    [
        (summary(image()), 1),
        (summary(failure()), 1),
        (summary(image(), listings=(COMPLETE, EMPTY)), 1),
        (summary(failure(), listings=(NO_MATCH,)), 1),
        (summary(image(), asked=2), 0),
        (summary(image(), all_listed=False), 0),
        (summary(image(), interrupted=True), 0),
        (summary(image(), listings=(COMPLETE, CUT)), 0),
        (summary(image(), failure(failure=FailureKind.INTERRUPTED)), 0),
        (summary(image(), listings=(COMPLETE, DENIED)), 0),
        (summary(image(), failure(attempts=0)), 0),
    ],
)
def test_run_complete_is_1_only_if_nothing_was_left_out(
    found: Summary, complete: int
) -> None:
    assert value(read(found), "auditor_run_complete") == complete


def test_references_not_asked_and_the_remaining_rate_limit_are_metrics() -> None:
    found = replace(
        summary(image(), failure(attempts=0), failure()),
        rate_limits=[("docker.io", RateLimit(remaining=7, limit=100))],
    )
    samples = read(found)
    assert value(samples, "auditor_references_not_asked") == 1
    assert value(samples, "auditor_rate_limit_remaining", registry="docker.io") == 7


def test_the_concurrent_requests_of_each_host_are_metrics() -> None:
    found = HostConcurrency(
        host="r.example.com", limit=12, lowest=4, highest=20, least=1, most=64,
        baseline_s=0.05, round_trip_s=0.052, last_move=Move.QUEUE,
        moves={Move.QUEUE: 2, Move.THROTTLED: 1}, per_second=4.9,
        lowest_per_second=2.0,
    )  # fmt: skip
    unknown = replace(
        found,
        host="b.example.com",
        baseline_s=None,
        round_trip_s=None,
        per_second=None,
    )
    samples = read(replace(summary(image()), hosts=[found, unknown]))
    for name, expected in (
        ("auditor_requests_at_once", 12),
        ("auditor_requests_at_once_highest", 20),
        ("auditor_requests_per_second", 4.9),
        ("auditor_round_trip_seconds", 0.052),
        ("auditor_round_trip_min_seconds", 0.05),
    ):
        assert value(samples, name, host="r.example.com") == pytest.approx(expected)
    name = "auditor_requests_at_once_moves"
    assert value(samples, name, host="r.example.com", cause="throttled") == 1
    assert value(samples, name, host="b.example.com", cause="queue") == 2
    labels = frozenset({("host", "b.example.com"), ("audit", "nightly")})
    assert ("auditor_round_trip_seconds", labels) not in samples
    assert ("auditor_requests_per_second", labels) not in samples


def test_a_listing_that_failed_makes_the_run_incomplete() -> None:
    samples = read(summary(failure(), listings=(COMPLETE, EMPTY, BROKEN, DENIED, CUT)))
    assert value(samples, "auditor_run_complete") == 0
    for state in ("complete", "empty", "suspicious", "denied", "incomplete"):
        assert value(samples, "auditor_listings", state=state) == 1


def test_names_from_registries_give_a_limited_number_of_series() -> None:
    tally = Tally(architectures=Counter({f"linux/{n}": n for n in range(1, 1000)}))
    samples = read(summary(tally=tally))
    found = {key: n for key, n in samples.items() if key[0] == "auditor_architectures"}
    assert len(found) == MAX_LABEL_VALUES + 1
    assert sum(found.values()) == sum(range(1, 1000))
    assert value(samples, "auditor_architectures", architecture="linux/999") == 999


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "\u202ea", "", "}", "ä" * 300])
def test_hostile_names_are_escaped_label_values(name: str) -> None:
    tally = Tally(media_types=Counter({name: 7, "other": 1}))
    samples = read(summary(tally=tally))
    found = {key: n for key, n in samples.items() if key[0] == "auditor_media_types"}
    assert sorted(found.values()) == [1, 7]


def test_the_metrics_of_a_check_count_by_rule() -> None:
    metrics = check_metrics(
        violations={"no-schema1": 2, "platforms": 0},
        waived={"no-schema1": 1},
        finished_at="2026-11-24T02:00:00Z",
    )
    samples = parsed(render_textfile(metrics, name="nightly"))
    assert value(samples, "auditor_check_violations", rule="no-schema1") == 2
    assert value(samples, "auditor_check_violations", rule="platforms") == 0
    assert value(samples, "auditor_check_waived", rule="no-schema1") == 1


ONE = (Metric("auditor_run_complete", {(): 1.0}),)


def test_two_audits_can_write_metrics_into_one_folder(tmp_path: Path) -> None:
    for name in ("nightly.prom", "hub.prom"):
        write_textfile(str(tmp_path / name), ONE)
    both = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert set(parsed(both)) == {
        ("auditor_run_complete", frozenset({("audit", "hub")})),
        ("auditor_run_complete", frozenset({("audit", "nightly")})),
    }


def test_the_metrics_file_is_replaced_atomically(tmp_path: Path) -> None:
    path = tmp_path / "nightly.prom"
    path.write_text("what was there before\n")
    write_textfile(str(path), ONE)
    assert path.read_bytes() == render_textfile(ONE, name="nightly")
    assert list(tmp_path.iterdir()) == [path]


def test_the_metrics_file_can_be_read_by_the_user_of_node_exporter(
    tmp_path: Path,
) -> None:
    """The service that writes it has `UMask=0027`."""
    path = tmp_path / "nightly.prom"
    before = os.umask(0o077)
    try:
        write_textfile(str(path), ONE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_help_texts_are_as_released() -> None:
    """A text that differs from that of another version loses samples: `DEFINITIONS`.

    Until the first release they may change, together with the file.
    """
    lines = [f"{name} {text}\n" for name, (_, text) in DEFINITIONS.items()]
    assert (GOLDEN / "metric-help.txt").read_text() == "".join(lines)


def test_an_unwritable_metrics_file_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: No such file"):
        write_textfile(str(tmp_path / "none" / "a.prom"), ONE)
