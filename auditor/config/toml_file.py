"""Reading a configuration: the only part of this package that opens files."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path

from auditor.config.options import BY_NAME
from auditor.config.resolve import resolve
from auditor.config.settings import Settings
from auditor.config.taker import Taker
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
        from auditor.config.source_lines import (  # noqa: PLC0415  (for mistakes)
            source_lines,
        )

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
