"""What one check is: a name, a kind of value, and a question in SQL."""

from __future__ import annotations

from enum import StrEnum

from auditor.config.values import ValueType
from auditor.fast_dataclass import dataclass

# Whether a row of `subject.SUBJECTS` can run: an artifact (a Helm chart, say) has no
# architectures, and no config with labels or a user.
IS_IMAGE = "(artifact_type IS NULL OR len(architectures) > 0)"


class Subject(StrEnum):
    """What a check is asked of."""

    IMAGE = "image"  # every image line, one by one
    FAILURE = "failure"  # every failure line, one by one
    REPOSITORY = "repository"  # all lines of a repository together
    EARLIER = "earlier"  # the tags that an earlier report holds too


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDefinition:
    """One row of the table of checks.

    `found` is an SQL expression over a row of `subject.SUBJECTS` (an aggregate for
    `REPOSITORY`) that gives what is wrong as a VARCHAR[]; `$value` stands for the
    policy's value. `unknown` likewise gives what the report does not say, and `hint`
    how to make it say so. `sentence` stands before what was found; `{limit}` in it is
    the value as the policy writes it.
    """

    name: str
    value: ValueType
    summary: str
    sentence: str
    found: str
    unknown: str | None = None
    hint: str = ""
    subject: Subject = Subject.IMAGE
