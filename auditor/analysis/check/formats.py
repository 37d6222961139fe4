"""The output formats of `auditor check`, by name.

Each is a function that yields its output piece by piece from `Findings`, so that all
violations are never in memory at once. To add a format, write such a function, name it
in `output_formats`, and add its name to the option of `auditor check`;
tests/unit/analysis/check/test_formats.py checks that hostile text is printed as plain
text.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from typing import Any
from urllib.parse import quote

import orjson

from auditor.analysis.check.findings import Findings, RuleCount, Violation
from auditor.analysis.check.newer_platforms import NewerTag
from auditor.analysis.check.policy import Policy, Rule, Severity, Waiver
from auditor.analysis.text_tables import (
    TitledTable,
    code_column,
    markdown_lines,
    markdown_text,
    text_column,
    text_lines,
)
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.util.terminal import PIPE, Screen, styled, wrapped
from auditor.util.text import format_count, pluralize, safe_text, terminal_safe_json
from auditor.version import __version__

OutputFormat = Callable[[Findings], Iterator[str]]


def output_formats(limit: int, screen: Screen = PIPE) -> dict[str, OutputFormat]:
    """The formats by name; `limit` is the maximum rows per table, 0 for all.

    The table is laid out for the `screen`.
    """
    return {
        "table": partial(_table, limit=limit, screen=screen),
        "markdown": partial(_markdown, limit=limit),
        "jsonl": _json_lines,
        "sarif": _sarif,
        "junit": _junit,
        "github": _github,
    }


# -- tables: a summary, notices, and `limit` rows of each violated rule --


def _table(findings: Findings, limit: int, screen: Screen) -> Iterator[str]:
    colour = "green" if findings.passed else "red"
    for line in wrapped(_summary_line(findings), screen):
        yield f"{styled(line, colour, screen)}\n"
    for notice in findings.notices():
        yield from (f"{line}\n" for line in wrapped(f"note: {notice}", screen))
    tables = _violation_tables(findings, limit)
    yield from (f"{line}\n" for line in text_lines(tables, screen))
    broken = [one.rule.definition.name for one in findings.counts if one.violations]
    if broken:
        yield f"\nwhat to do: auditor explain {' '.join(dict.fromkeys(broken))}\n"


def _markdown(findings: Findings, limit: int) -> Iterator[str]:
    yield f"{markdown_text(_summary_line(findings))}\n\n"
    yield from (f"- {markdown_text(notice)}\n" for notice in findings.notices())
    tables = _violation_tables(findings, limit)
    yield from (f"{line}\n" for line in markdown_lines(tables))


def _summary_line(findings: Findings) -> str:
    errors, warnings = map(findings.total, (Severity.ERROR, Severity.WARNING))
    return (
        f"{'passed' if findings.passed else 'failed'}:"
        f" {findings.lines:,} {pluralize(findings.lines, 'reference')},"
        f" {format_count(len(findings.policy.rules), 'rule')},"
        f" {errors:,} {pluralize(errors, 'error')},"
        f" {warnings:,} {pluralize(warnings, 'warning')}, {findings.waived:,} waived"
    )


_VIOLATION_COLUMNS = (code_column("reference"), text_column("violation", "detail"))
_WAIVER_COLUMNS = (
    code_column("reference"),
    code_column("rule", "rule.id"),
    text_column("until", "waiver.expires"),
    text_column("reason", "waiver.reason"),
)


def _violation_tables(findings: Findings, limit: int) -> Iterator[TitledTable]:
    for count in findings.counts:
        if count.violations:
            rule = count.rule
            rows = findings.violations(rule=rule, waived=False, limit=limit)
            yield TitledTable(
                title=f"{rule.section.severity} {rule.id}",
                columns=_VIOLATION_COLUMNS,
                rows=tuple(rows),
                total=count.violations,
                note=rule.definition.summary,
            )
    if findings.waived:
        yield TitledTable(
            title="waived",
            columns=_WAIVER_COLUMNS,
            rows=tuple(findings.violations(waived=True, limit=limit)),
            total=findings.waived,
        )


# -- GitHub --
# "Workflow commands for GitHub Actions": what @actions/core escapes. Line breaks cannot
# occur in the texts (`safe_text`).

_MESSAGE = str.maketrans({"%": "%25"})
_PROPERTY = str.maketrans({"%": "%25", ":": "%3A", ",": "%2C"})


def _github(findings: Findings) -> Iterator[str]:
    """Annotations of the rule's line in the policy file, then the notices."""
    file = findings.policy.file_name.translate(_PROPERTY)
    for violation in findings.violations(waived=False):
        rule = violation.rule
        text = f"{violation.safe_reference}: {violation.detail}".translate(_MESSAGE)
        title = rule.id.translate(_PROPERTY)
        properties = f"file={file},line={rule.line},title={title}"
        yield f"::{rule.section.severity} {properties}::{text}\n"
    for notice in findings.notices():
        yield f"::notice file={file}::{notice.translate(_MESSAGE)}\n"


# -- JSON lines --


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverLine:
    """The waiver of a violation."""

    reason: str
    expires: date


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationLine:
    """A violation.

    - `known`: false if the report does not contain what the rule needs
    - `found`: what violates it
    - `used_by`: who uses the image
    - `newer`: for `required_platforms`, the next newer tags of the repository with
      platforms that are missing; empty if no newer one has them, None if the report has
      no other tag
    - `detail`: a sentence for people
    """

    schema: int = SCHEMA
    kind: str = "violation"
    rule: str
    severity: Severity
    reference: str
    registry: str | None
    repository: str | None
    tag: str | None
    digest: str | None
    known: bool
    found: tuple[str, ...]
    used_by: tuple[str, ...]
    newer: tuple[NewerTag, ...] | None
    detail: str
    waiver: WaiverLine | None
    expired_waiver: WaiverLine | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCountLine:
    """The counts of one rule."""

    violations: int
    waived: int
    ignored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLine:
    """The result; `rules` are by id. Without this last line the output is truncated."""

    schema: int = SCHEMA
    kind: str = "check"
    passed: bool
    lines: int
    errors: int
    warnings: int
    waived: int
    rules: dict[str, RuleCountLine]
    notices: tuple[str, ...]


# The fields that a `ViolationLine` has of the `Violation`.
_COPIED = (
    *("reference", "registry", "repository", "tag", "digest", "known", "found"),
    *("used_by", "newer", "detail"),
)


def _json_lines(findings: Findings) -> Iterator[str]:
    """A `ViolationLine` for each violation, also waived ones, then the `CheckLine`."""
    for violation in findings.violations():
        yield _json(
            ViolationLine(
                rule=violation.rule.id,
                severity=violation.rule.section.severity,
                **{name: getattr(violation, name) for name in _COPIED},
                waiver=_waiver(violation.waiver),
                expired_waiver=_waiver(violation.expired),
            )
        )
    yield _json(
        CheckLine(
            passed=findings.passed,
            lines=findings.lines,
            errors=findings.total(Severity.ERROR),
            warnings=findings.total(Severity.WARNING),
            waived=findings.waived,
            rules={
                count.rule.id: RuleCountLine(
                    violations=count.violations,
                    waived=count.waived,
                    ignored=count.ignored,
                )
                for count in findings.counts
            },
            notices=tuple(findings.notices()),
        )
    )


def _waiver(waiver: Waiver | None) -> WaiverLine | None:
    if waiver is None:
        return None
    return WaiverLine(reason=waiver.reason, expires=waiver.expires)


def _json(line: ViolationLine | CheckLine) -> str:
    data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    return terminal_safe_json(data).decode()


# -- SARIF 2.1.0 (OASIS standard) for code scanning services --
# The location of a violation is the rule in the policy file, because these services
# show only files of a repository; the reference is the logical location.

_SARIF_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/"
    "sarif-schema-2.1.0.json"
)


def _sarif(findings: Findings) -> Iterator[str]:
    """One log with one run. Results are last, so that they can be streamed."""
    run = {
        "tool": {
            "driver": {
                "name": "auditor",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_sarif_rule(rule) for rule in findings.policy.rules],
            }
        },
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    {"level": "note", "message": {"text": notice}}
                    for notice in findings.notices()
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
    }
    head = _compact_json(run).removesuffix("}")
    yield f'{{"$schema":"{_SARIF_SCHEMA}","version":"2.1.0","runs":[{head},"results":['
    separator = "\n"
    for violation in findings.violations():
        yield separator + _compact_json(_sarif_result(violation, findings.policy))
        separator = ",\n"
    yield "\n]}]}\n"


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    """A reportingDescriptor (section 3.49)."""
    hint = rule.definition.hint
    text = (
        f"{rule.definition.summary.rstrip('.')}."
        f" Policy: {rule.definition.name} = {rule.limit}."
    )
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.definition.summary},
        "fullDescription": {"text": text},
        "help": {"text": text + (f" If unknown: {hint}." if hint else "")},
        "defaultConfiguration": {"level": rule.section.severity},
    }


def _sarif_result(violation: Violation, policy: Policy) -> dict[str, Any]:
    """A result (section 3.27)."""
    rule = violation.rule
    result: dict[str, Any] = {
        "ruleId": rule.id,
        "ruleIndex": policy.rules.index(rule),
        "level": rule.section.severity,
        "message": {"text": f"{violation.safe_reference}: {violation.detail}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(policy.file_name)},
                    "region": {"startLine": rule.line},
                },
                "logicalLocations": [
                    {"fullyQualifiedName": violation.safe_reference, "kind": "resource"}
                ],
            }
        ],
        "partialFingerprints": {"violation/v1": _fingerprint(violation)},
    }
    if violation.waiver is not None:
        result["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": f"{safe_text(violation.waiver.reason)}"
                f" (until {violation.waiver.expires})",
            }
        ]
    return result


def _fingerprint(violation: Violation) -> str:
    """A fingerprint that depends only on the rule and the reference."""
    identity = f"{violation.rule.id}\0{violation.reference}"
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()


def _uri(path: str) -> str:
    """A path as a relative reference, or a file URI (RFC 3986, RFC 8089)."""
    uri = quote(path.removeprefix("./"))
    return f"file://{uri}" if uri.startswith("/") else uri


def _compact_json(value: object) -> str:
    return orjson.dumps(value).decode()


# -- JUnit XML as Jenkins and GitLab read it (the format of Ant, with `skipped`) --
# A rule is a suite, and a violation is a failed case in it, or a skipped case if it is
# waived or only a warning. A rule without violations has one case that passes.

# Not allowed in XML 1.0 (section 2.2), and not escaped by `safe_text`.
_NO_XML = re.compile("[\ufffe\uffff]")


def _junit(findings: Findings) -> Iterator[str]:
    """The document, suite by suite."""
    counts = findings.counts
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield (
        '<testsuites name="auditor check"'
        f' tests="{sum(map(_cases, counts))}" failures="{sum(map(_failures, counts))}"'
        f' skipped="{sum(map(_skipped, counts))}" errors="0" time="0">\n'
    )
    for count in counts:
        yield (
            f"<testsuite{_attribute('name', count.rule.id)}"
            f' tests="{_cases(count)}" failures="{_failures(count)}"'
            f' skipped="{_skipped(count)}" errors="0" time="0">\n'
        )
        if count.violations + count.waived == 0:
            yield f"{_case(count.rule.id, count.rule.definition.summary)}</testcase>\n"
        for violation in findings.violations(rule=count.rule):
            yield (
                f"{_case(count.rule.id, violation.safe_reference)}{_outcome(violation)}"
                "</testcase>\n"
            )
        yield "</testsuite>\n"
    yield "</testsuites>\n"


def _cases(count: RuleCount) -> int:
    return count.violations + count.waived or 1


def _failures(count: RuleCount) -> int:
    return count.violations if count.rule.section.severity is Severity.ERROR else 0


def _skipped(count: RuleCount) -> int:
    return count.violations + count.waived - _failures(count)


def _case(rule: str, name: str) -> str:
    attributes = _attribute("classname", rule) + _attribute("name", name)
    return f'<testcase{attributes} time="0">'


def _outcome(violation: Violation) -> str:
    detail = violation.detail
    if (waiver := violation.waiver) is not None:
        message = f"waived until {waiver.expires}: {safe_text(waiver.reason)}; {detail}"
        return f"<skipped{_attribute('message', message)}/>"
    if violation.rule.section.severity is Severity.WARNING:
        return f"<skipped{_attribute('message', f'warning: {detail}')}/>"
    kind = _attribute("type", violation.rule.definition.name)
    return f"<failure{_attribute('message', detail)}{kind}>{_xml(detail)}</failure>"


def _attribute(name: str, text: str) -> str:
    return f' {name}="{_xml(text)}"'


def _xml(text: str) -> str:
    return html.escape(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", text))
