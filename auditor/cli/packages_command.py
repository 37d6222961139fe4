"""`auditor packages`"""

from __future__ import annotations

import sys

import click

from auditor.cli.command_support import (
    format_option,
    limit_option,
    names_a_file,
    sbom_option,
)
from auditor.cli.help_text import complete_files, help_command
from auditor.cli.output import print_lines, print_message
from auditor.errors import ExitCode, UsageError
from auditor.util.text import safe_text

_EPILOG = """
NAME is the name of a package or of its source package, a pattern in quotes ('log4j*'),
or a package URL (pkg:npm/lodash). Versions are compared by the rules of their type:
Debian, RPM, Alpine, PyPI, Maven, Ruby, or semantic versioning. What the SBOMs do not
tell is on standard error: images without one, and SBOMs that could not be read.
"""


@help_command("packages", epilog=_EPILOG)
@click.argument(
    "arguments",
    nargs=-1,
    required=True,
    metavar="REPORT... [NAME]",
    shell_complete=complete_files,
)
@sbom_option
@click.option(
    "--version",
    "version_range",
    metavar="RANGE",
    help="Only versions in this range: '<3.0.8', '>=2.0,<2.17.1' or 1.2.3.",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    help="Only packages of this type, as in package URLs: deb, rpm, apk, npm, pypi,"
    " maven, golang; unknown: without one; can be repeated.",
)
@format_option(
    *("text", "jsonl", "markdown", "csv"),
    help_text="The format of the output; jsonl: all rows, then the totals.",
)
@limit_option(100, "text and markdown")
def command(
    *,
    arguments: tuple[str, ...],
    sboms: tuple[str, ...],
    version_range: str | None,
    types: tuple[str, ...],
    output_format: str,
    limit: int,
) -> int:
    """Show which images have a package, by the SBOMs that are attached to them.

    REPORT is a report, also compressed (.gz, .zst), or a quoted glob of reports. The
    exit code is 0 whether or not a package is found.
    """
    from auditor.analysis.package_uses import PackageCondition, is_package_name
    from auditor.analysis.package_versions import VersionRange
    from auditor.analysis.packages import (
        package_lines,
        search_packages,
        unknown_lines,
    )
    from auditor.util.terminal import screen_of

    *reports, last = arguments
    name: str | None = last
    if names_a_file(last):
        reports, name = [*reports, last], None
    elif not reports:
        raise UsageError(
            f"{safe_text(last)}: no such report; name the report before the package:"
            f" auditor packages REPORT {safe_text(last)} --sbom FILE"
        )
    if name is not None and not is_package_name(name):
        raise UsageError(
            f'"{safe_text(name)}" is no name or pattern of a package; leave it out to'
            " find all"
        )
    if not sboms:
        raise UsageError(
            "--sbom FILE: name the file that auditor audit --sbom wrote for the report"
        )
    try:
        versions = None if version_range is None else VersionRange.parse(version_range)
    except ValueError as error:
        raise UsageError(f"--version {error}") from None
    condition = PackageCondition(name=name, types=types, versions=versions)
    screen = screen_of(sys.stdout)
    with search_packages(reports, sboms, condition) as search:
        print_lines(package_lines(search, output_format, limit, screen))
        for line in (*search.notices, *unknown_lines(search.totals)):
            print_message(line)
    return ExitCode.OK
