"""Types of option values: each reads what TOML holds and what a text says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import StrEnum

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci import reference_grammar as grammar
from auditor.oci.platform import parse_platform
from auditor.oci.reference import (
    ANY_DEPTH,
    is_repository,
    parse_namespace,
    parse_registry,
)
from auditor.util.lazy_regex import LazyPattern
from auditor.util.shard import MAX_SHARDS, Shard, parse_shard
from auditor.util.time_span import parse_since
from auditor.wire.credential import is_username
from auditor.wire.proxy import NO_PROXY, Proxy, parse_proxy
from auditor.wire.url_policy import check_url, origin_of

# Returns the value as `Settings` holds it, or raises `ValueError`.
Reader = Callable[[object], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueType:
    """One type of value.

    `expected` completes the sentence "must be ..."; `each_expected` does so for one
    value of a list. `from_toml` reads a value that TOML or click has typed, `from_text`
    one of an environment variable or a flag. A path (`is_path`) is made absolute by
    the caller. `field_suffix` ends the name of the field in `Settings`: its unit.
    """

    metavar: str
    expected: str
    from_toml: Reader
    from_text: Reader
    choices: tuple[str, ...] = ()
    is_switch: bool = False
    is_path: bool = False
    is_list: bool = False
    each_expected: str | None = None
    field_suffix: str = ""

    def read(self, value: object, *, as_text: bool) -> object:
        """Read a value, or raise `ValueError` with a sentence about what it must be.

        The sentence does not contain the value, which may be a secret.
        """
        try:
            return (self.from_text if as_text else self.from_toml)(value)
        except ValueError:
            if self.each_expected is not None and isinstance(value, tuple):
                raise ValueError(f"each value must be {self.each_expected}") from None
            raise ValueError(f"must be {self.expected}") from None


def require(condition: object) -> None:
    """Raise a `ValueError` without text if the condition is false."""
    if not condition:
        raise ValueError


# -- general types ---------------------------------------------------------------

_BOOLEANS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


def boolean() -> ValueType:
    """True or false; its flag takes no value."""

    def from_toml(value: object) -> bool:
        require(isinstance(value, bool))
        return bool(value)

    def from_text(value: object) -> bool:
        word = str(value).strip().lower()
        require(word in _BOOLEANS)
        return _BOOLEANS[word]

    return ValueType(
        metavar="BOOLEAN",
        expected="true or false",
        from_toml=from_toml,
        from_text=from_text,
        is_switch=True,
    )


def member_of(enum: type[StrEnum]) -> ValueType:
    """A member of an enumeration, by its value."""
    choices = tuple(member.value for member in enum)
    expected = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return text_type("WORD", expected, enum, choices=choices)


def list_of(item: ValueType) -> ValueType:
    """A list of values; an environment variable separates them by commas."""

    def from_toml(value: object) -> tuple[object, ...]:
        require(isinstance(value, list | tuple))
        return tuple(map(item.from_toml, value))  # type: ignore[call-overload]

    def from_text(value: object) -> tuple[object, ...]:
        parts = (part.strip() for part in str(value).split(","))
        return tuple(item.from_text(part) for part in parts if part)

    return ValueType(
        metavar=item.metavar,
        expected=f"a list; each item must be {item.expected}",
        from_toml=from_toml,
        from_text=from_text,
        is_path=item.is_path,
        is_list=True,
        each_expected=item.expected,
    )


def text_type(
    metavar: str,
    expected: str,
    parse: Callable[[str], object],
    *,
    choices: tuple[str, ...] = (),
    is_path: bool = False,
) -> ValueType:
    """A printable text that `parse` converts, or refuses with a `ValueError`."""

    def read(value: object) -> object:
        require(isinstance(value, str) and value and value.isprintable())
        return parse(str(value))

    return ValueType(
        metavar=metavar,
        expected=expected,
        from_toml=read,
        from_text=read,
        choices=choices,
        is_path=is_path,
    )


# -- numbers ---------------------------------------------------------------------
# Bounds are inclusive.

_INTEGER = LazyPattern(r"[+-]?[0-9]+(_[0-9]+)*")
_DURATION = LazyPattern(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?")
_DURATION_UNITS_S = (3600, 60, 1)
_SIZE = LazyPattern(r"([0-9]{1,15})([KMGT]?)i?B?", re.IGNORECASE)
_SIZE_UNITS = ("", "K", "M", "G", "T")


def integer(least: int, most: int) -> ValueType:
    """A whole number."""

    def from_toml(value: object) -> int:
        require(type(value) is int and least <= value <= most)
        return value  # type: ignore[return-value]

    def from_text(value: object) -> int:
        digits = str(value).strip()
        require(_INTEGER.fullmatch(digits))
        return from_toml(int(digits))

    return ValueType(
        metavar="N",
        expected=f"a whole number from {least} to {most}",
        from_toml=from_toml,
        from_text=from_text,
    )


def number(least: float, most: float, *, what: str = "a number") -> ValueType:
    """A finite number."""

    def from_toml(value: object) -> float:
        require(type(value) in (int, float))
        converted = float(value)  # type: ignore[arg-type]
        require(math.isfinite(converted) and least <= converted <= most)
        return converted

    def from_text(value: object) -> float:
        return from_toml(float(str(value)))

    return ValueType(
        metavar="N",
        expected=f"{what} from {least:.15g} to {most:.15g}",
        from_toml=from_toml,
        from_text=from_text,
    )


def duration(least_s: float, most_s: float) -> ValueType:
    """A duration in seconds: a number of seconds, or units as in `1h30m`."""
    seconds = number(least_s, most_s, what="a number of seconds")

    def from_toml(value: object) -> object:
        return from_text(value) if isinstance(value, str) else seconds.from_toml(value)

    def from_text(value: object) -> object:
        match = _DURATION.fullmatch(str(value).strip())
        if match is None or not match[0]:
            return seconds.from_text(value)
        parts = zip(match.groups(default="0"), _DURATION_UNITS_S, strict=True)
        return seconds.from_toml(sum(int(count) * unit_s for count, unit_s in parts))

    return ValueType(
        metavar="DURATION",
        expected=f"{seconds.expected}, or a duration such as 90m or 1h30m",
        from_toml=from_toml,
        from_text=from_text,
        field_suffix="_s",
    )


def byte_size(least: int, most: int) -> ValueType:
    """A number of bytes, or one with the unit K, M, G or T (powers of 1024)."""
    whole = integer(least, most)

    def from_toml(value: object) -> object:
        return from_text(value) if isinstance(value, str) else whole.from_toml(value)

    def from_text(value: object) -> object:
        match = _SIZE.fullmatch(str(value).strip())
        require(match)
        assert match is not None
        count, unit = match.groups()
        return whole.from_toml(int(count) * 1024 ** _SIZE_UNITS.index(unit.upper()))

    return ValueType(
        metavar="SIZE",
        expected=f"{whole.expected}, or a size such as 500M or 2G",
        from_toml=from_toml,
        from_text=from_text,
    )


# -- texts -----------------------------------------------------------------------
# Each is parsed by the grammar that applies where the value is used.

# POSIX.1-2024, Base Definitions 8.1, and the lower case letters that shells accept.
_VARIABLE = LazyPattern(r"[A-Za-z_][A-Za-z0-9_]*")
# A host name, an IPv4 address, or an IPv6 address without brackets.
_HOST = LazyPattern(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PORT = LazyPattern(r":[0-9]+/?$")
# Any name; every bracket that opens a class is closed.
_LABEL = LazyPattern(r"(?:[^][]|\[!?[^][]+\])+")
_CLASS = LazyPattern(r"\[!?([^]]+)\]")
_RANGE = LazyPattern(r"(.)-(.)")


def _checked(is_valid: Callable[[str], object]) -> Callable[[str], str]:
    """Return a parser that returns the text itself if it is valid.

    `is_valid` returns false, or raises `ValueError` or `ProtocolError`, if it is not.
    """

    def parse(text: str) -> str:
        try:
            require(is_valid(text))
        except ProtocolError:
            raise ValueError from None
        return text

    return parse


def _is_url(text: str) -> bool:
    # With the functions of the network code, so that both accept the same URLs.
    check_url(text, kind=FailureKind.REALM_REFUSED)
    origin_of(text)
    return "#" not in text


def _is_proxy(text: str) -> bool:
    if text == NO_PROXY:
        return True
    # A single word is a typo (`non`, `off`) rather than a proxy on port 80.
    if "://" not in text and not _PORT.search(text):
        return False
    proxy = parse_proxy(text, "")
    # A password belongs in HTTPS_PROXY, not in a file or in the list of processes.
    return isinstance(proxy, Proxy) and proxy.authorization is None


def _mirror(text: str) -> str:
    try:
        return parse_namespace(text) if "/" in text else parse_registry(text)
    except ProtocolError:
        raise ValueError from None


def _host(text: str) -> str:
    is_v6 = "%" not in text and grammar.is_ipv6(f"[{text}]")  # no zone of this machine
    require(is_v6 or _HOST.fullmatch(text))
    return text.lower()


def _is_label(text: str) -> bool:
    return bool(_LABEL.fullmatch(text)) and _has_ordered_ranges(text)


def _is_tag_pattern(text: str) -> bool:
    return (
        re.fullmatch(grammar.TAG_PATTERN, text) is not None
        and _has_ordered_ranges(text)
        and len(text) <= grammar.MAX_PATTERN_CHARS
    )


def _repository_pattern(text: str) -> str:
    require(re.fullmatch(grammar.PATH_PATTERN, text) and _has_ordered_ranges(text))
    require(len(text) <= grammar.MAX_PATH_PATTERN_CHARS)
    return ANY_DEPTH if text == "*" else text  # as in a reference


def _has_ordered_ranges(pattern: str) -> bool:
    """Whether every range can match: [9-0] matches nothing."""
    return all(
        low <= high
        for characters in _CLASS.findall(pattern)
        for low, high in _RANGE.findall(characters)
    )


def _shard(text: str) -> Shard:
    try:
        return parse_shard(text)
    except ProtocolError:
        raise ValueError from None


TEXT = text_type("TEXT", "a text without control characters", str)
PATH = text_type("FILE", "a path", str, is_path=True)
# Parsed when the input is read: an invalid one becomes a failure record.
REFERENCE = text_type("REFERENCE", "a reference", str)
USERNAME = text_type(
    "NAME", "a name without colons and control characters", _checked(is_username)
)
VARIABLE = text_type(
    "VARIABLE", "the name of an environment variable", _checked(_VARIABLE.fullmatch)
)
URL = text_type(
    "URL", "an http or https URL without user and fragment", _checked(_is_url)
)
MIRROR = text_type("HOST", "HOST[:PORT] or HOST[:PORT]/NAMESPACE", _mirror)
PROXY = text_type(
    "URL",
    "an http or https URL without user and password, or none",
    _checked(_is_proxy),
)
HOST = text_type("HOST", "a host name or address without scheme and port", _host)
PLATFORM = text_type(
    "OS/ARCH[/VARIANT]",
    "a platform such as linux/arm64 or linux/arm/v7",
    _checked(parse_platform),
)
LABEL = text_type("PATTERN", "a name or pattern (*, ?, [a-z])", _checked(_is_label))
SHARD = text_type(
    "I/N", f"a shard such as 2/8 or auto/8 (at most {MAX_SHARDS:,})", _shard
)
TAG_PATTERN = text_type(
    "PATTERN", "a tag pattern such as 1.* or *-rc[0-9]", _checked(_is_tag_pattern)
)
REPOSITORY_PATTERN = text_type(
    "PATTERN", "a repository pattern such as team/** or */app", _repository_pattern
)
SINCE = text_type(
    "DURATION|DATE",
    "a duration (30d, 12h) or a date (2026-01-31)",
    _checked(parse_since),
)
REPOSITORY = text_type(
    "NAME", "the name of a namespace or repository", _checked(is_repository)
)
