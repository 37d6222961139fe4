"""The SQL of a policy: its rules over every line, in one pass, and what follows.

Values of the policy are parameters of the query, never parts of its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from auditor.analysis.check.check import Subject
from auditor.analysis.check.policy import Policy, Rule, Section, Waiver
from auditor.analysis.check.subject import SUBJECTS

_OUTCOME = "STRUCT(rule INTEGER, found VARCHAR[], unknown VARCHAR[])"

# What a waiver may call what it excuses.
_NAMES = (
    "reference",
    "substr(reference, length(registry) + 2)",
    "concat_ws('/', registry, repository)",
    "repository",
)


class Questions:
    """Builds queries; `parameters` are theirs, all of them, by name."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.parameters: dict[str, object] = {}

    def checked(self) -> str:
        """Every line with its outcomes: the only query that reads the report.

        `applies_N` says whether section N is about the line.
        """
        outcomes = ", ".join(
            self._outcome(number, rule)
            for number, rule in enumerate(self._policy.rules)
            if rule.check.subject in {Subject.IMAGE, Subject.FAILURE}
        )
        applies = ", ".join(
            f"{self._applies(section)} AS applies_{number}"
            for number, section in enumerate(self._policy.sections)
        )
        return (
            "SELECT * EXCLUDE (artifact_type, architectures, size, annotations, access,"  # noqa: S608
            " platforms_left_out, signed, has_sbom, has_provenance, warnings,"
            " audited_us, media_types, parts, attached, detail),"
            f" CAST([o FOR o IN [{outcomes}] IF len(o.found) > 0 OR len(o.unknown) > 0]"
            f" AS {_OUTCOME}[]) AS outcomes"
            f" FROM (SELECT *, {applies} FROM ({SUBJECTS}))"
        )

    def of_lines(self) -> str:
        """The outcomes of single lines."""
        return (
            "SELECT o.rule, reference, registry, repository, tag, digest,"
            " o.found, o.unknown FROM (SELECT *, unnest(outcomes) AS o FROM checked)"
        )

    def of_repositories(self, number: int, rule: Rule) -> str:
        """The outcomes of a rule about all lines of a repository."""
        section = self._section(rule)
        return (
            f"SELECT {number}, name, any_value(registry), any_value(repository), NULL,"  # noqa: S608
            f" NULL, {self._asked(number, rule, rule.check.found)} AS found, NULL"
            f" FROM checked WHERE {section} GROUP BY name HAVING len(found) > 0"
        )

    def of_earlier(self, number: int, rule: Rule) -> str:
        """The outcomes of a rule about what the table `earlier` says of a tag."""
        return (
            "SELECT * FROM ("  # noqa: S608
            f" SELECT {number}, reference, registry, repository, tag, digest,"
            f" {self._asked(number, rule, rule.check.found)} AS found, NULL"
            " FROM checked JOIN earlier USING (reference)"
            f" WHERE kind = 'image' AND {self._section(rule)}) WHERE len(found) > 0"
        )

    def waivers(self, waivers: Sequence[tuple[int, Waiver]]) -> str:
        """The number of the first of these waivers that covers an outcome, or null."""
        cases = ""
        for number, waiver in waivers:
            rules = [
                str(n)
                for n, rule in enumerate(self._policy.rules)
                if waiver.covers(rule)
            ]
            if rules:
                matches = self._matches(waiver.references, _NAMES)
                named = ", ".join(rules)
                cases += f" WHEN rule IN ({named}) AND {matches} THEN {number}"
        return f"CASE {cases} END" if cases else "CAST(NULL AS INTEGER)"

    def _outcome(self, number: int, rule: Rule) -> str:
        applies = f"kind = '{rule.check.subject}' AND {self._section(rule)}"
        found = self._asked(number, rule, rule.check.found)
        unknown = self._asked(number, rule, rule.check.unknown or "NULL")
        return (
            f"{{'rule': {number},"
            f" 'found': CASE WHEN {applies} THEN ({found}) END,"
            f" 'unknown': CASE WHEN {applies} THEN ({unknown}) END}}"
        )

    def _section(self, rule: Rule) -> str:
        return f"applies_{self._policy.sections.index(rule.section)}"

    def _asked(self, number: int, rule: Rule, expression: str) -> str:
        if "$value" in expression:
            value = rule.value
            self.parameters[f"value_{number}"] = (
                list(value) if isinstance(value, tuple) else value
            )
        return expression.replace("$value", f"$value_{number}")

    def _applies(self, section: Section) -> str:
        of = ("name", "repository")
        applies = self._matches(section.repositories, of)
        if section.excluded:
            applies += f" AND NOT {self._matches(section.excluded, of)}"
        if section.tags:
            applies += f" AND {self._matches(section.tags, ('tag',))}"
        return f"coalesce({applies}, false)"

    def _matches(self, patterns: Sequence[str], texts: Sequence[str]) -> str:
        """Whether one of the texts matches one of the patterns; a null never does."""
        either = []
        for pattern in patterns:
            name = f"pattern_{len(self.parameters)}"
            self.parameters[name] = pattern
            either += [f"coalesce({text} GLOB ${name}, false)" for text in texts]
        return f"({' OR '.join(either)})"


def by_validity(
    policy: Policy, today: date
) -> tuple[list[tuple[int, Waiver]], list[tuple[int, Waiver]]]:
    """The waivers that hold and those that have expired, with their numbers."""
    numbered = list(enumerate(policy.waivers))
    return (
        [(number, waiver) for number, waiver in numbered if waiver.holds(today)],
        [(number, waiver) for number, waiver in numbered if not waiver.holds(today)],
    )
