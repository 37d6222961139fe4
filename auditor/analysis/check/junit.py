"""JUnit XML as Jenkins and GitLab read it (the format of Ant, with `skipped`).

A rule is a suite, and a violation is a failed case in it, or a skipped case if it is
waived or only a warning. A rule without violations has one case that passes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from auditor.analysis.check.findings import Findings, RuleCount, Violation
from auditor.analysis.check.policy import Severity
from auditor.util.text import safe_text

# Not allowed in XML 1.0 (section 2.2), and not escaped by `safe_text`.
_NO_XML = re.compile("[\ufffe\uffff]")


def render(findings: Findings) -> Iterator[str]:
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
    return f"<failure{_attribute('message', detail)}{kind}>{_text(detail)}</failure>"


def _attribute(name: str, text: str) -> str:
    return f' {name}="{_text(text)}"'


def _text(text: str) -> str:
    return html.escape(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", text))
