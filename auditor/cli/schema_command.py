"""`auditor schema`: the schemas of report lines and of the JSON that commands print.

A document is written from a dataclass, and its schema is derived from the same class.
Unknown values are null, not absent. Times are RFC 3339 in UTC if they are texts, and
seconds since the epoch if they are numbers.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from auditor.cli.help_text import help_command
from auditor.cli.output import json_text

# For each name: what it describes, and the module and names of its classes, which are
# only imported on demand, because some load DuckDB or the network.
SCHEMAS = {
    "report": ("a line of a report", "auditor.report.report_schema:report_schema"),
    "inspect": (
        "auditor inspect --format json",
        "auditor.model:ImageRecord,FailureRecord",
    ),
    "doctor": ("auditor doctor --format json", "auditor.diagnose.doctor:DoctorReport"),
    "token": (
        "auditor token --format json, of one repository",
        "auditor.diagnose.token_explain:TokenDocument,TokenFailureDocument",
    ),
    "token-list": (
        "a line of auditor token --format json, of several repositories",
        "auditor.cli.pull_access:PullAccessDocument",
    ),
    "token-decode": (
        "auditor token --decode --format json",
        "auditor.diagnose.token_explain:TokenExplanation",
    ),
    "ls": (
        "a line of auditor ls --format json",
        "auditor.diagnose.ls:RepositoryName auditor.cli.ls_command:TagDocument",
    ),
    "dry-run": (
        "the summary file of auditor audit --dry-run",
        "auditor.diagnose.dry_run:Forecast",
    ),
    "cache-info": (
        "auditor cache info --format json",
        "auditor.cache.maintenance:CacheInfo",
    ),
    "diff": (
        "a line of auditor diff --format jsonl",
        "auditor.analysis.diff:Difference,DiffTotals",
    ),
    "layers": (
        "a line of auditor layers --format jsonl",
        "auditor.analysis.layers:Usage,SharedLayer,Base,NamedBase,LayerTotals"
        " auditor.analysis.find_digest:DigestUse,DigestTotals",
    ),
    "bases": (
        "a line of auditor bases --format jsonl",
        "auditor.analysis.stale_bases:BaseUse,Rebuild,BaseTotals",
    ),
    "unused": (
        "a line of auditor unused --format jsonl",
        "auditor.analysis.unused:UnusedImage,GoneImage,UnusedTotals",
    ),
    "cleanup-plan": (
        "a line of auditor cleanup plan --format jsonl",
        "auditor.analysis.cleanup.plan:Deletion,BrokenIndex,LostTag,RunningImage,"
        "LeftBehind,RepositoryPlan,PlanTotals",
    ),
    "cleanup-protect": (
        "a line of auditor cleanup protect --format jsonl",
        "auditor.analysis.cleanup.protection:ProtectedDigest,ProtectionTotals",
    ),
    "packages": (
        "a line of auditor packages --format jsonl",
        "auditor.analysis.packages:PackageUse,PackageTotals",
    ),
    "night": (
        "a line of auditor nightly status --format json",
        "auditor.nightly.night_folder:Night",
    ),
    "sbom": (
        "a line of the file of auditor audit --sbom",
        "auditor.report.sbom_file:SbomRecord",
    ),
    "check": (
        "a line of auditor check --format jsonl",
        "auditor.analysis.check.formats:ViolationLine,CheckLine",
    ),
}
_NAMES = "\b\n" + "\n".join(f"{name:<16}{what}" for name, (what, _) in SCHEMAS.items())


@help_command("schema", epilog=f"NAME is one of:\n\n{_NAMES}")
@click.argument(
    "name", metavar="[NAME]", type=click.Choice(list(SCHEMAS)), default="report"
)
def command(*, name: str) -> None:
    """Print the JSON Schema (draft 2020-12) of report lines, or of another document."""
    click.echo(json_text(_schema(name), indent=True))


def _schema(name: str) -> dict[str, Any]:
    from auditor.model import SCHEMA
    from auditor.report.field_help import FIELD_HELP
    from auditor.report.report_schema import report_schema
    from auditor.util.json_schema import json_schema

    if name == "report":
        return report_schema()
    title, sources = SCHEMAS[name]
    documents = []
    for source in sources.split():
        module, _, classes = source.partition(":")
        imported = importlib.import_module(module)
        documents += [getattr(imported, cls) for cls in classes.split(",")]
    return json_schema(
        *documents,
        title=title,
        urn=f"urn:auditor:{name}:{SCHEMA}",
        meanings=FIELD_HELP,
    )
