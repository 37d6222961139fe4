"""WWW-Authenticate (RFC 9110 section 11.6.1).

    WWW-Authenticate = #challenge
    challenge        = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
    auth-param       = token BWS "=" BWS ( token / quoted-string )

A comma separates challenges as well as the parameters of one: a token that no "="
follows starts the next challenge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field

from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import Pattern

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # section 5.6.2
_QUOTED = r'"((?:[\t !#-\[\]-~\x80-\U0010ffff]|\\[\t -~\x80-\U0010ffff])*)"'  # 5.6.4
_NEXT = r"(?=[ \t,]|\Z)"

_SEPARATOR = Pattern(r"[ \t,]*")  # section 5.6.1: empty list elements are skipped
_PARAMETER = Pattern(rf"({_TOKEN})[ \t]*=[ \t]*(?:{_QUOTED}|({_TOKEN})){_NEXT}")
_SCHEME = Pattern(rf"({_TOKEN}){_NEXT}(?![ \t]*=)")
_TOKEN68 = Pattern(r"[ \t]+([A-Za-z0-9\-._~+/]+=*)(?=[ \t]*(?:,|\Z))")
_QUOTED_PAIR = Pattern(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way in. `scheme` and the names of `parameters` are lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    token68: str | None = None


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges of all WWW-Authenticate lines, in order.

    Never raises: what stands before damage is kept, the rest of that line is not. Of
    a parameter that stands twice in a challenge the first counts.
    """
    return tuple(challenge for line in values for challenge in _parse_line(line))


def preferred(challenges: Iterable[Challenge]) -> Challenge | None:
    """The challenge to answer: Bearer with a realm, else Basic, else None."""
    basic = None
    for challenge in challenges:
        if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
            return challenge
        if challenge.scheme == "basic" and basic is None:
            basic = challenge
    return basic


def _parse_line(line: str) -> list[Challenge]:
    challenges: list[Challenge] = []
    parameters: dict[str, str] | None = None
    position = _skip(line, 0)
    while position < len(line):
        if found := _PARAMETER.match(line, position):
            if parameters is None:
                break  # a parameter of no challenge
            name, quoted, token = found.groups()
            value = token if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
            parameters.setdefault(name.lower(), value)
        elif found := _SCHEME.match(line, position):
            scheme, parameters, token68 = found[1].lower(), {}, None
            if credentials := _TOKEN68.match(line, found.end()):
                found, token68 = credentials, credentials[1]
            challenges.append(
                Challenge(scheme=scheme, parameters=parameters, token68=token68)
            )
        else:
            break
        position = _skip(line, found.end())
    return challenges


def _skip(line: str, position: int) -> int:
    found = _SEPARATOR.match(line, position)
    return found.end() if found else position
