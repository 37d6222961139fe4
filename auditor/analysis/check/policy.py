"""What a policy says, once it is read."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from auditor.analysis.check.check import RuleDefinition, Subject
from auditor.fast_dataclass import dataclass


class Severity(StrEnum):
    """Whether a violation makes the check fail."""

    ERROR = "error"
    WARNING = "warning"


class WhenUnknown(StrEnum):
    """What follows where the report does not hold what a rule asks for."""

    FAIL = "fail"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySection:
    """`[rules.NAME]`: which lines its rules are asked of.

    Patterns of repositories match the repository with or without its registry.
    """

    name: str
    repositories: tuple[str, ...] = ("*",)
    excluded: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    severity: Severity = Severity.ERROR
    unknown: WhenUnknown = WhenUnknown.FAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One check with its value, in one section. `limit` is the value as written."""

    section: PolicySection
    check: RuleDefinition
    value: object
    limit: str
    line: int

    @property
    def id(self) -> str:
        """`SECTION.CHECK`: what outputs and waivers call it."""
        return f"{self.section.name}.{self.check.name}"

    @property
    def sentence(self) -> str:
        """What stands before what was found."""
        return self.check.sentence.replace("{limit}", self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """An exception for a time: `expires` is the last day (UTC) on which it holds.

    `rules` are names of checks or ids of rules. `references` are patterns of
    references or repositories, with or without the registry.
    """

    rules: tuple[str, ...]
    references: tuple[str, ...]
    reason: str
    expires: date
    line: int

    def covers(self, rule: Rule) -> bool:
        """Whether it is about this rule, whatever the reference."""
        return rule.id in self.rules or rule.check.name in self.rules

    def holds(self, today: date) -> bool:
        """Whether it has not expired."""
        return today <= self.expires


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules in the order of the file, and the waivers."""

    file_name: str
    rules: tuple[Rule, ...]
    waivers: tuple[Waiver, ...]

    @property
    def sections(self) -> tuple[PolicySection, ...]:
        """The sections that have rules, each once."""
        return tuple(dict.fromkeys(rule.section for rule in self.rules))

    @property
    def needs_earlier(self) -> Rule | None:
        """The first rule that an earlier report is needed for."""
        wanted = (r for r in self.rules if r.check.subject is Subject.EARLIER)
        return next(wanted, None)
