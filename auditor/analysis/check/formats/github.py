"""Workflow commands of GitHub Actions: annotations at the rule in the policy file."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.analysis.check.findings import Findings

# "Workflow commands for GitHub Actions": what @actions/core escapes. Everything else
# that could end a command is no longer in the text (`safe_text`).
_MESSAGE = str.maketrans({"%": "%25"})
_PROPERTY = str.maketrans({"%": "%25", ":": "%3A", ",": "%2C"})


def pieces(findings: Findings) -> Iterator[str]:
    """A line each violation that is not waived, then each notice."""
    file = findings.policy.file_name.translate(_PROPERTY)
    for violation in findings.violations(waived=False):
        rule = violation.rule
        text = f"{violation.shown}: {violation.detail}".translate(_MESSAGE)
        title = rule.id.translate(_PROPERTY)
        place = f"file={file},line={rule.line},title={title}"
        yield f"::{rule.section.severity} {place}::{text}\n"
    for notice in findings.notices():
        yield f"::notice file={file}::{notice.translate(_MESSAGE)}\n"
