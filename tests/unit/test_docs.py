"""The documentation is correct: links, files, commands, options."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import click
import pytest

from auditor.cli.main import cli

ROOT = Path(__file__).parent.parent.parent
# Without the changelog, which may name what no longer exists.
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        ROOT / "bench/README.md",
        *(ROOT / "docs").rglob("*.md"),
    )
)
_BLOCK = re.compile(r"^```[^`\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]*)(?:#([^)\s]+))?\)")
_FILE = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|toml|md|yml|json))`")
_INLINE = re.compile(r"`(auditor [a-z][^`\n]+)`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
# Options of other programs: bench, node_exporter, pip, skopeo, crane, regctl, cosign,
# docker, click, distribution.
OTHER_OPTIONS = frozenset(
    {
        "--all", "--all-options", "--cert-dir", "--children", "--clusterrole",
        "--collector",
        "--constraint", "--creds", "--delete-untagged", "--find-links",
        "--distance-ms", "--fixed", "--from", "--help", "--host", "--refs",
        "--insecure", "--key", "--mount", "--no-index", "--no-latency", "--official",
        "--override-arch", "--override-os", "--repositories", "--rounds",
        "--requests", "--seeds", "--serviceaccount", "--src", "--stall-ms",
        "--synthetic",
        "--tls-verify", "--version",
        "--warm", "--work-ms", "--yes",
    }
)  # fmt: skip


def _text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


@cache
def _anchors(document: str) -> frozenset[str]:
    """The anchors that GitHub makes of the document's headings."""
    prose = _BLOCK.sub("", _text(document))
    counts: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#+ +(.*)$", prose, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        anchors.add(f"{anchor}-{counts[anchor]}" if counts[anchor] else anchor)
        counts[anchor] += 1
    return frozenset(anchors)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_has_a_target(document: str) -> None:
    broken = []
    for path, anchor in _LINK.findall(_text(document)):
        target = (
            ((ROOT / document).parent / path).resolve() if path else ROOT / document
        )
        if not target.exists():
            broken.append(path)
        elif anchor and anchor not in _anchors(target.relative_to(ROOT).as_posix()):
            broken.append(f"{path}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_named_file_exists(document: str) -> None:
    """Relative to the repository, to the package or to the document."""
    folders = (ROOT, ROOT / "auditor", (ROOT / document).parent)
    missing = [
        name
        for name in _FILE.findall(_text(document))
        if "NAME" not in name  # to be filled in
        and not any((folder / name).is_file() for folder in folders)
    ]
    assert missing == []


def _commands(document: str) -> Iterator[str]:
    """The complete command lines of a document.

    Left out are lines with `...` or brackets, which have to be filled in, the name of
    a command without arguments, and tables that a command printed (two blanks).
    """
    lines = [
        line
        for block in _BLOCK.findall(_text(document))
        for line in re.sub(r"\\\n\s*", "", block).splitlines()
    ]
    for code in (*lines, *_INLINE.findall(_text(document))):
        for part in re.split(r" (?:\||&&|\|\|)(?: |$)", code):
            line = re.sub(r"\s#.*| >.*", "", part).strip()
            words = line.split()
            if words[:1] != ["auditor"] or len(words) < 3 or "  " in line:
                continue
            if not re.search(r"\.\.\.|\[-|^[^\"]*\"[^\"]*$", line):
                yield line


COMMAND_LINES = [
    (document, line)
    for document in DOCUMENTS
    if not document.startswith("docs/reference/")  # usage lines, made from the code
    for line in _commands(document)
]


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and its arguments."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        if command.invoke_without_command and words[:1] and words[0].startswith("-"):
            break
        subcommand = command.get_command(click.Context(command), words[0])
        assert subcommand is not None, f"there is no command {words[0]!r}"
        command, words = subcommand, words[1:]
    return command, words


@pytest.mark.parametrize(("document", "line"), COMMAND_LINES)
def test_every_command_line_is_valid(document: str, line: str) -> None:
    command, arguments = _command(shlex.split(line)[1:])
    with suppress(click.exceptions.Exit):  # raised by --help
        command.make_context(command.name, arguments)  # `UsageError` if invalid


def test_there_are_many_command_lines() -> None:
    assert len(COMMAND_LINES) > 100
    assert "README.md" in dict(COMMAND_LINES)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_named_option_exists(document: str) -> None:
    named = set(_OPTION.findall(_text(document)))
    assert named - _all_options() - OTHER_OPTIONS == set()


@cache
def _all_options() -> frozenset[str]:
    return frozenset(_options(cli))


def _options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            assert subcommand is not None
            yield from _options(subcommand)


def test_the_installation_names_every_extra() -> None:
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    rows = _text("docs/how-to/install.md").partition("| extra | for |")[2]
    named = re.findall(
        r"`([a-z]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", rows, re.MULTILINE))
    )
    assert set(named) == project["optional-dependencies"].keys() - {
        "dev",
        "docs",
        "fuzz",
    }
