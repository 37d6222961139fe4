"""Tags that are chosen by something else than a pattern of the shell."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import TagPattern
from auditor.protocol.tags.semver import Constraint, parse_constraint, parse_version
from auditor.util.text import safe_text

# re2's own default is 8 MiB; no tag is longer than 128 characters.
_REGEX_MEMORY_BYTES = 1024 * 1024
# Longer than any regular expression that a person writes.
MAX_REGEX_CHARS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRule(TagPattern):
    """The tags that are versions and satisfy a constraint, which is `pattern`."""

    constraint: Constraint = field(repr=False)

    def matches(self, tag: str) -> bool:
        """Whether the tag is such a version."""
        version = parse_version(tag)
        return version is not None and self.constraint.allows(version)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegexRule(TagPattern):
    """The tags in which a regular expression, which is `pattern`, is found."""

    expression: Any = field(repr=False, compare=False)

    def matches(self, tag: str) -> bool:
        """Whether it is found anywhere in the tag: `^` and `$` tie it down."""
        return self.expression.search(tag) is not None


def version_rule(name: TagPattern, constraint: str) -> VersionRule:
    """The tags of that repository which a constraint allows.

    Raises `ProtocolError` for what is no constraint.
    """
    return VersionRule(
        registry=name.registry,
        repository=name.repository,
        pattern=constraint,
        constraint=parse_constraint(constraint),
    )


def regex_rule(name: TagPattern, text: str) -> RegexRule:
    """The tags of that repository in which a regular expression is found.

    The language is that of RE2, as in Go (github.com/google/re2/wiki/Syntax): it
    takes linear time, whatever tags a registry makes up. Raises `ProtocolError` for
    what is none, `ModuleNotFoundError` without the extra `regex`.
    """
    import re2  # noqa: PLC0415  (only who has such a list needs it)

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY_BYTES
    try:
        if len(text) > MAX_REGEX_CHARS:
            raise _invalid(text, f"it is longer than {MAX_REGEX_CHARS} characters")
        expression = re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0]
        if isinstance(reason, bytes):
            reason = reason.decode(errors="replace")
        raise _invalid(text, safe_text(str(reason), 80)) from None
    return RegexRule(
        registry=name.registry,
        repository=name.repository,
        pattern=text,
        expression=expression,
    )


def _invalid(text: str, why: str) -> ProtocolError:
    return ProtocolError(
        f'"{safe_text(text, 80)}" is not a regular expression: {why}',
        FailureKind.INVALID_REFERENCE,
    )
