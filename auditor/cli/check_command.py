"""`auditor check`"""

from __future__ import annotations

import click

from auditor.cli.extras import needs_extras
from auditor.cli.output import MAX_ROWS
from auditor.errors import ExitCode

FORMATS = ("table", "markdown", "jsonl", "sarif", "junit", "github")


@click.command("check")
@click.argument("reports", nargs=-1, required=True, metavar="REPORT...")
@click.option(
    "--policy",
    "policy_file",
    required=True,
    metavar="FILE",
    help="The policy, a TOML file.",
)
@click.option(
    "--previous",
    multiple=True,
    metavar="REPORT",
    help="An earlier report, for tags that must not move; repeatable.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    help="What to write; github are annotations of a job. [default: table]",
)
@click.option(
    "--limit",
    type=click.IntRange(0, MAX_ROWS),
    default=50,
    help="Rows of each table and markdown table; 0 for all. [default: 50]",
)
@click.option(
    "-o", "--output", default="-", metavar="FILE", help="Where to. [default: -]"
)
@click.option(
    "--metrics",
    metavar="FILE",
    help="Also write the counts for Prometheus' textfile collector (*.prom).",
)
@needs_extras
def command(
    *,
    reports: tuple[str, ...],
    policy_file: str,
    previous: tuple[str, ...],
    form: str,
    limit: int,
    output: str,
    metrics: str | None,
) -> int:
    """Hold reports against a policy; exit 1 where a rule is broken.

    REPORT is a report, also a compressed one (.gz, .zst), or a quoted glob of them.
    """
    from datetime import UTC, datetime

    from auditor.analysis.check.evaluate import check_reports
    from auditor.analysis.check.findings import findings_metrics
    from auditor.analysis.check.formats import formats
    from auditor.analysis.check.policy_file import load_policy
    from auditor.analysis.reports import check_output
    from auditor.cli.output import print_pieces

    for written in (output, metrics or "-"):
        check_output(written, (*reports, *previous, policy_file))
    policy = load_policy(policy_file)
    now = datetime.now(UTC)
    with check_reports(reports, policy, today=now.date(), earlier=previous) as findings:
        print_pieces(formats(limit)[form](findings), output)
        if metrics is not None:
            from auditor.report.metrics import write_textfile

            write_textfile(metrics, findings_metrics(findings, now))
        passed = findings.passed
    return ExitCode.OK if passed else ExitCode.FAILED
