"""Asking a policy of a report: one pass over the lines, then over what it found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date

import duckdb

from auditor.analysis.check.check import Subject
from auditor.analysis.check.findings import Findings
from auditor.analysis.check.policy import Policy
from auditor.analysis.check.questions import Questions, by_validity
from auditor.analysis.expressions import keep_last_lines
from auditor.analysis.reports import add_reports, open_reports
from auditor.errors import UsageError


@contextmanager
def checked(
    reports: Sequence[str],
    policy: Policy,
    *,
    today: date,
    earlier: Sequence[str] = (),
) -> Iterator[Findings]:
    """What a policy finds in reports; `earlier` are those of an earlier audit.

    `today` (UTC) decides which waivers hold. Raises `UsageError` where a report
    cannot be read, or a rule needs an earlier one and there is none.
    """
    if (rule := policy.needs_earlier) is not None and not earlier:
        raise UsageError(
            f"{policy.file_name}:{rule.line}: {rule.id} needs an earlier report:"
            " --previous REPORT"
        )
    with open_reports(reports) as connection:
        _ask(connection, policy, earlier)
        _judge(connection, policy, today)
        yield Findings(connection, policy)


def _ask(
    connection: duckdb.DuckDBPyConnection, policy: Policy, earlier: Sequence[str]
) -> None:
    """Make `checked`, a row a line, and `outcomes`, a row a rule broken or unknown."""
    questions = Questions(policy)
    text = questions.checked()
    connection.execute(f"CREATE TABLE checked AS {text}", questions.parameters)
    connection.execute(keep_last_lines("checked", "reference"))
    connection.execute(f"CREATE TABLE outcomes AS {questions.of_lines()}")
    for number, rule in enumerate(policy.rules):
        questions = Questions(policy)
        if rule.check.subject is Subject.REPOSITORY:
            text = questions.of_repositories(number, rule)
        elif rule.check.subject is Subject.EARLIER:
            _remember(connection, earlier)
            text = questions.of_earlier(number, rule)
        else:
            continue
        connection.execute(f"INSERT INTO outcomes {text}", questions.parameters)


def _remember(connection: duckdb.DuckDBPyConnection, earlier: Sequence[str]) -> None:
    """Make `earlier`: the last digest that the earlier reports have for a tag."""
    add_reports(connection, earlier, schema="before")
    connection.execute("USE main")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS earlier AS SELECT reference,"
        " arg_max(digest, audited_at) AS digest_before"
        " FROM before.images WHERE tag IS NOT NULL GROUP BY reference"
    )


def _judge(connection: duckdb.DuckDBPyConnection, policy: Policy, today: date) -> None:
    """Make `judged`: the outcomes with the waiver that holds, or has expired."""
    questions = Questions(policy)
    holding, over = by_validity(policy, today)
    text = (
        f"SELECT *, coalesce(len(found), 0) > 0 AS known,"  # noqa: S608
        f" {questions.waivers(holding)} AS waiver, {questions.waivers(over)} AS expired"
        " FROM outcomes"
    )
    connection.execute(f"CREATE TABLE judged AS {text}", questions.parameters)
