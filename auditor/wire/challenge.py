"""WWW-Authenticate (RFC 9110 section 11.6.1).

    WWW-Authenticate = #challenge
    challenge        = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
    auth-param       = token BWS "=" BWS ( token / quoted-string )

A comma separates challenges as well as the parameters of one: a token that no "="
follows starts the next challenge.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import field

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_text

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # section 5.6.2
_QUOTED = r'"((?:[\t !#-\[\]-~\x80-\U0010ffff]|\\[\t -~\x80-\U0010ffff])*)"'  # 5.6.4
_NEXT = r"(?=[ \t,]|\Z)"

_SEPARATOR = LazyPattern(r"[ \t,]*")  # section 5.6.1: empty list elements are skipped
_PARAMETER = LazyPattern(rf"({_TOKEN})[ \t]*=[ \t]*(?:{_QUOTED}|({_TOKEN})){_NEXT}")
_SCHEME = LazyPattern(rf"({_TOKEN}){_NEXT}(?![ \t]*=)")
_TOKEN68 = LazyPattern(r"[ \t]+([A-Za-z0-9\-._~+/]+=*)(?=[ \t]*(?:,|\Z))")
_QUOTED_PAIR = LazyPattern(r"\\(.)", re.DOTALL)


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


def preferred_challenge(challenges: Iterable[Challenge]) -> Challenge | None:
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


# -- scope --
# Scopes: what a token is asked for.
#
# Grammar: distribution, "Docker Registry Token Scope and Access", section "Resource
# Scope Grammar"; the characters of a name are those of RFC 6749 section 3.3.
#
#     resourcescope := resourcetype ":" resourcename ":" action [ "," action ]*
#     resourcetype  := [a-z0-9]+ [ "(" class ")" ]
#
# A name may hold a colon (the port of a host), a type and an action never do.

_SCOPE = LazyPattern(
    r"(?P<type>[a-z0-9]+)(?:\((?P<class>[a-z0-9]+)\))?"
    r":(?P<name>[!#-\[\]-~]+)"
    r":(?P<actions>[A-Za-z_*,-]*)"
)
_ACTION = LazyPattern(r"[A-Za-z_-]+|\*")

# Actions that change nothing: distribution's, and ACR's
# (learn.microsoft.com, "Create a token with repository-scoped permissions").
_READING = frozenset({"pull", "content_read", "metadata_read"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One resource scope. `actions` are kept sorted and unique.

    `resource_class` is what the type holds in brackets: `plugin` in
    `repository(plugin)`. Equal scopes have equal texts.
    """

    type: str
    resource_class: str | None
    name: str
    actions: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "actions", tuple(sorted(set(self.actions))))

    def __str__(self) -> str:
        of_class = f"({self.resource_class})" if self.resource_class else ""
        return f"{self.type}{of_class}:{self.name}:{','.join(self.actions)}"


CATALOG_SCOPE = Scope(
    type="registry", resource_class=None, name="catalog", actions=("*",)
)


# As many as there are repositories under way at once, and some more.
@functools.lru_cache(maxsize=1024)
def pull_scope(repository: str) -> Scope:
    """The right to pull from one repository."""
    return repository_scope(repository, ("pull",))


def repository_scope(repository: str, actions: Iterable[str]) -> Scope:
    """The right to do these things in one repository."""
    return Scope(
        type="repository",
        resource_class=None,
        name=repository,
        actions=tuple(actions),
    )


def parse_actions(text: str) -> tuple[str, ...]:
    """`pull,push`: the actions of a scope, sorted; `ProtocolError` for what is none."""
    actions = text.split(",")
    if not all(_ACTION.fullmatch(action) for action in actions):
        raise ProtocolError(
            f'"{safe_text(text, 80)}" is no list of actions;'
            " one looks like pull,push,delete"
        )
    return tuple(sorted(set(actions)))


def beyond_pull(actions: Iterable[str], allowed: Iterable[str] = ()) -> tuple[str, ...]:
    """Those of the actions that can change something, sorted; `*` is all of them.

    Without those that are `allowed`.
    """
    return tuple(sorted(set(actions) - _READING - set(allowed)))


def parse_scope(text: str) -> Scope:
    """One scope; `ProtocolError(PROTOCOL_VIOLATION)` for anything else."""
    found = _SCOPE.fullmatch(text)
    if found is None:
        raise ProtocolError(
            f'"{safe_text(text, 80)}" is not a scope;'
            " one looks like repository:team/app:pull"
        )
    return Scope(
        type=found["type"],
        resource_class=found["class"],
        name=found["name"],
        actions=tuple(action for action in found["actions"].split(",") if action),
    )


def wider_scope(asked: Scope, said: str | None) -> Scope | None:
    """The scope that a 401 asks for beyond the one its token was asked for.

    ACR wants `metadata_read` for a list of tags. Null where nothing is wanted beyond
    it, or where something else is named: some products put a placeholder there
    (GHCR: `repository:user/image:pull`), and a registry has no say in what other
    resource it is given a token for.
    """
    try:
        scope = parse_scope(said or "")
    except ProtocolError:
        return None
    if (scope.type, scope.name) != (asked.type, asked.name):
        return None
    # Whoever audits never asks for more than reading.
    more = tuple(action for action in scope.actions if action in _READING)
    if set(more) <= set(asked.actions):
        return None
    return Scope(
        type=asked.type,
        resource_class=asked.resource_class,
        name=asked.name,
        actions=(*asked.actions, *more),
    )
