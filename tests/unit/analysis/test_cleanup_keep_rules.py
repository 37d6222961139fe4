"""The rules of `cleanup plan --keep-rules`: which tags are kept, and mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from auditor.analysis.cleanup.inventory import StorageScope, load_inventory
from auditor.analysis.cleanup.keep_rules import apply_keep_rules, load_keep_rules
from auditor.analysis.cleanup.plan import open_plan
from auditor.analysis.cleanup.selection import create_selection
from auditor.analysis.report_views import open_reports
from auditor.errors import ConfigError
from auditor.model import ImageRecord
from tests.manifests import digest
from tests.records import image, platform
from tests.reports import write_report

AT = "2026-11-24T02:00:00Z"


def tagged(
    tag: str, digit: str, repository: str = "team/app", **more: Any
) -> ImageRecord:
    created = more.pop("created", None)
    times = {
        name: f"{more.pop(name)}T00:00:00Z"
        for name in ("pushed_at", "pulled_at")
        if name in more
    }
    return image(
        reference=f"r.example.com/{repository}:{tag}",
        repository=repository,
        tag=tag,
        digest=digest(digit),
        platforms=(platform(digit, created=created),),
        audited_at=AT,
        **times,
        **more,
    )


RECORDS = [
    tagged("1.0.0", "1", pushed_at="2026-01-01", created="2025-12-31T00:00:00Z"),
    tagged("1.1.0-rc.1", "2", pushed_at="2026-11-01"),
    tagged("1.1.0", "3", pushed_at="2026-11-20", pulled_at="2026-11-23"),
    tagged("latest", "3", pushed_at="2026-11-20"),
    tagged("old", "4", pushed_at="2020-01-01", pulled_at="2026-10-30"),
    tagged("unknown", "5"),
    tagged("1.0.0", "6", repository="team/base", pushed_at="2020-01-01"),
    tagged(f"sha256-{'1' * 64}.sig", "7", pushed_at="2020-01-01"),
]


@pytest.fixture(scope="module")
def inventory(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The records, loaded once."""
    report = write_report(tmp_path_factory.mktemp("report") / "r.jsonl", RECORDS)
    with open_reports([report], schema="report", views=("images",)) as connection:
        load_inventory(connection, StorageScope.REGISTRY)
        yield connection


def deleted(
    inventory: duckdb.DuckDBPyConnection, tmp_path: Path, rules: str
) -> tuple[set[str], int]:
    """The deleted `repository:tag`, and the number kept for an unknown time."""
    file = tmp_path / "keep.toml"
    file.write_text(rules)
    for table in ("ruled", "verdict", "doomed", "wanted"):
        inventory.execute(f"DROP TABLE IF EXISTS {table}")
    create_selection(inventory)
    apply_keep_rules(inventory, load_keep_rules(str(file)))
    doomed = inventory.execute("SELECT reference FROM doomed").fetchall()
    kept = inventory.execute("SELECT reference FROM verdict WHERE kept_unknown")
    return {name.partition("/")[2] for (name,) in doomed}, len(kept.fetchall())


@pytest.mark.parametrize(
    ("rule", "expected", "unknown"),
    [
        # Tags of the same time are kept together.
        ("keep_newest = 1", {"1.0.0", "1.1.0-rc.1", "old"}, 1),
        ("keep_newest = 3", {"1.0.0", "old"}, 1),
        ("keep_newest = 1\nnewest_by = 'created'", set(), 5),
        ("keep_newest = 1\nnewest_by = 'pulled'", {"old"}, 4),
        ("keep_newest = 1\nunknown = 'delete'",
         {"1.0.0", "1.1.0-rc.1", "old", "unknown"}, 0),
        ("keep_pushed_within = '30 days'", {"1.0.0", "old"}, 1),
        ("keep_pushed_within = '5 days'", {"1.0.0", "1.1.0-rc.1", "old"}, 1),
        # A push counts as a pull.
        ("keep_pulled_within = '25 days'", {"old"}, 2),
        ("keep_pulled_within = '25 days'\nunknown = 'delete'",
         {"1.0.0", "old", "unknown"}, 0),
        ("keep_created_within = '1 days'\nunknown = 'delete'",
         {"1.0.0", "1.1.0-rc.1", "1.1.0", "latest", "old", "unknown"}, 0),
        ("keep_created_within = '1 days'", {"1.0.0"}, 5),
        ("keep_created_within = '100 weeks'", set(), 5),
        ("keep_releases = true", {"1.1.0-rc.1", "latest", "old", "unknown"}, 0),
        ("keep_tags = ['1.*', 'l?test']", {"old", "unknown"}, 0),
        # Any reason keeps; an unknown time is no longer counted.
        ("keep_tags = ['unknown']\nkeep_newest = 3", {"1.0.0", "old"}, 0),
        ("tags = ['1.*']\nkeep_tags = ['1.0*']", {"1.1.0-rc.1", "1.1.0"}, 0),
        ("except = ['*/team/app']\nkeep_tags = ['x']", set(), 0),
    ],
)  # fmt: skip
def test_a_rule_keeps_tags(
    inventory: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    rule: str,
    expected: set[str],
    unknown: int,
) -> None:
    rules = f"[rules.all]\nrepositories = ['team/a*']\n{rule}\n"
    names = {f"team/app:{tag}" for tag in expected}
    assert deleted(inventory, tmp_path, rules) == (names, unknown)


def test_a_tag_goes_if_no_rule_that_covers_it_keeps_it(
    inventory: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    rules = (
        "[rules.newest]\nkeep_newest = 1\n"
        "[rules.releases]\nrepositories = ['team/app']\nkeep_releases = true\n"
    )
    assert deleted(inventory, tmp_path, rules) == (
        {"team/app:1.1.0-rc.1", "team/app:old"},
        1,
    )


def test_a_deletion_names_its_rule(tmp_path: Path) -> None:
    file = tmp_path / "keep.toml"
    file.write_text("[rules.some]\nkeep_tags = ['latest']\n")
    report = write_report(tmp_path / "report.jsonl", RECORDS)
    with open_plan([report], rules=load_keep_rules(str(file))) as plan:
        assert {one.rule for one in plan.deletions()} == {"some"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: rules: no rule; add a section [rules.NAME]"),
        ("rules = 1", ":1: rules: no rule; add a section [rules.NAME]"),
        ("[rules]\na = 1", ":2: rules.a: must be in a section [rules.NAME]"),
        (
            "[rules.'a b']\nkeep_newest = 1",
            "must be a name of letters",
        ),
        ("[rule.a]\nkeep_newest = 1", ":1: rule: unknown key; did you mean rules?"),
        ("[rules.a]\nkeep_newst = 1", "unknown key; did you mean keep_newest?"),
        ("[rules.a]\nkeep_newest = 0", "keep_newest: must be a whole number from 1"),
        ("[rules.a]\nkeep_newest = 1\nnewest_by = 'size'", "newest_by: must be pushed"),
        ("[rules.a]\nkeep_tags = ['x']\nnewest_by = 'pushed'", "needs keep_newest"),
        ("[rules.a]\nkeep_pulled_within = '3'", "must be an age such as"),
        ("[rules.a]\ntags = ['x']", ":1: rules.a: keeps nothing; add keep_newest or"),
    ],
)
def test_a_wrong_rule_is_named_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "keep.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_keep_rules(str(file))
    assert message in str(error.value)


def test_patterns_that_match_nothing_are_named(tmp_path: Path) -> None:
    """A misspelt tag to keep would be deleted, and the plan be fine."""
    rules = tmp_path / "keep.toml"
    rules.write_text(
        '[rules.a]\nrepositories = ["team/*", "r.example.com/tema/*"]\n'
        'except = ["team/bsae"]\nkeep_tags = ["lastest", "1.*"]\ntags = ["[!v]*"]\n'
    )
    report = write_report(tmp_path / "report.jsonl", RECORDS)
    with open_plan([report], rules=load_keep_rules(str(rules))) as plan:
        assert plan.notices == (
            "rules.a.repositories: r.example.com/tema/* matches nothing in the report",
            "rules.a.except: team/bsae matches nothing in the report",
            "rules.a.keep_tags: lastest matches nothing in the report",
        )


def test_a_date_in_the_future_is_unknown(tmp_path: Path) -> None:
    """It would be the newest for ever, and take the place of another one."""
    report = write_report(
        tmp_path / "report.jsonl",
        [
            tagged("false", "1", created="2099-01-01T00:00:00Z"),
            tagged("1", "2", created="2026-11-01T00:00:00Z"),
            tagged("2", "3", created="2026-11-24T09:00:00Z"),
            tagged("3", "4", created="2026-10-01T00:00:00Z"),
        ],
    )
    rules = tmp_path / "keep.toml"
    rules.write_text('[rules.a]\nkeep_newest = 2\nnewest_by = "created"\n')
    with open_plan([report], rules=load_keep_rules(str(rules))) as plan:
        assert [one.tag for one in plan.deletions()] == ["3"]
        assert plan.totals.kept_unknown == 1
