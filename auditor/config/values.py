"""Kinds of option values: each reads what TOML holds and what a text says."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from auditor.fast_dataclass import dataclass

_SWITCH = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}

# Gives the value as `Settings` holds it; false input raises any `ValueError`.
Reader = Callable[[object], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One kind of value. `wanted` is a noun phrase that says what is right, and `each`
    one for a single value of several: a flag that can be repeated.

    `typed` reads a value that TOML or a command line library has typed, `text` what
    an environment variable or a flag says. A `path` is made whole by the resolver.
    """

    metavar: str
    wanted: str
    typed: Reader
    text: Reader
    choices: tuple[str, ...] = ()
    is_switch: bool = False
    is_path: bool = False
    multiple: bool = False
    each: str | None = None

    def read(self, value: object, *, as_text: bool) -> object:
        """Read a value, or raise `ValueError` with a sentence that says what is right.

        The sentence does not repeat the value.
        """
        try:
            return (self.text if as_text else self.typed)(value)
        except ValueError:
            if self.each is not None and isinstance(value, tuple):
                raise ValueError(f"{self.each} is wanted each time") from None
            raise ValueError(f"{self.wanted} is wanted") from None


def switch() -> Value:
    """Make a yes or no."""

    def typed(value: object) -> bool:
        require(isinstance(value, bool))
        return bool(value)

    def text(value: object) -> bool:
        word = str(value).strip().lower()
        require(word in _SWITCH)
        return _SWITCH[word]

    return Value(
        metavar="BOOLEAN",
        wanted="true or false",
        typed=typed,
        text=text,
        is_switch=True,
    )


def choice(words: type[StrEnum]) -> Value:
    """Make a word of an enumeration."""
    choices = tuple(word.value for word in words)
    return textual(
        "WORD",
        f"{', '.join(choices[:-1])} or {choices[-1]}",
        words,
        choices=choices,
    )


def several(item: Value) -> Value:
    """Make a list of values; in a variable, with commas between them."""

    def typed(value: object) -> tuple[object, ...]:
        require(isinstance(value, list | tuple))
        return tuple(item.typed(one) for one in value)  # type: ignore[attr-defined]

    def text(value: object) -> tuple[object, ...]:
        parts = (part.strip() for part in str(value).split(","))
        return tuple(item.text(part) for part in parts if part)

    return Value(
        metavar=item.metavar,
        wanted=f"a list, with {item.wanted} in each place,",
        typed=typed,
        text=text,
        is_path=item.is_path,
        multiple=True,
        each=item.wanted,
    )


def textual(
    metavar: str,
    wanted: str,
    read: Callable[[str], object],
    *,
    choices: tuple[str, ...] = (),
    is_path: bool = False,
) -> Value:
    """Make a printable text that `read` makes something of, or raises `ValueError`."""

    def typed(value: object) -> object:
        require(isinstance(value, str) and value and value.isprintable())
        return read(str(value))

    return Value(
        metavar=metavar,
        wanted=wanted,
        typed=typed,
        text=typed,
        choices=choices,
        is_path=is_path,
    )


def require(right: object) -> None:
    """Raise the `ValueError` of a wrong value."""
    if not right:
        raise ValueError
