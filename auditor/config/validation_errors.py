"""Errors in a configuration, collected so that all of them are reported at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from auditor.errors import ConfigError
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text

_KEY_CHARS = 80

# Returns the line numbers of a file's keys by their path, as `source_lines` does.
Lines = Callable[[], Mapping[tuple[str | int, ...], int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLocation:
    """The location of a key in a file; as text `nightly.toml:3: workers`.

    `lines` is called only when an error is printed.
    """

    file_name: str | None = None
    lines: Lines = dict
    path: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    def at(self, key: str, *, quoted: bool = False) -> KeyLocation:
        """The location of a key below this one."""
        return replace(
            self,
            path=(*self.path, key),
            shown=(*self.shown, toml_key(key, quoted=quoted)),
        )

    @property
    def file_and_line(self) -> str:
        """`nightly.toml:3`."""
        file = self.file_name or "configuration"
        line = self.lines().get(self.path)
        return file if line is None else f"{file}:{line}"

    def __str__(self) -> str:
        return f"{self.file_and_line}: {'.'.join(self.shown)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginLocation:
    """Where a password comes from; as text `password_env REGPW (nightly.toml:4)`.

    `key` is the location of `password_env` or `password_file`, `value` its value.
    """

    key: KeyLocation
    value: str

    def __str__(self) -> str:
        return f"{self.key.path[-1]} {self.value} ({self.key.file_and_line})"


class ValidationErrors:
    """Sentences in the order in which they were found, each after its location."""

    def __init__(self) -> None:
        self._sentences: list[str] = []

    def add(self, location: KeyLocation | str, sentence: object) -> None:
        """Add one error; `location` is a key in a file, a flag or a variable."""
        self._sentences.append(f"{location}: {sentence}")

    def raise_if_any(self) -> None:
        """Raise `ConfigError` with all errors added so far."""
        if self._sentences:
            raise ConfigError(tuple(self._sentences))


def unknown(what: str, name: str, valid: Collection[str]) -> str:
    """The sentence for an unknown name, with the most similar valid one."""
    from difflib import get_close_matches  # noqa: PLC0415  (for errors only)

    near = get_close_matches(name, sorted(valid), n=1)
    return f"unknown {what}" + (f"; did you mean {near[0]}?" if near else "")


def toml_key(key: str, *, quoted: bool = False) -> str:
    """A key in TOML syntax (TOML 1.0, "Keys"): quoted unless it is a bare key."""
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare and not quoted else f'"{safe_text(key, _KEY_CHARS)}"'
