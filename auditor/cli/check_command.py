"""`auditor check`"""

from __future__ import annotations

import sys

import click

from auditor.cli.command_support import (
    format_option,
    limit_option,
    output_option,
    reports_argument,
    sbom_option,
)
from auditor.cli.help_text import help_command
from auditor.cli.output import print_message, print_pieces
from auditor.errors import ExitCode


@help_command("check")
@reports_argument
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
    help="An earlier report, for tags that must not move; can be repeated.",
)
@sbom_option
@format_option(
    *("table", "markdown", "jsonl", "sarif", "junit", "github"),
    help_text="The format of the output; github: annotations of a job.",
)
@limit_option(50, "table and markdown")
@output_option("output file")
@click.option(
    "--metrics",
    metavar="FILE",
    help="Also write the counts to this Prometheus textfile (*.prom).",
)
def command(
    *,
    reports: tuple[str, ...],
    policy_file: str,
    previous: tuple[str, ...],
    sboms: tuple[str, ...],
    output_format: str,
    limit: int,
    output: str,
    metrics: str | None,
) -> int:
    """Check a report against a policy; exit 1 if a rule is broken.

    REPORT is a report, also compressed (.gz, .zst), or a quoted glob of reports.
    """
    from datetime import UTC, datetime

    from auditor.analysis.check.evaluate import check_reports
    from auditor.analysis.check.findings import findings_metrics
    from auditor.analysis.check.formats import output_formats
    from auditor.analysis.check.policy import Subject
    from auditor.analysis.check.policy_file import load_policy
    from auditor.analysis.file_kind import FileKind
    from auditor.analysis.report_views import check_output, report_paths
    from auditor.util.terminal import PIPE, screen_of

    for file in (output, metrics or "-"):
        check_output(file, (*reports, *previous, *sboms, policy_file))
    policy = load_policy(policy_file)
    for option, files, kind, subject in (
        ("--previous", previous, FileKind.REPORT, Subject.EARLIER),
        ("--sbom", sboms, FileKind.SBOMS, Subject.PACKAGES),
    ):
        report_paths(files, kind=kind)
        needed = any(rule.definition.subject is subject for rule in policy.rules)
        if files and not needed:
            print_message(f"{option}: not used, because no rule of the policy needs it")
    now = datetime.now(UTC)
    with check_reports(
        reports, policy, today=now.date(), earlier=previous, sboms=sboms or None
    ) as findings:
        screen = screen_of(sys.stdout) if output == "-" else PIPE
        formats = output_formats(limit, screen)
        print_pieces(formats[output_format](findings), output)
        if metrics is not None:
            from auditor.report.metrics import write_textfile

            write_textfile(metrics, findings_metrics(findings, now))
        passed = findings.passed
    return ExitCode.OK if passed else ExitCode.FAILED
