"""What a check found: counts from SQL, violations as a stream, notices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import Any, cast

import duckdb

from auditor.analysis.check.policy import Policy, Rule, Severity, Waiver, WhenUnknown
from auditor.fast_dataclass import dataclass
from auditor.report.metrics import Metric, check_metrics
from auditor.util.text import format_count, safe_text

# Rows fetched at once: a few MB of Python objects.
_BATCH_ROWS = 10_000
# More names make a sentence that nobody reads; JSON lines hold them all.
_NAMED = 8
# Two digests and the words around them fit.
_DETAIL_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule that a reference breaks, or (`known` false) that the report cannot say.

    `found` is what is wrong or not known, from the report: not made safe to print;
    `reference` likewise. `waiver` holds; `expired` held once.
    """

    rule: Rule
    reference: str
    registry: str | None
    repository: str | None
    tag: str | None
    digest: str | None
    known: bool
    found: tuple[str, ...]
    waiver: Waiver | None
    expired: Waiver | None

    @property
    def detail(self) -> str:
        """One sentence that is safe to print."""
        named = ", ".join(safe_text(one) for one in self.found[:_NAMED])
        if len(self.found) > _NAMED:
            named += f" and {len(self.found) - _NAMED} more"
        hint = f" ({self.rule.check.hint})" if self.rule.check.hint else ""
        text = (
            f"{self.rule.sentence} {named}"
            if self.known
            else f"the report does not say {named}{hint}"
        )
        if self.expired:
            text += f"; a waiver expired on {self.expired.expires}"
        return safe_text(text, _DETAIL_CHARS)

    @property
    def shown(self) -> str:
        """The reference, safe to print and whole (references have < 500 characters)."""
        return safe_text(self.reference, _DETAIL_CHARS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCount:
    """How often a rule was broken; `ignored` counts what is not known and may be."""

    rule: Rule
    violations: int = 0
    waived: int = 0
    ignored: int = 0


class Findings:
    """Reads the tables that `run` made; good while its connection is open."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, policy: Policy) -> None:
        self._connection = connection
        self.policy = policy
        # What is not known counts as a violation unless its section says otherwise.
        ignoring = [
            str(number)
            for number, rule in enumerate(policy.rules)
            if rule.section.unknown is WhenUnknown.IGNORE
        ]
        self._counts = f"(known OR rule NOT IN ({', '.join(ignoring) or -1}))"

    @cached_property
    def lines(self) -> int:
        """Lines of the report that were checked, failures too."""
        return self._number("SELECT count(*) FROM checked")

    @cached_property
    def counts(self) -> tuple[RuleCount, ...]:
        """A count for every rule, in the policy's order."""
        rows = self._connection.execute(
            f"SELECT rule, count(*) FILTER ({self._counts} AND waiver IS NULL),"  # noqa: S608
            f" count(*) FILTER ({self._counts} AND waiver IS NOT NULL),"
            f" count(*) FILTER (NOT {self._counts}) FROM judged GROUP BY rule"
        ).fetchall()
        format_count = {rule: counts for rule, *counts in rows}
        return tuple(
            RuleCount(rule=rule, violations=broken, waived=waived, ignored=ignored)
            for number, rule in enumerate(self.policy.rules)
            for broken, waived, ignored in [format_count.get(number, (0, 0, 0))]
        )

    def total(self, severity: Severity) -> int:
        """Violations of this severity that nothing waives."""
        return sum(
            count.violations
            for count in self.counts
            if count.rule.section.severity is severity
        )

    @property
    def waived(self) -> int:
        """Violations that a waiver excuses."""
        return sum(count.waived for count in self.counts)

    @property
    def passed(self) -> bool:
        """Whether there was something to check, and no rule of severity error is
        broken without a waiver."""
        return self.lines > 0 and self.total(Severity.ERROR) == 0

    def violations(
        self,
        *,
        rule: Rule | None = None,
        waived: bool | None = None,
        limit: int = 0,
    ) -> Iterator[Violation]:
        """Violations by rule (in the policy's order) and reference.

        `waived` asks for only those that are, or are not. A limit of 0 is none.
        """
        wanted = self._counts
        if rule is not None:
            wanted += f" AND rule = {self.policy.rules.index(rule)}"
        if waived is not None:
            wanted += f" AND (waiver IS NOT NULL) = {waived}"
        cursor = self._connection.cursor()
        cursor.execute(
            "SELECT rule, reference, registry, repository, tag, digest, known,"  # noqa: S608
            " CASE WHEN known THEN found ELSE unknown END, waiver, expired"
            f" FROM main.judged WHERE {wanted} ORDER BY rule, reference, digest"
            + (f" LIMIT {limit:d}" if limit else "")
        )
        while rows := cursor.fetchmany(_BATCH_ROWS):
            yield from map(self._violation, rows)

    def notices(self) -> list[str]:
        """What a reader should know of the check itself, a safe sentence each."""
        if not self.lines:
            return ["the report holds no line: nothing was checked, so this is no pass"]
        notices = []
        for number, section in enumerate(self.policy.sections):
            if not self._number(
                f"SELECT count(*) FROM (FROM checked WHERE applies_{number} LIMIT 1)"  # noqa: S608
            ):
                notices.append(f"rules.{section.name}: no line of the report is in it")
        used = {
            number
            for (number,) in self._connection.execute(
                "SELECT DISTINCT unnest([waiver, expired]) FROM judged"
            ).fetchall()
        }
        for number, waiver in enumerate(self.policy.waivers):
            if number not in used:
                notices.append(
                    f"the waiver of line {waiver.line} excuses nothing"
                    f" ({safe_text(waiver.reason)})"
                )
        for rule in self.policy.rules:
            if rule.check.name == "required_labels":
                notices += self._nowhere(rule)
        notices += [
            f"{count.rule.id}: not known for"
            f" {format_count(count.ignored, 'reference')}, ignored"
            for count in self.counts
            if count.ignored
        ]
        return notices

    def _nowhere(self, rule: Rule) -> Iterator[str]:
        """Labels that nothing has: a report says which ones, not which were asked."""
        number = self.policy.rules.index(rule)
        if not self._number(
            f"SELECT count(*) FROM judged WHERE rule = {number} AND known"  # noqa: S608
        ):
            return
        section = self.policy.sections.index(rule.section)
        for wanted in cast("tuple[dict[str, str], ...]", rule.value):
            if not self._number(
                f"SELECT count(*) FROM checked WHERE applies_{section}"  # noqa: S608
                " AND list_contains(label_names, ?)",
                wanted["name"],
            ):
                name = safe_text(wanted["name"])
                yield (
                    f"{rule.id}: no image has the label {name}; it may be that the"
                    f" audit did not ask for it (--label {name})"
                )

    def _number(self, query: str, *parameters: object) -> int:
        row = self._connection.execute(query, parameters).fetchone()
        return int(row[0]) if row else 0

    def _violation(self, row: tuple[Any, ...]) -> Violation:
        rule, reference, registry, repository, tag, digest, known, found, *waivers = row
        waiver, expired = (
            None if number is None else self.policy.waivers[number]
            for number in waivers
        )
        return Violation(
            rule=self.policy.rules[rule],
            reference=reference,
            registry=registry,
            repository=repository,
            tag=tag,
            digest=digest,
            known=known,
            found=tuple(found),
            waiver=waiver,
            expired=expired,
        )


# -- metrics --
# A check as Prometheus metrics: how often each rule is broken, and waived.


def findings_metrics(findings: Findings, finished: datetime) -> tuple[Metric, ...]:
    """The metrics, with a 0 for each rule that is kept."""
    counts = findings.counts
    return check_metrics(
        violations={count.rule.id: count.violations for count in counts},
        waived={count.rule.id: count.waived for count in counts},
        finished_at=finished.isoformat(timespec="seconds"),
    )
