"""Mistakes of a configuration, collected so that all of them are told at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from auditor.errors import ConfigError
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text

_KEY_CHARS = 80


# Gives the lines of a file's keys by their path, as `source_lines` does.
Lines = Callable[[], Mapping[tuple[str | int, ...], int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of a key in a file: as a text, `nightly.toml:3: workers`.

    The lines are asked for by the text only, which only a mistake needs.
    """

    file_name: str | None = None
    lines: Lines = dict
    path: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    def at(self, key: str, *, quoted: bool = False) -> Place:
        """The place of a key in what this is the place of."""
        return replace(
            self,
            path=(*self.path, key),
            shown=(*self.shown, toml_key(key, quoted=quoted)),
        )

    def __str__(self) -> str:
        file = self.file_name or "configuration"
        line = self.lines().get(self.path)
        where = file if line is None else f"{file}:{line}"
        return f"{where}: {'.'.join(self.shown)}"


class Mistakes:
    """Sentences in the order they were found, each after its place."""

    def __init__(self) -> None:
        self._sentences: list[str] = []

    def add(self, place: Place | str, sentence: object) -> None:
        """Note one mistake."""
        self._sentences.append(f"{place}: {sentence}")

    def stop_if_any(self) -> None:
        """Raise `ConfigError` with everything noted so far."""
        if self._sentences:
            raise ConfigError(tuple(self._sentences))


def unknown(what: str, name: str, known: Collection[str]) -> str:
    """Say that nothing has this name, and what nearly has it."""
    from difflib import get_close_matches  # noqa: PLC0415  (for mistakes only)

    near = get_close_matches(name, sorted(known), n=1)
    return f"unknown {what}" + (f"; did you mean {near[0]}?" if near else "")


def toml_key(key: str, *, quoted: bool = False) -> str:
    """A key as TOML writes it (TOML 1.0, "Keys": what is not bare is quoted)."""
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare and not quoted else f'"{safe_text(key, _KEY_CHARS)}"'
