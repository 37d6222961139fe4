"""`auditor config example [NAME]`: the example configurations and policies."""

from __future__ import annotations

import click

from auditor.cli.help_text import help_group
from auditor.errors import ExitCode, UsageError
from auditor.util.text import safe_text

_SUFFIX = ".toml"


@help_group("config")
def command() -> None:
    """Start a configuration from an example."""


@command.command("example")
@click.argument("name", required=False)
def example_command(*, name: str | None) -> int:
    """List the example configurations and policies, or print one.

    NAME is as in the list. The text is a commented TOML file: policy-... for `auditor
    check --policy`, the others for `--config`.
    """
    found = examples()
    if name is None:
        width = max(map(len, found))
        for one, text in found.items():
            click.echo(f"{one:<{width}}  {purpose(text)}")
        return ExitCode.OK
    text = found.get(name.removesuffix(_SUFFIX), "")
    if not text:
        raise UsageError(_unknown(name, list(found)))
    click.echo(text, nl=False)
    return ExitCode.OK


def examples() -> dict[str, str]:
    """The text of each example, by name in alphabetical order."""
    from importlib.resources import files

    folder = files("auditor") / "examples"
    return {
        one.name.removesuffix(_SUFFIX): one.read_text(encoding="utf-8")
        for one in sorted(folder.iterdir(), key=lambda one: one.name)
        if one.name.endswith(_SUFFIX)
    }


def purpose(text: str) -> str:
    """The first sentence of an example's comment."""
    lines = []
    for line in text.splitlines():
        words = line.removeprefix("#").strip()
        if not line.startswith("#") or not words:
            break
        lines.append(words)
    sentence, dot, _ = " ".join(lines).partition(". ")
    return sentence + dot.strip()


def _unknown(name: str, names: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name.removesuffix(_SUFFIX), names, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return (
        f"{safe_text(name)}: no such example{hint} (auditor config example lists them)"
    )
