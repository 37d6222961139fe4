"""Every field of a report, of a summary and of an SBOM file has its meaning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from auditor.cli.schema_command import _schema
from auditor.report.field_help import FIELD_HELP, SUMMARY_HELP
from auditor.report.listing_stats import Listings
from auditor.report.summary import SUMMARY_FIELDS, Summary, Tally
from auditor.report.summary_text import SAVED
from auditor.wire.host_concurrency import HostConcurrency, Move
from auditor.wire.rate_limit import RateLimit
from tests.records import failure

DEFINITIONS = {
    name: definition
    for schema in ("report", "sbom")
    for name, definition in _schema(schema)["$defs"].items()
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_each_field_of_a_class_has_its_meaning(name: str) -> None:
    assert sorted(FIELD_HELP[name]) == sorted(DEFINITIONS[name]["properties"])


def test_there_is_no_help_for_other_classes() -> None:
    assert FIELD_HELP.keys() == DEFINITIONS.keys()


def test_the_schema_has_the_meaning_of_each_field() -> None:
    size = _schema("inspect")["$defs"]["Layer"]["properties"]["size"]
    assert size["description"] == FIELD_HELP["Layer"]["size"]


def test_the_meanings_of_the_summary_are_in_its_order() -> None:
    names = dict.fromkeys(name.split(".")[0].strip("[]") for name in SUMMARY_HELP)
    assert list(names) == [one.name for one in SUMMARY_FIELDS]


def test_each_described_path_of_the_summary_is_there() -> None:
    summary = Summary(
        started_at="2026-11-30T02:00:00Z",
        finished_at="2026-11-30T02:00:02Z",
        duration_s=2,
        interrupted=False,
        output="report.jsonl",
        asked=1,
        all_listed=True,
        duplicates=0,
        tally=Tally(),
        requests={},
        repeated={},
        saved=dict.fromkeys((key for keys in SAVED.values() for key in keys), 1),
        listings=Listings(),
        rate_limits=[("r.example.com", RateLimit(remaining=1))],
        unused_logins=[("r.example.com", "config.toml")],
        hosts=[
            HostConcurrency(
                host="r.example.com",
                limit=4,
                lowest=4,
                highest=4,
                least=1,
                most=64,
                baseline_s=None,
                round_trip_s=None,
                last_move=Move.START,
                moves={},
            )
        ],
    )
    summary.tally.add(failure())
    found = set(_paths(summary.to_json()))
    assert SUMMARY_HELP.keys() <= found
    # What has members of its own in the help has them all.
    for name in SUMMARY_HELP:
        parent, dot, _ = name.rpartition(".")
        members = {path for path in found if path.rpartition(".")[0] == parent}
        if dot:
            assert members <= SUMMARY_HELP.keys()


def _paths(value: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The path of each member, as in `SUMMARY_HELP`."""
    for name, member in value.items():
        path = prefix + ("*" if prefix == "failures." else name)
        yield path
        if isinstance(member, list):
            yield f"{path}[]"
            for one in member:
                yield from _paths(one, f"{path}[].")
        elif isinstance(member, dict):
            yield from _paths(member, f"{path}.")
