"""What the documentation says can be followed: links, files, commands, options."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import click
import pytest

from auditor.cli.main import cli

ROOT = Path(__file__).parent.parent.parent
# The changelog tells of what was; its names may be gone.
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "README.md",
        ROOT / "bench/README.md",
        *(ROOT / "docs").rglob("*.md"),
    )
)
_BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]*)(?:#([^)\s]+))?\)")
_FILE = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|toml|md|yml|json))`")
_INLINE = re.compile(r"`(auditor [a-z][^`\n]+)`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
# Of other programs: bench's own, Prometheus' node exporter, skopeo, docker, click's.
FOREIGN = frozenset(
    {
        "--all", "--children", "--collector", "--from", "--help", "--mount",
        "--official", "--repositories", "--rounds", "--src", "--synthetic",
        "--version", "--warm",
    }
)  # fmt: skip


def _text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def _blocks(document: str) -> Iterator[str]:
    """What stands in fenced blocks."""
    yield from re.findall(
        r"^```\w*\n(.*?)^```", _text(document), re.DOTALL | re.MULTILINE
    )


@cache
def _anchors(document: str) -> frozenset[str]:
    """The anchors of its headings, as GitHub makes them."""
    prose = _BLOCK.sub("", _text(document))
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ +(.*)$", prose, re.MULTILINE):
        bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", bare).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return frozenset(found)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_somewhere(document: str) -> None:
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
def test_every_file_that_is_named_is_there(document: str) -> None:
    """From the root, from the package and two parts of it that have a section of
    their own, or from where the document is."""
    package = ROOT / "auditor"
    places = (ROOT, package, package / "protocol", package / "registry/network")
    gone = [
        name
        for name in _FILE.findall(_text(document))
        if not any(
            (place / name).is_file() for place in (*places, (ROOT / document).parent)
        )
    ]
    assert gone == []


def _commands(document: str) -> Iterator[str]:
    """Command lines that are meant to be typed as they stand.

    `...` and brackets stand for something, a name alone is no command line, and what
    has columns is a table that a program printed.
    """
    lines = [
        line
        for block in _blocks(document)
        for line in re.sub(r"\\\n\s*", "", block).splitlines()
    ]
    for said in (*lines, *_INLINE.findall(_text(document))):
        for part in re.split(r" (?:\||&&|\|\|) ", said):
            line = re.sub(r"\s#.*| >.*", "", part).strip()
            words = line.split()
            if words[:1] != ["auditor"] or len(words) < 3 or "  " in line:
                continue
            if not re.search(r"\.\.\.|\[-|^[^\"]*\"[^\"]*$", line):
                yield line


COMMAND_LINES = [
    (document, line) for document in DOCUMENTS for line in _commands(document)
]


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"there is no command {words[0]!r}"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize(("document", "line"), COMMAND_LINES)
def test_every_command_line_is_one(document: str, line: str) -> None:
    command, words = _command(shlex.split(line)[1:])
    with suppress(click.exceptions.Exit):  # of --help
        command.make_context(command.name, words)  # a `UsageError` for a wrong one


def test_there_are_command_lines_in_the_readme() -> None:
    assert sum(document == "README.md" for document, _ in COMMAND_LINES) > 15


def _options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _options(found)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_option_that_is_named_is_there(document: str) -> None:
    unknown = set(_OPTION.findall(_text(document))) - {*_known_options(), *FOREIGN}
    assert unknown == set()


@cache
def _known_options() -> frozenset[str]:
    return frozenset(_options(cli))
