"""Checks records against policies, in tests."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from auditor.analysis.check.evaluate import check_reports
from auditor.analysis.check.findings import Findings, Violation
from auditor.analysis.check.policy import Policy
from auditor.analysis.check.policy_file import read_policy
from auditor.config.toml_file import source_lines
from auditor.model import Record
from tests.reports import write_report

TODAY = date(2026, 11, 24)


def policy(text: str) -> Policy:
    return read_policy(
        tomllib.loads(text), file_name="policy.toml", lines=source_lines(text)
    )


@contextmanager
def findings_of(
    folder: Path,
    text: str,
    records: Iterable[Record],
    *,
    earlier: Iterable[Record] | None = None,
) -> Iterator[Findings]:
    report = write_report(folder / "report.jsonl", records)
    before: Sequence[str] = ()
    if earlier is not None:
        before = (write_report(folder / "earlier.jsonl", earlier),)
    with check_reports([report], policy(text), today=TODAY, earlier=before) as findings:
        yield findings


def violations_of(
    folder: Path,
    text: str,
    records: Iterable[Record],
    *,
    earlier: Iterable[Record] | None = None,
) -> list[Violation]:
    with findings_of(folder, text, records, earlier=earlier) as findings:
        return list(findings.violations())
