"""Challenges of a 401 (WWW-Authenticate) and the scopes that tokens are requested for.

RFC 9110 section 11.6.1:

    WWW-Authenticate = #challenge
    challenge        = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
    auth-param       = token BWS "=" BWS ( token / quoted-string )

Commas separate both challenges and the parameters of a challenge: a token without "="
after it starts the next challenge.

Distribution, "Docker Registry Token Scope and Access", "Resource Scope Grammar"; names
have the characters of RFC 6749 section 3.3:

    resourcescope := resourcetype ":" resourcename ":" action [ "," action ]*
    resourcetype  := [a-z0-9]+ [ "(" class ")" ]

A name can contain a colon (the port of a host); types and actions cannot. It is empty
in zot's challenge for the catalog, `repository::pull`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_text

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # section 5.6.2
_QUOTED = r'"((?:[\t !#-\[\]-~\x80-\U0010ffff]|\\[\t -~\x80-\U0010ffff])*)"'  # 5.6.4
_NEXT = r"(?=[ \t,]|\Z)"

_SEPARATOR = LazyPattern(r"[ \t,]*")  # section 5.6.1: empty elements
_PARAMETER = LazyPattern(rf"({TOKEN})[ \t]*=[ \t]*(?:{_QUOTED}|({TOKEN})){_NEXT}")
_SCHEME = LazyPattern(rf"({TOKEN}){_NEXT}(?![ \t]*=)")
_TOKEN68 = LazyPattern(r"[ \t]+([A-Za-z0-9\-._~+/]+=*)(?=[ \t]*(?:,|\Z))")
QUOTED_PAIR = LazyPattern(r"\\(.)", re.DOTALL)

_SCOPE = LazyPattern(
    r"(?P<type>[a-z0-9]+)(?:\((?P<class>[a-z0-9]+)\))?"
    r":(?P<name>[!#-\[\]-~]*)"
    r":(?P<actions>[A-Za-z_*,-]*)"
)
_ACTION = LazyPattern(r"[A-Za-z_-]+|\*")
# Actions that change nothing: distribution's, and ACR's
# (learn.microsoft.com, "Create a token with repository-scoped permissions").
_READ_ACTIONS = frozenset({"pull", "content_read", "metadata_read"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One challenge. `scheme` and the names of `parameters` are lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    token68: str | None = None


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Parse the challenges of all WWW-Authenticate lines, in order.

    Never raises: a malformed line is used up to the error. The first of several
    parameters with the same name counts.
    """
    return tuple(challenge for line in values for challenge in _parse_line(line))


def preferred_challenge(challenges: Iterable[Challenge]) -> Challenge | None:
    """The challenge to answer: Bearer with a realm, else Basic, else None."""
    basic = None
    for challenge in challenges:
        if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
            return challenge
        if challenge.scheme == "basic":
            basic = basic or challenge
    return basic


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One resource scope. `actions` are sorted and unique.

    `resource_class` is the class in brackets: `plugin` in `repository(plugin)`. Equal
    scopes have equal texts.
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
# Types and names that stand for all repositories.
_CATALOGS = {("registry", "catalog"), ("repository", ""), ("repository", "*")}


@functools.lru_cache(maxsize=1024)  # more than the repositories in progress
def pull_scope(repository: str) -> Scope:
    """The right to pull from one repository."""
    return repository_scope(repository, ("pull",))


_REPOSITORY_PATH = LazyPattern(
    r"[a-z]+://[^/]+/v2/([a-z0-9._/-]{1,255})/(?:manifests|blobs|tags|referrers)/.*"
)


def repository_in(url: str) -> str | None:
    """The repository that a URL of the registry API names (distribution-spec)."""
    match = _REPOSITORY_PATH.fullmatch(url)
    return None if match is None else match[1]


def repository_scope(repository: str, actions: Iterable[str]) -> Scope:
    """The right to these actions in one repository."""
    return Scope(
        type="repository", resource_class=None, name=repository, actions=tuple(actions)
    )


def parse_actions(text: str) -> tuple[str, ...]:
    """Parse the actions of a scope, `pull,push`; sorted. Raises `ProtocolError`."""
    actions = text.split(",")
    if not all(_ACTION.fullmatch(action) for action in actions):
        raise ProtocolError(
            f'"{safe_text(text, 80)}" is not a list of actions,'
            " such as pull,push,delete"
        )
    return tuple(sorted(set(actions)))


def beyond_pull(actions: Iterable[str], allowed: Iterable[str] = ()) -> tuple[str, ...]:
    """The actions, sorted, that are neither read-only nor `allowed`, such as `*`."""
    return tuple(sorted(set(actions) - _READ_ACTIONS - set(allowed)))


def parse_scope(text: str) -> Scope:
    """Parse a scope. Raises `ProtocolError(PROTOCOL_VIOLATION)`."""
    match = _SCOPE.fullmatch(text)
    if match is None:
        raise ProtocolError(
            f'"{safe_text(text, 80)}" is not a scope, such as repository:team/app:pull'
        )
    return Scope(
        type=match["type"],
        resource_class=match["class"],
        name=match["name"],
        actions=tuple(action for action in match["actions"].split(",") if action),
    )


def wider_scope(requested: Scope, challenged: str | None) -> Scope | None:
    """The scope that a 401 requires beyond that of the request's token, or None.

    ACR requires `metadata_read` for a list of tags. Only actions that read are added,
    and only for the same resource: some products send a placeholder (GHCR:
    `repository:user/image:pull`), and a registry must not choose another resource. For
    the catalog, which names no repository, it may: zot requires `repository::pull`.
    """
    try:
        scope = parse_scope(challenged or "")
    except ProtocolError:
        return None
    if requested == CATALOG_SCOPE and (scope.type, scope.name) in _CATALOGS:
        reading = tuple(set(scope.actions) & _READ_ACTIONS)
        return replace(scope, actions=reading) if reading else None
    if (scope.type, scope.name) != (requested.type, requested.name):
        return None
    missing = set(scope.actions) & _READ_ACTIONS - set(requested.actions)
    actions = (*requested.actions, *missing)
    return replace(requested, actions=actions) if missing else None


def _parse_line(line: str) -> list[Challenge]:
    challenges: list[Challenge] = []
    parameters: dict[str, str] | None = None
    position = skip_separators(line, 0)
    while position < len(line):
        if match := _PARAMETER.match(line, position):
            if parameters is None:
                break  # a parameter without a challenge
            name, quoted, token = match.groups()
            value = token if quoted is None else QUOTED_PAIR.sub(r"\1", quoted)
            parameters.setdefault(name.lower(), value)
        elif match := _SCHEME.match(line, position):
            scheme, parameters, token68 = match[1].lower(), {}, None
            if with_token68 := _TOKEN68.match(line, match.end()):
                match, token68 = with_token68, with_token68[1]
            challenges.append(
                Challenge(scheme=scheme, parameters=parameters, token68=token68)
            )
        else:
            break
        position = skip_separators(line, match.end())
    return challenges


def skip_separators(line: str, position: int) -> int:
    """The position after blanks and commas."""
    separator = _SEPARATOR.match(line, position)
    return separator.end() if separator else position
