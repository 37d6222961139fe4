"""Mistakes of a configuration, collected so that all of them are told at once."""

from __future__ import annotations

from collections.abc import Collection

from auditor.errors import ConfigError
from auditor.safe_text import safe_text

_KEY_CHARS = 80


class Mistakes:
    """Sentences in the order they were found, each after its place."""

    def __init__(self) -> None:
        self._sentences: list[str] = []

    def add(self, place: str, sentence: object) -> None:
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


def key_path(file_name: str | None, key: str) -> str:
    """The place of a key at the top of a file: `nightly.toml: workers`."""
    return f"{file_name or 'configuration'}: {toml_key(key)}"


def toml_key(key: str, *, quoted: bool = False) -> str:
    """A key as TOML writes it (TOML 1.0, "Keys": what is not bare is quoted)."""
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare and not quoted else f'"{safe_text(key, _KEY_CHARS)}"'
