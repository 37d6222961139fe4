"""Many plans of one report: its manifests are loaded once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from auditor.analysis.cleanup.inventory import StorageScope, load_inventory
from auditor.analysis.cleanup.keep_rules import load_keep_rules
from auditor.analysis.cleanup.plan import (
    PlanTotals,
    make_plan,
    rehearse_deletions,
)
from auditor.analysis.cleanup.plan_sql import (
    NONE_RUNNING,
    RUNNING_ABSENT,
    RUNNING_IMAGES,
    RUNNING_NODES,
)
from auditor.analysis.cleanup.plan_text import plan_lines
from auditor.analysis.cleanup.rehearsal import Semantics
from auditor.analysis.cleanup.selection import DeletionChoice
from auditor.analysis.report_views import add_reports, open_reports
from auditor.oci.reference import parse_selector


@dataclass(frozen=True)
class Planned:
    """The lines of `--format jsonl` without the totals, and those of the table."""

    rows: list[dict[str, Any]]
    totals: PlanTotals
    text: list[str]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["kind"] == kind]


class Bench:
    """The manifests of one report, and the plans of `--storage registry` for it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._loaded = self._tables()

    def plan(
        self,
        *deletions: str,
        keep_rules: Path | None = None,
        queries: Sequence[str] = (),
        running: str | None = None,
        with_attachments: bool = False,
        semantics: Semantics | None = None,
    ) -> Planned:
        """The plan for references, patterns and checked queries, or for rules."""
        semantics = semantics or Semantics()
        selection = DeletionChoice(
            selectors=map(parse_selector, deletions), queries=queries
        )
        if running is not None:
            add_reports(self._connection, [running], schema="running", views=())
            self._connection.execute("USE main")
        self._connection.execute(RUNNING_IMAGES if running else NONE_RUNNING)
        self._connection.execute(RUNNING_NODES)
        self._connection.execute(RUNNING_ABSENT)
        rehearse_deletions(
            self._connection,
            selection=None if keep_rules else selection,
            rules=load_keep_rules(str(keep_rules)) if keep_rules else (),
            with_attachments=with_attachments,
            semantics=semantics,
        )
        plan = make_plan(self._connection, semantics)
        *found, _ = map(json.loads, plan_lines(plan, "jsonl", 0))
        planned = Planned(found, plan.totals, list(plan_lines(plan, "text", 20)))
        for table in self._tables() - self._loaded:
            self._connection.execute(f'DROP TABLE "{table}"')
        self._connection.execute("DROP SCHEMA IF EXISTS running CASCADE")
        return planned

    def _tables(self) -> set[str]:
        rows = self._connection.execute("SELECT table_name FROM duckdb_tables()")
        return {name for (name,) in rows.fetchall()}


@contextmanager
def open_bench(report: str) -> Iterator[Bench]:
    with open_reports([report], schema="report", views=("images",)) as connection:
        load_inventory(connection, StorageScope.REGISTRY)
        yield Bench(connection)
