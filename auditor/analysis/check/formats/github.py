"""Formats for GitHub: annotations of a workflow, and Markdown for a job summary."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.analysis.check.findings import Findings
from auditor.analysis.check.formats.table import summary_line, violation_tables
from auditor.analysis.text_tables import markdown_lines, markdown_text

# "Workflow commands for GitHub Actions": what @actions/core escapes. Line breaks cannot
# occur in the texts (`safe_text`).
_MESSAGE = str.maketrans({"%": "%25"})
_PROPERTY = str.maketrans({"%": "%25", ":": "%3A", ",": "%2C"})


def render_annotations(findings: Findings) -> Iterator[str]:
    """A workflow command for each violation that is not waived, then each notice.

    They annotate the line of the rule in the policy file.
    """
    file = findings.policy.file_name.translate(_PROPERTY)
    for violation in findings.violations(waived=False):
        rule = violation.rule
        text = f"{violation.safe_reference}: {violation.detail}".translate(_MESSAGE)
        title = rule.id.translate(_PROPERTY)
        properties = f"file={file},line={rule.line},title={title}"
        yield f"::{rule.section.severity} {properties}::{text}\n"
    for notice in findings.notices():
        yield f"::notice file={file}::{notice.translate(_MESSAGE)}\n"


def render_markdown(findings: Findings, limit: int) -> Iterator[str]:
    """GitHub-flavoured Markdown: a summary, notices, and tables of `limit` rows."""
    yield f"{markdown_text(summary_line(findings))}\n\n"
    yield from (f"- {markdown_text(notice)}\n" for notice in findings.notices())
    tables = violation_tables(findings, limit)
    yield from (f"{line}\n" for line in markdown_lines(tables))
