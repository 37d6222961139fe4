"""Kinds of option values: each reads what TOML holds and what a text says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import StrEnum

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci import reference_grammar as grammar
from auditor.oci.platform import read_platform
from auditor.oci.reference import is_repository, namespace_name, registry_name
from auditor.oci.reference_grammar import ANY_DEPTH
from auditor.util.lazy_regex import Pattern
from auditor.util.shard import MAX_SHARDS, Shard, parse_shard
from auditor.util.time_span import parse_since
from auditor.wire.login import is_username
from auditor.wire.proxy import NONE, Proxy, parse_proxy
from auditor.wire.url_policy import check_url, origin_of

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


# -- numbers --
# Values that are numbers: counts, sizes, spans of time.

_WHOLE = Pattern(r"[+-]?[0-9]+(_[0-9]+)*")
_SPAN = Pattern(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?")
_SPAN_UNITS_S = (3600, 60, 1)
_SIZE = Pattern(r"([0-9]{1,15})([KMGT]?)i?B?", re.IGNORECASE)
_SIZE_UNITS = ("", "K", "M", "G", "T")


def whole(least: int, most: int) -> Value:
    """Make a whole number within bounds (both included)."""

    def typed(value: object) -> int:
        require(type(value) is int and least <= value <= most)
        return value  # type: ignore[return-value]

    def text(value: object) -> int:
        digits = str(value).strip()
        require(_WHOLE.fullmatch(digits))
        return typed(int(digits))

    wanted = f"a whole number from {least} to {most}"
    return Value(metavar="N", wanted=wanted, typed=typed, text=text)


def seconds(least: float, most: float) -> Value:
    """Make a span of time within bounds (both included)."""
    return _number(
        "SECONDS", f"a number of seconds from {least:.15g} to {most:.15g}", least, most
    )


def number(least: float, most: float) -> Value:
    """Make a number within bounds (both included)."""
    return _number("N", f"a number from {least:.15g} to {most:.15g}", least, most)


def _number(metavar: str, wanted: str, least: float, most: float) -> Value:
    def typed(value: object) -> float:
        require(type(value) in (int, float))
        found = float(value)  # type: ignore[arg-type]
        require(math.isfinite(found) and least <= found <= most)
        return found

    def text(value: object) -> float:
        return typed(float(str(value)))

    return Value(metavar=metavar, wanted=wanted, typed=typed, text=text)


def span(least: float, most: float) -> Value:
    """Make a span of time within bounds: seconds, or with units, as in `1h30m`."""

    def typed(value: object) -> float:
        if isinstance(value, str):
            return text(value)
        return plain.typed(value)  # type: ignore[return-value]

    def text(value: object) -> float:
        match = _SPAN.fullmatch(str(value).strip())
        if match is None or not match[0]:
            return plain.text(value)  # type: ignore[return-value]
        parts = zip(match.groups(default="0"), _SPAN_UNITS_S, strict=True)
        return plain.typed(sum(int(count) * unit_s for count, unit_s in parts))  # type: ignore[return-value]

    plain = seconds(least, most)
    wanted = f"{plain.wanted}, or a time such as 90m or 1h30m,"
    return Value(metavar="DURATION", wanted=wanted, typed=typed, text=text)


def size(least: int, most: int) -> Value:
    """Make a number of bytes within bounds, or one with K, M, G or T (of 1024)."""

    def typed(value: object) -> int:
        return text(value) if isinstance(value, str) else plain.typed(value)  # type: ignore[return-value]

    def text(value: object) -> int:
        match = _SIZE.fullmatch(str(value).strip())
        require(match)
        assert match is not None
        number, unit = match.groups()
        return plain.typed(int(number) * 1024 ** _SIZE_UNITS.index(unit.upper()))  # type: ignore[return-value]

    plain = whole(least, most)
    wanted = f"{plain.wanted}, or a size such as 500M or 2G,"
    return Value(metavar="SIZE", wanted=wanted, typed=typed, text=text)


# -- texts --
# Values that are texts, each with the grammar that it has where it is used.

# POSIX.1-2024, Base Definitions 8.1, with the lower case that shells also take.
_VARIABLE = Pattern(r"[A-Za-z_][A-Za-z0-9_]*")
# A host name, an IPv4 address, or an IPv6 address without brackets.
_HOST = Pattern(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PORT = Pattern(r":[0-9]+/?$")
# Any name; a bracket opens a class that is closed.
_LABEL = Pattern(r"(?:[^][]|\[!?[^][]+\])+")
_CLASS = Pattern(r"\[!?([^]]+)\]")
_RANGE = Pattern(r"(.)-(.)")


def _username(text: str) -> str:
    require(is_username(text))
    return text


def _variable(text: str) -> str:
    require(_VARIABLE.fullmatch(text))
    return text


def _url(text: str) -> str:
    # Read as the network code will read it, so that nothing is a surprise there.
    try:
        check_url(text, kind=FailureKind.REALM_REFUSED)
        origin_of(text)
    except ProtocolError:
        require(None)
    require("#" not in text)
    return text


def _proxy(text: str) -> str:
    if text != NONE:
        # A word alone is a slip (`non`, `off`) rather than a proxy at port 80.
        require("://" in text or _PORT.search(text))
        found = parse_proxy(text, "")
        # A password belongs in HTTPS_PROXY, not in a file or a list of processes.
        require(isinstance(found, Proxy) and found.authorization is None)
    return text


def _mirror(text: str) -> str:
    try:
        return namespace_name(text) if "/" in text else registry_name(text)
    except ProtocolError:
        raise ValueError from None


def _host(text: str) -> str:
    v6 = "%" not in text and grammar.is_ipv6(f"[{text}]")  # no zone of this machine
    require(v6 or _HOST.fullmatch(text))
    return text.lower()


def _label(text: str) -> str:
    require(_LABEL.fullmatch(text) and _has_right_ranges(text))
    return text


def _tag_pattern(text: str) -> str:
    require(re.fullmatch(grammar.TAG_PATTERN, text) and _has_right_ranges(text))
    require(len(text) <= grammar.MAX_PATTERN_CHARS)
    return text


def _path_pattern(text: str) -> str:
    require(re.fullmatch(grammar.PATH_PATTERN, text) and _has_right_ranges(text))
    require(len(text) <= grammar.MAX_PATH_PATTERN_CHARS)
    return ANY_DEPTH if text == "*" else text  # as in a reference


def _has_right_ranges(pattern: str) -> bool:
    """Whether no range is upside down, as in [9-0], which stands for nothing."""
    return all(
        low <= high
        for inside in _CLASS.findall(pattern)
        for low, high in _RANGE.findall(inside)
    )


def _since(text: str) -> str:
    parse_since(text)
    return text


def _platform(text: str) -> str:
    try:
        read_platform(text)
    except ProtocolError:
        require(None)
    return text


def _shard(text: str) -> Shard:
    try:
        return parse_shard(text)
    except ProtocolError:
        raise ValueError from None


def _repository(text: str) -> str:
    require(is_repository(text))
    return text


TEXT = textual("TEXT", "a text without control characters", str)
PATH = textual("FILE", "a path", str, is_path=True)
# Checked where lists are, one by one: a wrong one is a failure record.
REFERENCE = textual("REFERENCE", "a reference", str)
USERNAME = textual("NAME", "a name without colons and control characters", _username)
VARIABLE = textual("VARIABLE", "the name of an environment variable", _variable)
URL = textual("URL", "an http or https URL without user and fragment", _url)
MIRROR = textual("HOST", "HOST[:PORT] or HOST[:PORT]/NAMESPACE", _mirror)
PROXY = textual(
    "URL", "an http or https URL without user and password, or none,", _proxy
)
HOST = textual("HOST", "a host name or address without scheme and port", _host)
PLATFORM = textual(
    "OS/ARCH[/VARIANT]", "a platform such as linux/arm64 or linux/arm/v7", _platform
)
LABEL = textual("PATTERN", "a name or pattern (*, ?, [a-z])", _label)
SHARD = textual(
    "I/N", f"a share such as 2/8 or auto/8, of at most {MAX_SHARDS:,},", _shard
)
TAG_PATTERN = textual(
    "PATTERN", "a pattern of tags such as 1.* or *-rc[0-9]", _tag_pattern
)
REPOSITORY_PATTERN = textual(
    "PATTERN", "a pattern of repositories such as team/** or */app", _path_pattern
)
SINCE = textual("SPAN|DATE", "a span such as 30d or 12h, or a date", _since)
REPOSITORY = textual("NAME", "the name of a namespace or repository", _repository)
