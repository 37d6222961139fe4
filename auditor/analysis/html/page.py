"""Makes the page of a report and writes it to a file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from auditor.analysis.html.image_sections import (
    read_ages,
    read_attachments,
    read_platforms,
)
from auditor.analysis.html.optional_sections import read_changes, read_policy_findings
from auditor.analysis.html.reference_data import read_references
from auditor.analysis.html.report_lines import load_lines, read_source
from auditor.analysis.html.storage_section import NARROW, WIDE, read_storage
from auditor.analysis.html.template import render
from auditor.errors import OutputError
from auditor.util.atomic_file import atomic_file
from auditor.version import __version__


def make_page(
    report: Sequence[str],
    *,
    previous: Sequence[str] = (),
    policy_file: str | None = None,
    today: date,
) -> str:
    """The page of a report, given as files or globs.

    `previous` is an earlier report to compare with. `today` (UTC) decides which waivers
    of the policy apply; nothing else depends on the clock. Raises `UsageError`.
    """
    source = read_source(report)
    with load_lines(report) as lines:
        sections = {
            "totals": lines.totals,
            "causes": lines.causes(),
            "failures": lines.failures(),
            "warnings": lines.warnings(),
            "matrix": read_platforms(lines),
            "trust": read_attachments(lines),
            "ages": read_ages(lines),
            "references": read_references(lines),
        }
    return render(
        **sections,
        source=source,
        space=read_storage(report),
        changes=read_changes(previous, report) if previous else None,
        violations=(
            read_policy_findings(report, policy_file, today=today, earlier=previous)
            if policy_file
            else None
        ),
        wide=WIDE,
        narrow=NARROW,
        version=__version__,
    )


def write_page(path: str, page: str) -> None:
    """Write the file atomically; raises `OutputError`."""
    try:
        with atomic_file(Path(path)) as stream:
            stream.write(page.encode())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
