"""The result of a check: violations as a stream, counts by rule, notices."""

# ruff: noqa: S608  (the SQL is made of constants and numbers)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import cast

import duckdb

from auditor.analysis.check.newer_platforms import NewerTag, read_newer_tags
from auditor.analysis.check.policy import (
    Policy,
    Rule,
    Severity,
    Subject,
    Waiver,
    WhenUnknown,
)
from auditor.analysis.check.unmatched_patterns import unmatched_patterns
from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.analysis.package_types import AbsentType
from auditor.fast_dataclass import dataclass
from auditor.report.metrics import Metric, check_metrics
from auditor.util.text import format_count, safe_text

# Names in a sentence; JSON lines have all of them.
_MAX_NAMES = 8
_MAX_USES = 5
# Room for two digests.
_DETAIL_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule that a reference violates, or may violate (`known` is false).

    `found` is what violates the rule, or what the report does not contain. `found` and
    `reference` come from the report and are not safe to print, as does `used_by`:
    workloads and labels of the input, such as `team: web`. `waiver` is the waiver that
    applies, `expired` a waiver that has expired. `newer` are newer tags with platforms
    that this one lacks, none if no newer tag in the report has them; None for other
    rules, and if the report has no other tag of the repository. `newer_text` is a
    sentence about it.
    """

    rule: Rule
    reference: str
    registry: str | None
    repository: str | None
    tag: str | None
    digest: str | None
    known: bool
    found: tuple[str, ...]
    used_by: tuple[str, ...]
    waiver: Waiver | None
    expired: Waiver | None
    newer: tuple[NewerTag, ...] | None = None
    newer_text: str | None = None

    @property
    def detail(self) -> str:
        """One sentence, safe to print."""
        names = ", ".join(safe_text(name) for name in self.found[:_MAX_NAMES])
        if len(self.found) > _MAX_NAMES:
            names += f" and {len(self.found) - _MAX_NAMES:,} more"
        hint = self.rule.definition.hint
        if self.known:
            text = self.rule.definition.message.replace("{limit}", self.rule.limit)
            text = text.replace("{found}", names)
        else:
            text = f"not in the report: {names}" + (f" ({hint})" if hint else "")
        if self.newer_text:
            text += f"; {self.newer_text}"
        if self.expired:
            text += f"; a waiver expired on {self.expired.expires}"
        return safe_text(text, _DETAIL_CHARS) + self._used_by_text

    @property
    def _used_by_text(self) -> str:
        if not self.used_by:
            return ""
        names = "; ".join(safe_text(name) for name in self.used_by[:_MAX_USES])
        if len(self.used_by) > _MAX_USES:
            names += f"; and {len(self.used_by) - _MAX_USES:,} more"
        return f" (used by {safe_text(names, _DETAIL_CHARS)})"

    @property
    def safe_reference(self) -> str:
        """The reference, safe to print and not truncated (at most 500 characters)."""
        return safe_text(self.reference, _DETAIL_CHARS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCount:
    """Violations of a rule.

    `unknown` are those of the violations about which the report does not say enough,
    also waived ones; `ignored` counts unknown results in sections that allow them.
    """

    rule: Rule
    violations: int = 0
    unknown: int = 0
    waived: int = 0
    ignored: int = 0


# Patterns of [end_of_life] that match nothing, named one by one.
_MAX_PATTERNS = 10


class Findings:
    """Reads the tables of `evaluate`; usable while the connection is open."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        policy: Policy,
        *,
        absent_types: Sequence[AbsentType] = (),
    ) -> None:
        self._connection = connection
        self._absent_types = absent_types
        self.policy = policy
        # What is unknown counts as a violation unless the section ignores it.
        ignoring = [
            str(number)
            for number, rule in enumerate(policy.rules)
            if rule.section.unknown is WhenUnknown.IGNORE
        ]
        self._counts = f"(known OR rule NOT IN ({', '.join(ignoring) or -1}))"

    @cached_property
    def lines(self) -> int:
        """The number of lines that were checked, including failures."""
        return self._number("SELECT count(*) FROM checked")

    @cached_property
    def counts(self) -> tuple[RuleCount, ...]:
        """Counts for every rule, in the order of the policy."""
        rows = stream_rows(
            self._connection,
            f"""
            SELECT rule,
                   count(*) FILTER ({self._counts} AND waiver IS NULL) AS violations,
                   count(*) FILTER ({self._counts} AND NOT known) AS unknown,
                   count(*) FILTER ({self._counts} AND waiver IS NOT NULL) AS waived,
                   count(*) FILTER (NOT {self._counts}) AS ignored
            FROM judged GROUP BY rule""",
        )
        by_rule = {row.pop("rule"): row for row in rows}
        return tuple(
            RuleCount(rule=rule, **by_rule.get(number, {}))
            for number, rule in enumerate(self.policy.rules)
        )

    def total(self, severity: Severity) -> int:
        """The number of violations of this severity that are not waived."""
        return sum(
            count.violations
            for count in self.counts
            if count.rule.section.severity is severity
        )

    @property
    def waived(self) -> int:
        """The number of waived violations."""
        return sum(count.waived for count in self.counts)

    @property
    def passed(self) -> bool:
        """Whether there were lines to check and no errors that are not waived."""
        return self.lines > 0 and self.total(Severity.ERROR) == 0

    def violations(
        self, *, rule: Rule | None = None, waived: bool | None = None, limit: int = 0
    ) -> Iterator[Violation]:
        """Violations by rule (in the order of the policy) and reference.

        `waived` selects those that are waived, or not. A limit of 0 means no limit.
        """
        condition = self._counts
        if rule is not None:
            condition += f" AND rule = {self.policy.rules.index(rule)}"
        if waived is not None:
            condition += f" AND (waiver IS NOT NULL) = {waived}"
        query = f"""
            SELECT rule, reference, registry, repository, tag, digest, known, used_by,
                   CASE WHEN known THEN found ELSE unknown END AS found,
                   waiver, expired, newer, newer_text
            FROM main.judged LEFT JOIN main.newer_platforms USING (rule, reference)
            WHERE {condition}
            ORDER BY rule, reference, digest{limit_clause(limit)}"""
        for row in stream_rows(self._connection, query):
            row["rule"] = self.policy.rules[row["rule"]]
            row["found"] = tuple(row["found"])
            row["used_by"] = tuple(row["used_by"] or ())
            row["newer"] = read_newer_tags(row["newer"])
            for name in ("waiver", "expired"):
                if row[name] is not None:
                    row[name] = self.policy.waivers[row[name]]
            yield Violation(**row)

    def notices(self) -> list[str]:
        """Notes about the check itself, each a sentence that is safe to print."""
        if not self.lines:
            return ["the report is empty: nothing was checked, so the check fails"]
        notices = []
        for number, section in enumerate(self.policy.sections):
            if not self._number(
                f"SELECT count(*) FROM (FROM checked WHERE applies_{number} LIMIT 1)"
            ):
                notices.append(
                    f"rules.{section.name}: applies to no line of the report"
                )
        notices += unmatched_patterns(self._connection, self.policy)
        used = stream_rows(
            self._connection,
            "SELECT DISTINCT unnest([waiver, expired]) AS number FROM judged",
        )
        unused = {*range(len(self.policy.waivers))} - {row["number"] for row in used}
        for number in sorted(unused):
            waiver = self.policy.waivers[number]
            notices.append(
                f"the waiver in line {waiver.line} covers no violation"
                f" ({safe_text(waiver.reason)})"
            )
        for rule in self.policy.rules:
            if rule.definition.name == "required_labels":
                notices += self._absent_labels(rule)
        for absent in self._absent_types:
            rule_id = self.policy.rules[absent.condition].id
            notices.append(f"{rule_id}: {absent.text}")
        subjects = {rule.definition.subject for rule in self.policy.rules}
        if Subject.END_OF_LIFE in subjects:
            notices += self._unused_patterns()
        notices += map(self._unknown, filter(_has_unknown, self.counts))
        notices += self._failures()
        return notices

    def _failures(self) -> Iterator[str]:
        """References that were not audited, and about which no rule says anything."""
        covered = {
            f"applies_{self.policy.sections.index(rule.section)}"
            for rule in self.policy.rules
            if rule.definition.subject is Subject.FAILURE
        }
        number = self._number(
            "SELECT count(*) FROM checked"
            " WHERE kind = 'failure' AND failure <> 'vanished'"
            f" AND NOT coalesce({' OR '.join(sorted(covered)) or 'false'}, false)"
        )
        if number:
            yield (
                f"{number:,} of {format_count(self.lines, 'reference')} could not be"
                " audited, and no rule forbids that: add forbid_failures"
            )

    def _unused_patterns(self) -> Iterator[str]:
        """Patterns of `[end_of_life]` without a match: they may be misspelt."""
        rows = stream_rows(
            self._connection, "SELECT pattern FROM eol_unused ORDER BY pattern"
        )
        unused = [row["pattern"] for row in rows]
        for pattern in unused[:_MAX_PATTERNS]:
            yield (
                f"end_of_life: {safe_text(pattern)} matches no image of the report, and"
                " no base that one names"
            )
        if len(unused) > _MAX_PATTERNS:
            count = len(unused) - _MAX_PATTERNS
            yield f"end_of_life: {format_count(count, 'more pattern')} without a match"

    def _unknown(self, count: RuleCount) -> str:
        """For how many references the report does not answer a rule, and what to do."""
        section = self.policy.sections.index(count.rule.section)
        subject = count.rule.definition.subject
        asked = self._number(
            f"SELECT count(*) FROM checked WHERE applies_{section} AND kind = ?",
            "failure" if subject is Subject.FAILURE else "image",
        )
        ignored = ", ignored" if count.ignored else ""
        hint = count.rule.definition.hint
        return (
            f"{count.rule.id}: unknown for {count.unknown + count.ignored:,} of"
            f" {format_count(asked, 'reference')}{ignored}"
        ) + (f"; {hint}" if hint else "")

    def _absent_labels(self, rule: Rule) -> Iterator[str]:
        """Required labels that no image has: the audit may not have asked for them."""
        number = self.policy.rules.index(rule)
        query = f"SELECT count(*) FROM judged WHERE rule = {number} AND known"
        if not self._number(query):
            return
        section = self.policy.sections.index(rule.section)
        for label in cast("tuple[dict[str, str], ...]", rule.value):
            if not self._number(
                f"SELECT count(*) FROM checked WHERE applies_{section}"
                " AND list_contains(label_names, ?)",
                label["name"],
            ):
                name = safe_text(label["name"])
                yield (
                    f"{rule.id}: no image has the label {name}; if the audit did not"
                    f" ask for it, audit with --label {name}"
                )

    def _number(self, query: str, *parameters: object) -> int:
        row = self._connection.execute(query, parameters).fetchone()
        return int(row[0]) if row else 0


def _has_unknown(count: RuleCount) -> bool:
    return count.unknown + count.ignored > 0


def findings_metrics(findings: Findings, finished: datetime) -> list[Metric]:
    """Prometheus metrics: violations of every rule, also if 0, and waived ones."""
    counts = findings.counts
    return check_metrics(
        violations={count.rule.id: count.violations for count in counts},
        waived={count.rule.id: count.waived for count in counts},
        finished_at=finished.isoformat(timespec="seconds"),
    )
