"""Writes the pages of `docs/reference/`: everything in them comes from the code.

    python -m scripts.reference_pages          # write them
    python -m scripts.reference_pages --check  # exit code 1 if they are out of date

`make docs` writes them; a test compares.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from auditor.analysis.check.rules import RULES
from auditor.analysis.query import view_columns
from auditor.cli.explanations import (
    EXIT_CODES,
    FAILURES,
    REASONS,
    WARNINGS,
    WHO,
    Explanation,
)
from auditor.cli.main import COMMANDS, cli
from auditor.config import toml_tables
from auditor.config.option import Option, OptionGroup, OptionScope
from auditor.config.option_table import OPTIONS
from auditor.config.requests_at_once import DEFAULT_MOST
from auditor.config.value_types import ValueType
from auditor.report import metrics
from auditor.wire.hosted_registries import HOSTED_MOST, HOSTED_REGISTRIES
from scripts.markdown_text import inline_code, prose, table
from scripts.reference_documents import documents_page, report_page
from scripts.reference_texts import CLUSTER_HELP, NIGHTLY_HELP, RULE_HELP

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
_NOTE = "<!-- Written by scripts/reference_pages.py; change the code instead. -->\n"


def pages() -> dict[str, str]:
    """The text of each page, by file name."""
    texts = {
        "commands.md": _commands(),
        "configuration.md": _configuration(),
        "report.md": report_page(),
        "documents.md": documents_page(),
        "failures.md": _failures(),
        "views.md": _views(),
        "policy-rules.md": _policy_rules(),
        "metrics.md": _metrics(),
        "exit-codes.md": _exit_codes(),
        "public-registries.md": _public_registries(),
    }
    return {name: f"{_NOTE}\n{text.strip()}\n" for name, text in texts.items()}


# -- commands --------------------------------------------------------------------


def _commands() -> str:
    parts = [
        "# Commands and options\n",
        "Every command with its options. `auditor COMMAND --help` prints the same.\n",
        table(
            ("command", "what it does"),
            (
                (f"[`auditor {name}`](#auditor-{name})", COMMANDS[name])
                for name in COMMANDS
            ),
        ),
    ]
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        parts += _command(command, f"auditor {name}")
    return "\n".join(parts)


def _command(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    usage = command.get_usage(context).removeprefix("Usage: ")
    yield f"## {name}\n"
    yield f"```text\n{' '.join(usage.split())}\n```\n"
    yield prose(command.help or "")
    rows = [
        (_flags(parameter), _option_help(parameter))
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]
    if rows:
        yield table(("option", "meaning"), rows)
    if command.epilog:
        yield prose(command.epilog)
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            child = command.get_command(context, sub)
            assert child is not None
            yield from _command(child, f"{name} {sub}")


def _flags(option: click.Option) -> str:
    flags = [*option.opts, *option.secondary_opts]
    shown = ", ".join(map(inline_code, flags))
    if option.is_flag:
        return shown
    choices = getattr(option.type, "choices", None)
    metavar = "\\|".join(map(str, choices)) if choices else option.metavar
    value = (metavar or option.type.name.upper()).replace(chr(92), "")
    return f"{shown} {inline_code(value)}"


def _option_help(option: click.Option) -> str:
    text = (option.help or "").replace("<", "&lt;")
    if option.show_default and option.default not in (None, (), ""):
        text += f" Default: `{option.default}`."
    # Settings have their default in brackets at the end.
    return re.sub(r"\s*\[default: (.*)\]$", r" Default: `\1`.", text)


# -- configuration ---------------------------------------------------------------


def _configuration() -> str:
    parts = [
        "# Configuration keys and variables\n",
        "Every option has one name: the key in the TOML file (`-c FILE`), the variable"
        " and the flag. Defaults < file < environment < flags. A list is `[...]` in"
        " the file, has commas in a variable, and is a repeated flag. Durations are"
        " seconds or `30s`, `15m`, `5h30m`, `7d`.\n",
        "Where a key can be set: **run**, at the top of the file, by its variable and"
        " by its flag; **registry**, in a section"
        ' `[registry."registry.example.com"]`.\n',
    ]
    for group in OptionGroup:
        parts.append(f"## {group.value}\n")
        parts.append(
            table(
                ("key", "value", "default", "variable, flag", "set for", "meaning"),
                map(_option_row, (one for one in OPTIONS if one.group is group)),
            )
        )
    parts.append("## The table [nightly]\n")
    parts.append(
        "For [`auditor nightly`](../how-to/nightly.md). Paths are relative to the file."
        " `output` and `summary` have no place in this configuration: the folder has"
        " both.\n"
    )
    head = ("key", "value", "meaning")
    parts.append(table(head, _table_rows(_night_keys(), NIGHTLY_HELP)))
    parts.append("## The table [cluster]\n")
    parts.append("For [audits of a cluster](../how-to/kubernetes.md).\n")
    parts.append(table(head, _table_rows(_cluster_keys(), CLUSTER_HELP)))
    return "\n".join(parts)


def _option_row(option: Option) -> tuple[str, ...]:
    scopes = {
        OptionScope.COMMAND_LINE: "command line",
        OptionScope.RUN: "run",
        OptionScope.RUN_AND_REGISTRY: "run, registry",
        OptionScope.REGISTRY: "registry",
    }
    names = [option.variable or "", *_option_flags(option)]
    return (
        "" if option.scope is OptionScope.COMMAND_LINE else inline_code(option.name),
        option.value.expected,
        inline_code(_default(option)),
        " ".join(map(inline_code, filter(None, names))),
        scopes[option.scope],
        option.help.replace("<", "&lt;"),
    )


def _option_flags(option: Option) -> list[str]:
    if option.positional:
        return ["REFERENCE..."]
    return [flag for flags in option.flags for flag in flags.split("/")]


def _default(option: Option) -> str:
    value = option.default
    if value in (None, (), ""):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return option.value.shown(value)


def _table_rows(
    keys: Mapping[str, ValueType], meanings: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    for key, value in keys.items():
        yield inline_code(key), value.expected, meanings[key]


def _night_keys() -> dict[str, ValueType]:
    return toml_tables._NIGHTLY | {
        f"{name}.{key}": value
        for name, keys in toml_tables._TABLES.items()
        for key, value in keys.items()
    }


def _cluster_keys() -> dict[str, ValueType]:
    resource = toml_tables._RESOURCE.items()
    return toml_tables._CLUSTER | {f"resources[].{key}": one for key, one in resource}


# -- failures, rules, metrics, exit codes ----------------------------------------


def _failures() -> str:
    parts = [
        "# Failures and warnings\n",
        "A reference that could not be audited is a line with `failure`; a problem"
        " that did not prevent the record is in `warnings`."
        " `auditor explain CODE` prints the same.\n",
        "## Failures\n",
    ]
    failures = (
        (
            inline_code(kind.value),
            one.meaning,
            "yes" if kind.retryable else "no",
            WHO[kind.blame],
            _steps(one),
        )
        for kind, one in FAILURES.items()
    )
    parts.append(
        table(
            ("failure", "meaning", "retried", "who can fix it", "what to do"), failures
        )
    )
    for title, codes in (("Warnings", WARNINGS), ("Reasons", REASONS)):
        parts.append(f"## {title}\n")
        if codes is REASONS:
            parts.append(
                "Why a connection failed, in more detail; `auditor doctor` shows it.\n"
            )
        rows = (
            (inline_code(str(code)), one.meaning, _steps(one))
            for code, one in codes.items()
        )
        parts.append(table((title[:-1].lower(), "meaning", "what to do"), rows))
    return "\n".join(parts)


def _steps(explanation: Explanation) -> str:
    return "<br>".join(one.replace("<", "&lt;") for one in explanation.steps)


def _views() -> str:
    parts = [
        "# Tables of a report in SQL\n",
        "The tables, which are views, of [`auditor query`](../guide/query.md), and of"
        " [`auditor export`](../guide/export.md) without the lists that are tables of"
        " their own. `sboms` and `packages` are there with `--sbom`.\n",
    ]
    views = list(view_columns([os.devnull], [os.devnull]))
    index = ((f"[`{name}`](#{name})", row) for name, row, _ in views)
    parts.append(table(("table", "a row is"), index))
    for name, row, columns in views:
        rows = (
            (inline_code(column), kind, meaning) for column, kind, meaning in columns
        )
        parts += [f"## {name}\n", f"A row is {row}.\n"]
        parts.append(table(("column", "type", "meaning"), rows))
    return "\n".join(parts)


def _policy_rules() -> str:
    parts = [
        "# Rules of a policy\n",
        "What a section `[rules.NAME]` of a policy of [`auditor check`]"
        "(../guide/check.md) can demand. If the report does not have what a rule needs,"
        " the image is unknown to it, and the rule is broken; `unknown ="
        ' "ignore"` lets it pass.\n',
        "Rules do not apply to [manifests without a tag](../how-to/untagged.md).\n",
        table(
            ("rule", "requirement"),
            ((f"[`{name}`](#{name})", rule.summary) for name, rule in RULES.items()),
        ),
    ]
    for name, rule in RULES.items():
        details, needs = RULE_HELP[name]
        parts.append(f"## {name}\n")
        parts.append(f"{rule.summary} {details}".strip() + "\n")
        parts.append(f"- value: {_value(rule.value_type.expected)}")
        parts.append(f"- needs: {needs[0].lower()}{needs[1:]}\n")
    return "\n".join(parts)


def _value(expected: str) -> str:
    return expected.replace("(*, ?, [a-z])", "(`*`, `?`, `[a-z]`)")


def _metrics() -> str:
    return "\n".join(
        [
            "# Metrics\n",
            "The metrics that `--metrics FILE` writes, all of them gauges with the"
            " label `audit`. How to use them: [Metrics and"
            " alerts](../how-to/monitoring.md).\n",
            table(
                ("metric", "labels", "meaning"),
                (
                    (inline_code(name), ", ".join(map(inline_code, labels)), text)
                    for name, (labels, text) in metrics.DEFINITIONS.items()
                ),
            ),
        ]
    )


def _exit_codes() -> str:
    return "\n".join(
        [
            "# Exit codes\n",
            table(
                ("code", "meaning", "what to do"),
                (
                    (inline_code(str(int(code))), one.meaning, _steps(one))
                    for code, one in EXIT_CODES.items()
                ),
            ),
        ]
    )


def _public_registries() -> str:
    rows = (
        (
            one.name,
            ", ".join(map(inline_code, one.hosts)),
            one.published or "none",
            f"[source]({one.source})",
        )
        for one in HOSTED_REGISTRIES
    )
    return "\n".join(
        [
            "# Public registries and their limits\n",
            f"An audit sends each of these at most {HOSTED_MOST} requests at once,"
            " unless `--requests-at-once` says otherwise: many people share them, or"
            " their published limit allows no more. So it is for a name that redirects"
            " to one of them, such as lscr.io. All other registries get up to"
            f" {DEFAULT_MOST} ([how many](../explanation/performance.md#"
            "how-many-requests-at-once)).\n",
            table(("registry", "hosts", "limit that it publishes", ""), rows),
        ]
    )


def main() -> int:
    """Write the pages, or compare them with `--check`."""
    texts = pages()
    if "--check" in sys.argv[1:]:
        stale = [
            name
            for name, text in texts.items()
            if not (FOLDER / name).is_file() or (FOLDER / name).read_text() != text
        ]
        for name in stale:
            click.echo(f"docs/reference/{name} is out of date: make docs", err=True)
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
