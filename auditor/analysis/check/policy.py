"""The parts of a policy: rules in sections, and waivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import date
from enum import StrEnum

from auditor.config.value_types import ValueType
from auditor.fast_dataclass import dataclass


class Severity(StrEnum):
    """Whether a violation makes the check fail."""

    ERROR = "error"
    WARNING = "warning"


class WhenUnknown(StrEnum):
    """What to do if the report does not contain what a rule needs."""

    FAIL = "fail"
    IGNORE = "ignore"


class Subject(StrEnum):
    """The object that a rule applies to."""

    IMAGE = "image"  # each image line
    FAILURE = "failure"  # each failure line
    REPOSITORY = "repository"  # all lines of a repository together
    END_OF_LIFE = "end_of_life"  # each image, with the end of its support
    PACKAGES = "packages"  # each image, with the packages of its SBOMs
    EARLIER = "earlier"  # tags that an earlier report has, too


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDefinition:
    """A rule that policies can use; a row of `rules.RULES`.

    `violations` is an SQL expression over a row of `evaluate.SUBJECTS` (an aggregate
    for `REPOSITORY`) that gives what violates the rule as VARCHAR[]; `$value` is the
    value in the policy. `unknown` is an SQL expression for what the report does not
    contain, and `hint` is advice on how to get it. In `message`, `{found}` is what was
    found and `{limit}` the value as written in the policy.
    """

    name: str
    value_type: ValueType
    summary: str
    message: str
    violations: str
    unknown: str | None = None
    hint: str = ""
    subject: Subject = Subject.IMAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySection:
    """`[rules.NAME]`: the lines that its rules apply to.

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
    """A rule in one section. `limit` is its value as written."""

    section: PolicySection
    definition: RuleDefinition
    value: object
    limit: str
    line: int

    @property
    def id(self) -> str:
        """`SECTION.RULE`, the name in outputs and waivers."""
        return f"{self.section.name}.{self.definition.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A temporary exception; `expires` is the last day (UTC) on which it applies.

    `rules` are names or ids of rules. `references` are patterns of references or
    repositories, with or without the registry.
    """

    rules: tuple[str, ...]
    references: tuple[str, ...]
    reason: str
    expires: date
    line: int

    def covers(self, rule: Rule) -> bool:
        """Whether the waiver names this rule."""
        return rule.id in self.rules or rule.definition.name in self.rules

    def is_valid(self, today: date) -> bool:
        """Whether the waiver has not expired."""
        return today <= self.expires


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules in the order of the file, the waivers, and ends of support.

    `end_of_life` has the last day of support by pattern.
    """

    file_name: str
    rules: tuple[Rule, ...]
    waivers: tuple[Waiver, ...]
    end_of_life: Mapping[str, date] = field(default_factory=dict)

    @property
    def sections(self) -> tuple[PolicySection, ...]:
        """The sections that have rules, each once."""
        return tuple(dict.fromkeys(rule.section for rule in self.rules))
