"""Reading a configuration: the only part of this package that opens files."""

from __future__ import annotations

import functools
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from auditor.config.options import BY_NAME
from auditor.config.resolve import Taker, resolve
from auditor.config.settings import Settings
from auditor.config.validation_errors import Mistakes
from auditor.errors import ConfigError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import Pattern

# A section is some 500 bytes: this is a file with two thousand registries.
MAX_CONFIG_BYTES = 1024 * 1024
# Longer than any token or key file that a registry takes for a password.
MAX_PASSWORD_BYTES = 64 * 1024

_PLACE = Pattern(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlFile:
    """What a TOML file says, and its text."""

    document: dict[str, object]
    text: str

    def lines(self) -> dict[tuple[str | int, ...], int]:
        """The lines of its keys, by path: see `source_lines`."""
        return source_lines(self.text)


def load(environment: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """Resolve the settings of a run, with the file that flags or environment name.

    Raises `ConfigError` with every mistake; a file that cannot be read is one.
    """
    path = _path(environment, flags)
    file = read_toml(path) if path else None
    return resolve(
        file=file.document if file else None,
        file_name=path,
        environment=environment,
        flags=flags,
        read_file=read_password,
        lines=functools.cache(file.lines) if file else dict,
    )


def _path(environment: Mapping[str, str], flags: Mapping[str, object]) -> str | None:
    option = BY_NAME["config"]
    given = flags.get(option.name) or environment.get(option.variable or "")
    if not given:
        return None
    return Taker(Mistakes(), home=environment.get("HOME")).whole(str(given))


def read_toml(path: str) -> TomlFile:
    """Read a TOML file; `ConfigError` says `file:line:column: why not`."""
    try:
        data = _read(path, MAX_CONFIG_BYTES)
        text = data.decode("utf-8-sig")
        return TomlFile(document=tomllib.loads(text), text=text)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise ConfigError((f"{path}: {reason}",)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError((f"{path}:{line}: not UTF-8 text",)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((_syntax_error(path, str(error), data),)) from None


def read_password(path: str) -> str:
    """Read a password file, or raise `OSError` or `UnicodeDecodeError`."""
    return _read(path, MAX_PASSWORD_BYTES).decode("utf-8-sig")


def _read(path: str, max_bytes: int) -> bytes:
    with Path(path).open("rb") as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(f"larger than {max_bytes} bytes")
    return data


def _syntax_error(path: str, message: str, data: bytes) -> str:
    # tomllib says the place in its message only (attributes came with Python 3.14).
    place = _PLACE.search(message)
    if place is None:
        return f"{path}: {message}"
    line, column = place.groups()
    if line is None:
        lines = data.decode("utf-8-sig").split("\n")
        line, column = len(lines), len(lines[-1]) + 1
    return f"{path}:{line}:{column}: {message[: place.start()]}"


# -- source_lines --
# On which lines of a TOML file its keys stand: `tomllib` does not say.
#
# The file is taken apart into statements, each of which `tomllib` reads by itself: so
# what stands in a text or a list of several lines is never taken for a key.

# Where a line break may stand within a statement (TOML 1.0, "String", "Array"), and
# what may hide a bracket. No two ways lead through one, so that each is read once.
_TOKEN = re.compile(
    r'"""(?:[^"\\]++|\\[\s\S]|"(?!""))*"{3,5}'
    r"|'''(?:[^']++|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]++|\\.)*"'
    r"|'[^'\n]*+'"
    r"|\#[^\n]*+"
    r"|[\[{]|[\]}]|\n"
)
# No file of ours has keys that are deeper: `[[waivers]]` in a section would be three.
_MOST_PARTS = 8

source_lines_Path = tuple[str | int, ...]


def source_lines(text: str) -> dict[source_lines_Path, int]:
    """Line numbers, from 1, by the path of a section or key; the text is valid TOML.

    `("rules", "production", "max_size")`; `("waivers", 0, "reason")` where the section
    is one of several. What stands in several places is where it stands first.
    """
    lines: dict[source_lines_Path, int] = {}
    counts: Counter[source_lines_Path] = Counter()
    section: source_lines_Path = ()
    for number, statement in _statements(text):
        table = tomllib.loads(statement)
        if statement.startswith("["):
            section = _section(table, counts, several=statement.startswith("[["))
            paths: Iterator[source_lines_Path] = iter(
                section[:length] for length in range(1, len(section) + 1)
            )
        else:
            paths = _paths(table, section)
        for path in paths:
            lines.setdefault(path, number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each header and each pair of a key and its value, with its first line."""
    start = depth = 0
    number = next_number = 1
    for token in _TOKEN.finditer(text):
        found = token[0]
        next_number += found.count("\n")
        if found in "[{":
            depth += 1
        elif found in "]}":
            depth -= 1
        elif found == "\n" and not depth:
            if statement := text[start : token.start()].strip():
                yield number, statement
            start, number = token.end(), next_number
    if statement := text[start:].strip():
        yield number, statement


def _section(
    table: Mapping[str, object], counts: Counter[source_lines_Path], *, several: bool
) -> source_lines_Path:
    """The path of a header, which belongs to the last one of several above it."""
    path: source_lines_Path = ()
    inner: object = table
    while isinstance(inner, dict) and inner and len(path) < _MOST_PARTS:
        name, inner = next(iter(inner.items()))
        path = (*path, name)
        if several and isinstance(inner, list):
            counts[path] += 1
        if counts[path]:
            path = (*path, counts[path] - 1)
    return path


def _paths(
    table: Mapping[str, object], section: source_lines_Path
) -> Iterator[source_lines_Path]:
    """The paths of a key and of those in its inline table."""
    above: list[tuple[source_lines_Path, Mapping[str, object]]] = [(section, table)]
    while above:
        path, inner = above.pop()
        for name, value in inner.items():
            here = (*path, name)
            yield here
            if isinstance(value, dict) and len(here) < _MOST_PARTS:
                above.append((here, value))
