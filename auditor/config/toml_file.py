"""Reads TOML, password and key files, and finds the lines of keys for error messages.

The only file of this package that opens files.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from auditor.errors import ConfigError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern

# A section is about 500 bytes: this is a file with two thousand registries.
MAX_CONFIG_BYTES = 1024 * 1024
# Longer than any token or key file that a registry accepts as a password.
MAX_PASSWORD_BYTES = 64 * 1024

# The bundle of all public authorities has 220 KB.
MAX_KEY_BYTES = 1024 * 1024
CERTIFICATE_SUFFIXES = frozenset({".pem", ".crt", ".cer"})

# For a key or a value beyond these, `tomllib` takes quadratic time, or too many frames.
# A configuration has four levels; an integer of Python has at most 4,300 digits.
MAX_LEVELS = 32
MAX_DIGITS = 100

_POSITION = LazyPattern(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlFile:
    """A parsed TOML file and its text."""

    document: dict[str, object]
    text: str

    def lines(self) -> dict[tuple[str | int, ...], int]:
        """The line numbers of the keys, by path: see `source_lines`."""
        return source_lines(self.text)


def read_toml(path: str) -> TomlFile:
    """Read a TOML file, or raise a `ConfigError`: `file:line:column: reason`."""
    try:
        data = _read(path, MAX_CONFIG_BYTES)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise ConfigError((f"{path}: {reason}",)) from None
    return parse_toml(data, path)


def parse_toml(data: bytes, path: str) -> TomlFile:
    """Parse the content of a TOML file; raises like `read_toml`."""
    try:
        text = data.decode("utf-8-sig")
        _check_limits(text, path)
        return TomlFile(document=tomllib.loads(text), text=text)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError((f"{path}:{line}: not UTF-8 text",)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((_syntax_error(path, str(error), data),)) from None


def read_password(path: str) -> str:
    """Read a password file, or raise `OSError` or `UnicodeDecodeError`."""
    return _read(path, MAX_PASSWORD_BYTES).decode("utf-8-sig")


def key_files(path: str) -> list[str]:
    """The path, or the certificates in the folder that it names, sorted by name.

    As in a trust store of notation, other files and folders inside are ignored. Raises
    `OSError`, also for a folder without any.
    """
    folder = Path(path)
    if not folder.is_dir():
        return [path]
    names = sorted(
        str(file)
        for file in folder.iterdir()
        if file.suffix in CERTIFICATE_SUFFIXES and file.is_file()
    )
    if not names:
        raise OSError("the folder has no .pem, .crt or .cer file")
    return names


def read_key_file(path: str) -> bytes:
    """Read a file with public keys or certificates, or raise `OSError`."""
    return _read(path, MAX_KEY_BYTES)


def _read(path: str, max_bytes: int) -> bytes:
    with Path(path).open("rb") as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(f"larger than {max_bytes} bytes")
    return data


def _syntax_error(path: str, message: str, data: bytes) -> str:
    # Only the message of tomllib has the position (attributes came in Python 3.14).
    position = _POSITION.search(message)
    if position is None:
        return f"{path}: not TOML: {message}"
    line, column = position.groups()
    if line is None:
        lines = data.decode("utf-8-sig").split("\n")
        line, column = len(lines), len(lines[-1]) + 1
    return f"{path}:{line}:{column}: not TOML: {message[: position.start()]}"


# -- lines of keys ---------------------------------------------------------------
# `tomllib` does not report them. The file is split into statements, and `tomllib`
# parses each by itself: so text inside a string or a list is never taken for a key.

# Tokens in which a line break may occur (TOML 1.0, "String", "Array"), and those that
# may contain a bracket. Only one alternative matches at each place, and a string that
# is not closed is a token, too: linear time.
_TOKEN_SOURCE = (
    r'"""(?:[^"\\]++|\\[\s\S]|"(?!""))*+(?:"{3,5})?'
    r"|'''(?:[^']++|'(?!''))*+(?:'{3,5})?"
    r'|"(?:[^"\\\n]++|\\.)*+"?'
    r"|'[^'\n]*+'?"
    r"|\#[^\n]*+"
    r"|[\[{]|[\]}]|\n"
)
_TOKEN = LazyPattern(_TOKEN_SOURCE)
# Deeper than any key of a configuration or a policy.
_MAX_PATH_PARTS = 8

# Also the tokens that `_check_limits` counts: the dots of a key, what ends one, and a
# number that is too long.
_LIMITED_TOKEN = LazyPattern(
    rf"{_TOKEN_SOURCE}|[.,=]|(?<![A-Za-z0-9_-])[+-]?[0-9][0-9A-Za-z_]{{{MAX_DIGITS},}}+"
)

KeyPath = tuple[str | int, ...]


def _check_limits(text: str, path: str) -> None:
    """Raise a `ConfigError` for nesting, a dotted key or a number beyond the limits."""
    depth = dots = 0
    for token in _LIMITED_TOKEN.finditer(text):
        symbol = token[0]
        if symbol in "[{":
            depth += 1
        elif symbol in "]}":
            depth -= 1
        dots = dots + 1 if symbol == "." else 0 if symbol in ",=[{]}\n" else dots
        if depth > MAX_LEVELS:
            reason = f"more than {MAX_LEVELS} levels of brackets"
        elif dots >= MAX_LEVELS:
            reason = f"a key with more than {MAX_LEVELS} parts"
        elif len(symbol) > MAX_DIGITS and symbol[0] not in "\"'#":
            reason = f"a number or key with more than {MAX_DIGITS} characters"
        else:
            continue
        start = token.start()
        line = text.count("\n", 0, start) + 1
        column = start - text.rfind("\n", 0, start)
        raise ConfigError((f"{path}:{line}:{column}: {reason}",))


def source_lines(text: str) -> dict[KeyPath, int]:
    """Line numbers, from 1, by the path of a section or key, of valid TOML.

    `("rules", "production", "max_size")`; `("waivers", 0, "reason")` in an array of
    tables. A table defined in several places has its first line.
    """
    lines: dict[KeyPath, int] = {}
    counts: Counter[KeyPath] = Counter()
    section: KeyPath = ()
    for number, statement in _statements(text):
        table = tomllib.loads(statement)
        if statement.startswith("["):
            section = _section(table, counts, is_array=statement.startswith("[["))
            paths: Iterator[KeyPath] = iter(
                section[:length] for length in range(1, len(section) + 1)
            )
        else:
            paths = _paths(table, section)
        for path in paths:
            lines.setdefault(path, number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each header and each key/value pair with its first line."""
    start = depth = 0
    number = next_number = 1
    for token in _TOKEN.finditer(text):
        symbol = token[0]
        next_number += symbol.count("\n")
        if symbol in "[{":
            depth += 1
        elif symbol in "]}":
            depth -= 1
        elif symbol == "\n" and not depth:
            if statement := text[start : token.start()].strip():
                yield number, statement
            start, number = token.end(), next_number
    if statement := text[start:].strip():
        yield number, statement


def _section(
    table: Mapping[str, object], counts: Counter[KeyPath], *, is_array: bool
) -> KeyPath:
    """The path of a header; in an array of tables it belongs to the last one."""
    path: KeyPath = ()
    inner: object = table
    while isinstance(inner, dict) and inner and len(path) < _MAX_PATH_PARTS:
        name, inner = next(iter(inner.items()))
        path = (*path, name)
        if is_array and isinstance(inner, list):
            counts[path] += 1
        if counts[path]:
            path = (*path, counts[path] - 1)
    return path


def _paths(table: Mapping[str, object], section: KeyPath) -> Iterator[KeyPath]:
    """Yield the paths of a key and of the keys in its inline table."""
    for name, value in table.items():
        path = (*section, name)
        yield path
        if isinstance(value, dict) and len(path) < _MAX_PATH_PARTS:
            yield from _paths(value, path)
