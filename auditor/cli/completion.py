"""Completion of command lines: the scripts of shells, and the values they offer.

click completes commands, options and choices. References come from the digest cache and
from the configuration (its sections, references and lists): nothing is sent, and no
file is read to its end if it is long, so that a key press takes no longer than Python's
start. Loaded for a completion and for `auditor completion` only.
"""

from __future__ import annotations

import os
import sqlite3
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

SHELLS = ("bash", "zsh", "fish")
COMPLETE_VARIABLE = "_AUDITOR_COMPLETE"
# Offered at once: more than a person reads.
MAX_VALUES = 200
# Read of each list, and of the configuration: some 20,000 references.
MAX_FILE_CHARS = 1024 * 1024

# bash splits words at the colons of references: the values are those after the last
# one. With `default`, names of files are offered where there is nothing else.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line="${COMP_LINE:0:COMP_POINT}" word type value cut
    word="${line##*[[:space:]]}"
    [[ $word == -*=* ]] && word="${word#*=}"
    [[ $COMP_WORDBREAKS == *:* && $word == *:* ]] && cut="${word%%:*}:"
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
            plain)
                value="${value#"$cut"}"
                [[ $value == *[/:] ]] && compopt -o nospace
                COMPREPLY+=("$value")
                ;;
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
        esac
    done < <(COMP_LINE="$line" %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -o default -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """bash: the line is split here, because `COMP_WORDS` is split at colons."""

    source_template = _BASH

    def source(self) -> str:
        """The script; any bash from 4.4 on can run it."""
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor, and the word that is not finished."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        if line[-1:].isspace() or not words:
            return words, ""
        return words[:-1], words[-1]


def register() -> None:
    """Make click use the script for bash of this file."""
    add_completion_class(_Bash)


def script(shell: str, command: click.Command) -> str:
    """The completion script of a shell, one of `SHELLS`."""
    classes: dict[str, type[ShellComplete]] = {
        "bash": _Bash,
        "zsh": ZshComplete,
        "fish": FishComplete,
    }
    return classes[shell](command, {}, "auditor", COMPLETE_VARIABLE).source()


# -- references ------------------------------------------------------------------


def references(context: click.Context, incomplete: str) -> list[CompletionItem]:
    """References that begin with `incomplete`: a host, a repository or a tag at a time.

    A host ends with `/`, so that the next key completes its repositories.
    """
    config = _config_file(context)
    document = _read_toml(config)
    known = {
        *_from_cache(_cache_file(context, document), incomplete),
        *_from_config(config, document, incomplete),
    }
    values = dict.fromkeys(_next_part(one, incomplete) for one in sorted(known))
    return [CompletionItem(value) for value in islice(values, MAX_VALUES)]


def _next_part(reference: str, incomplete: str) -> str:
    """The reference up to the end of the part that is being typed."""
    host, slash, rest = reference.partition("/")
    if "/" not in incomplete:
        return host + slash
    repository, colon, _ = rest.partition(":")
    if ":" not in incomplete.partition("/")[2]:
        return f"{host}/{repository}"
    return reference if colon else f"{host}/{repository}"


def _from_cache(path: Path | None, incomplete: str) -> Iterator[str]:
    """Repositories and tags of the cache that begin with `incomplete`."""
    if path is None or not path.is_file():
        return
    host, _, rest = incomplete.partition("/")
    repository, colon, tag = rest.partition(":")
    with (
        suppress(sqlite3.Error, OSError),
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection,
    ):
        if "/" not in incomplete:
            select = "SELECT DISTINCT registry || '/' FROM repositories"
            select += " WHERE substr(registry, 1, ?) = ? LIMIT ?"
            values: tuple[Any, ...] = (len(host), host)
        elif not colon:
            select = "SELECT registry || '/' || repository FROM repositories"
            select += " WHERE registry = ? AND repository <> ''"
            select += " AND substr(repository, 1, ?) = ? LIMIT ?"
            values = (host, len(repository), repository)
        else:
            select = "SELECT registry || '/' || repositories.repository || ':' || tag"
            select += " FROM repositories JOIN tags ON tags.repository = id"
            select += " WHERE registry = ? AND repositories.repository = ?"
            select += " AND substr(tag, 1, ?) = ? LIMIT ?"
            values = (host, repository, len(tag), tag)
        for (one,) in connection.execute(select, (*values, MAX_VALUES)):
            yield one


def _from_config(
    config: Path | None, document: dict[str, Any], incomplete: str
) -> Iterator[str]:
    """Registries, references and lines of lists that the configuration names."""
    if config is None:
        return
    sections = document.get("registry")
    if isinstance(sections, dict):
        names = (name if "/" in name else f"{name}/" for name in sections)
        yield from _beginning(names, incomplete)
    yield from _beginning(_texts(document, "references"), incomplete)
    for name in _texts(document, "lists"):
        with suppress(OSError), (config.parent / name).open(errors="replace") as lines:
            yield from _beginning(_references_of(lines), incomplete)


def _references_of(lines: TextIO) -> Iterator[str]:
    """The first word of each line; lines of documents begin with no host."""
    for line in lines.read(MAX_FILE_CHARS).splitlines():
        words = line.split(maxsplit=1)
        if words and "/" in words[0] and words[0][0].isalnum():
            yield words[0]


def _beginning(values: Iterable[str], incomplete: str) -> Iterator[str]:
    found = (one for one in values if one.startswith(incomplete) and one.isprintable())
    yield from islice(found, MAX_VALUES)


def _texts(document: dict[str, Any], key: str) -> list[str]:
    value = document.get(key)
    return [one for one in value if isinstance(one, str)] if value else []


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8")[:MAX_FILE_CHARS])
    except (OSError, ValueError):
        return {}


def _config_file(context: click.Context) -> Path | None:
    name = context.params.get("config") or os.environ.get("AUDITOR_CONFIG")
    return Path(name).expanduser() if name else None


def _cache_file(context: click.Context, document: dict[str, Any]) -> Path | None:
    name = (
        context.params.get("cache")
        or os.environ.get("AUDITOR_CACHE")
        or document.get("cache")
    )
    if isinstance(name, str) and name:
        return Path(name).expanduser().absolute()
    import platformdirs

    from auditor.cache.database import FILE_NAME

    folder = platformdirs.user_cache_path("auditor", appauthor=False)
    return folder / FILE_NAME if folder.is_absolute() else None
