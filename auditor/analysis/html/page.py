"""A report as one page: asks every part in turn, so that one at a time is in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from auditor.analysis.html.ages import read_ages
from auditor.analysis.html.changes import read_changes
from auditor.analysis.html.lines import open_lines
from auditor.analysis.html.matrix import read_matrix
from auditor.analysis.html.sections import read_references
from auditor.analysis.html.source import read_source
from auditor.analysis.html.space import NARROW, WIDE, read_space
from auditor.analysis.html.template import render
from auditor.analysis.html.trust import read_trust
from auditor.analysis.html.violations import read_violations
from auditor.errors import OutputError
from auditor.util.atomic_file import whole_file
from auditor.version import __version__


def make_page(
    report: Sequence[str],
    *,
    previous: Sequence[str] = (),
    policy_file: str | None = None,
    today: date,
) -> str:
    """The page of a report: a file, several or globs.

    `previous` is an earlier one to compare with. `today` (UTC) decides which waivers
    of the policy hold; nothing else depends on the clock. Raises `UsageError`.
    """
    source = read_source(report)
    with open_lines(report) as lines:
        parts = {
            "totals": lines.totals,
            "causes": lines.causes(),
            "failures": lines.failures(),
            "warnings": lines.warnings(),
            "matrix": read_matrix(lines),
            "trust": read_trust(lines),
            "ages": read_ages(lines),
            "references": read_references(lines),
        }
    return render(
        **parts,
        source=source,
        space=read_space(report),
        changes=read_changes(previous, report) if previous else None,
        violations=(
            read_violations(report, policy_file, today=today, earlier=previous)
            if policy_file
            else None
        ),
        wide=WIDE,
        narrow=NARROW,
        version=__version__,
    )


def write_page(path: str, page: str) -> None:
    """Write the file whole or not at all; raises `OutputError`."""
    try:
        with whole_file(Path(path)) as stream:
            stream.write(page.encode())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from None
