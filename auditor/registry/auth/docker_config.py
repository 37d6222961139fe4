"""Docker's config.json and podman's auth.json: which login they hold for what.

The format is that of docker/cli, cli/config/configfile (`auths`, `credsStore`,
`credHelpers`) and of containers-auth.json(5), in which a key may name a part of a
registry. Keys that are URLs mean their host, as docker/cli's
`credentials.ConvertToHostname` has it.

Helpers are named here and run elsewhere (`auditor.registry.access.credential_helper`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, TypeGuard

import orjson

from auditor.errors import FailureKind, ProtocolError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import DOCKER_HUB, registry_name
from auditor.util.lazy_regex import Pattern
from auditor.util.secret import Secret
from auditor.util.text import safe_text
from auditor.wire.login import (
    Credential,
    IdentityToken,
    Login,
    RegistryToken,
    is_password_of,
    is_username,
)
from auditor.wire.token import is_bearer_token

# -- helper_answer --
# What a credential helper answers.
#
# Source: docker/docker-credential-helpers, "Credential helper protocol", and its
# `client.Get`. A helper is a program `docker-credential-NAME`; `get` takes a server's
# name on standard input and prints `{"ServerURL", "Username", "Secret"}`.

# The user name that says that the secret is an identity token (credentials.go).
TOKEN_USER = "<token>"
# What a helper prints, with a failing exit code, for a server it does not know
# (credentials/error.go: errCredentialsNotFoundMessage).
NOT_FOUND = b"credentials not found in native keychain"

# What is a file name of its own, and nothing that a shell or a path reads differently.
_NAME = Pattern(r"[A-Za-z0-9._-]+")


def is_helper_name(name: object) -> TypeGuard[str]:
    """Whether `docker-credential-NAME` is the name of one program."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def parse_helper_answer(output: bytes) -> Login | None:
    """The login in a helper's answer; None where it says that it has none.

    `ProtocolError(DENIED)` with a sentence that goes after the helper's name, and
    that repeats nothing of the answer.
    """
    try:
        answer = orjson.loads(output)
    except orjson.JSONDecodeError:
        raise _wrong("did not answer with JSON") from None
    if not isinstance(answer, dict):
        raise _wrong("answered with JSON that is not an object")
    username, secret = answer.get("Username", ""), answer.get("Secret", "")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise _wrong("answered with a Username or a Secret that is not a text")
    if not username and not secret:
        return None
    if not secret:
        raise _wrong("answered with an empty Secret")
    if username == TOKEN_USER:
        if not is_bearer_token(secret):
            raise _wrong("answered with an identity token that is not visible ASCII")
        return IdentityToken(token=Secret(secret))
    if not is_username(username) or not is_password_of(username, secret):
        raise _wrong(
            "answered with a Username or Secret that is empty or has control characters"
        )
    return Credential(username=username, password=Secret(secret))


def _wrong(sentence: str) -> ProtocolError:
    return ProtocolError(sentence, FailureKind.DENIED)


HUB_KEY = "https://index.docker.io/v1/"
# What may stand after the host of a key without meaning less than the whole host.
_API_PATHS = frozenset({"", "/", "/v1", "/v1/", "/v2", "/v2/"})
# How well a key names its registry; the better one wins, then the first.
_EXACT, _LOOSE, _NOTHING = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """What the file names in a way that cannot be used: one sentence."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A login that the file itself holds, and where in it."""

    login: Login
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """A program `docker-credential-NAME` that is asked for a server's login.

    `place` is where the file names it.
    """

    name: str
    server: str
    place: str


# What a file says of a repository: a login, whom to ask for one, or why neither.
Way = Kept | Helper | Unusable


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerConfig:
    """What the file says, by `host` or `host/namespace`.

    `store` is the helper for everything that the file says nothing else about.
    """

    place: str
    entries: Mapping[str, Kept | Unusable] = field(default_factory=dict)
    helpers: Mapping[str, Helper | Unusable] = field(default_factory=dict)
    store: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """Every `host` and `host/namespace` that the file names."""
        return frozenset(self.entries) | frozenset(self.helpers)

    def ways(self, registry: str, repository: str = "") -> Iterator[Way]:
        """The ways to a login for a repository, the best first; none if there is none.

        Whoever walks them stops at the first that has one. The order is that of
        containers/image (pkg/docker/config, `findCredentialsInFile`): a helper of this
        registry, then the entry with the longest matching name. `credsStore`, which
        only docker knows, comes last.
        """
        names = tuple(names_of(registry, repository))
        for table in (self.helpers, self.entries):
            for name in names:
                if (found := table.get(name)) is not None:
                    yield found
        if self.store:
            place = f"{self.place}: credsStore"
            yield _helper(self.store, server_of(registry), place)


def names_of(registry: str, repository: str) -> Iterator[str]:
    """`host/a/b`, `host/a`, `host`: what may be named for `host` and `a/b`."""
    while repository:
        yield f"{registry}/{repository}"
        repository = repository.rpartition("/")[0]
    yield registry


def server_of(registry: str) -> str:
    """The name under which docker's helpers know a registry."""
    return HUB_KEY if registry == DOCKER_HUB else registry


def parse_docker_config(data: bytes, place: str) -> DockerConfig:
    """The content of a config.json. `place` is the file's name in messages.

    Raises `UsageError` for a file that is not of this format. A damaged entry is
    `Unusable` for what it names and harms no other.
    """
    document = _document(data, place)
    entries: dict[str, tuple[int, Kept | Unusable]] = {}
    for key, value in _object(document, "auths", place).items():
        named = _named(key)
        if named is None:
            continue
        name, rank = named
        entry = _entry(value, f'{place}: auths."{safe_text(key, 80)}"')
        if entry is not None and rank < entries.get(name, (_NOTHING,))[0]:
            entries[name] = rank, entry
    helpers: dict[str, tuple[int, Helper | Unusable]] = {}
    for key, value in _object(document, "credHelpers", place).items():
        named = _named(key)
        if named is None or not value:
            continue
        name, rank = named
        if rank < helpers.get(name, (_NOTHING,))[0]:
            here = f'{place}: credHelpers."{safe_text(key, 80)}"'
            # docker sends its own name of the Hub, podman the one it was given.
            server = key if rank == _EXACT or name == DOCKER_HUB else name
            helpers[name] = rank, _helper(value, server, here)
    return DockerConfig(
        place=place,
        entries={name: entry for name, (_, entry) in entries.items()},
        helpers={name: helper for name, (_, helper) in helpers.items()},
        store=_store(document, place),
    )


def _named(key: str) -> tuple[str, int] | None:
    """What a key of `auths` or `credHelpers` names, and how well; None: nothing."""
    address = key.removeprefix("https://").removeprefix("http://")
    host, slash, rest = address.partition("/")
    try:
        registry = registry_name(host)
    except ProtocolError:
        registry = host  # of no reference, so nobody will look it up
    if slash + rest in _API_PATHS:
        own_key = HUB_KEY if registry == DOCKER_HUB else registry
        return registry, _EXACT if key == own_key else _LOOSE
    if address == key:
        return f"{registry}/{rest.rstrip('/')}", _EXACT
    if registry == DOCKER_HUB:
        return None  # docker desktop keeps its own tokens beside /v1/
    return registry, _LOOSE


def _helper(name: Any, server: str, place: str) -> Helper | Unusable:
    if not is_helper_name(name):
        return Unusable(
            detail=f"{place} does not name a credential helper"
            " (letters, digits, dots, dashes and underscores)"
        )
    return Helper(name=name, server=server, place=place)


def _entry(value: Any, place: str) -> Kept | Unusable | None:
    """None for an empty entry, which is how docker marks what a helper keeps."""
    if not isinstance(value, dict):
        return Unusable(detail=f"{place} is not an object")
    username, password = value.get("username"), value.get("password")
    if value.get("auth"):
        pair = _decoded(value["auth"])
        if pair is None:
            return Unusable(detail=f"{place}.auth is not the base64 of user:password")
        username, password = pair
    for key in ("registrytoken", "identitytoken"):
        token = value.get(key)
        # docker sends a registry token whatever stands beside it, and an identity
        # token where there is no password.
        if not token or (password and key == "identitytoken"):
            continue
        if not is_bearer_token(token):
            return Unusable(detail=f"{place}.{key} is not one line of visible ASCII")
        if key == "registrytoken":
            return Kept(login=RegistryToken(token=Secret(token)), place=place)
        whose = (
            username if isinstance(username, str) and is_username(username) else None
        )
        return Kept(
            login=IdentityToken(
                token=Secret(token), username=None if whose == TOKEN_USER else whose
            ),
            place=place,
        )
    if not username and not password:
        return None
    if not isinstance(username, str) or not isinstance(password, str):
        return Unusable(detail=f"{place} holds half of a username and password")
    if (
        not is_username(username)
        or not password
        or not is_password_of(username, password)
    ):
        return Unusable(
            detail=f"{place} holds a username or password that is empty"
            " or has control characters"
        )
    return Kept(
        login=Credential(username=username, password=Secret(password)), place=place
    )


def _decoded(auth: Any) -> tuple[str, str] | None:
    if not isinstance(auth, str):
        return None
    text = auth.strip().rstrip("=")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        username, colon, password = raw.decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    # docker/cli, configfile.decodeAuth: NULs at the ends are no part of a password.
    return (username, password.strip("\0")) if colon else None


def _document(data: bytes, place: str) -> dict[str, Any]:
    try:
        document = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        where = f"{place}:{error.lineno}:{error.colno}"
        raise UsageError(f"{where}: not JSON: {error.msg}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{place}: JSON but not an object")
    return document


def _object(document: dict[str, Any], key: str, place: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{place}: {key} is not an object")
    return value


def _store(document: dict[str, Any], place: str) -> str | None:
    store = document.get("credsStore")
    if store is not None and not isinstance(store, str):
        raise UsageError(f"{place}: credsStore is not a text")
    return store or None
