"""Docker's config.json and podman's auth.json: the credentials they hold.

The format is that of docker/cli, cli/config/configfile (`auths`, `credsStore`,
`credHelpers`) and of containers-auth.json(5), where a key may name a namespace of a
registry. A key that is a URL stands for its host (docker/cli,
`credentials.ConvertToHostname`). This module only parses: `credentials.py` reads the
files, `credential_helper.py` runs the helpers they name.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, TypeGuard

import orjson

from auditor.errors import ProtocolError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import DOCKER_HUB, parse_registry
from auditor.util.lazy_regex import LazyPattern
from auditor.util.secret import Secret
from auditor.util.text import safe_text
from auditor.wire.credential import (
    Credential,
    IdentityToken,
    Login,
    RegistryToken,
    is_password_of,
    is_username,
)
from auditor.wire.token import is_bearer_token

# The user name that marks a secret as an identity token
# (docker/docker-credential-helpers, credentials.go).
TOKEN_USER = "<token>"
# Docker's key for Docker Hub.
HUB_KEY = "https://index.docker.io/v1/"

# A file name without a path, and without characters that are special to a shell.
_HELPER_NAME = LazyPattern(r"[A-Za-z0-9._-]+")
# Paths after the host of a key that stand for the whole host.
_API_PATHS = frozenset({"", "/", "/v1", "/v1/", "/v2", "/v2/"})
# How exactly a key names its registry. The most exact one wins, then the first.
_EXACT, _LOOSE, _NO_MATCH = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCredential:
    """A credential in the file itself. `location` is the file and the key."""

    credential: Credential
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialHelper:
    """A program `docker-credential-NAME`, and the server name to ask it about."""

    name: str
    server: str
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidEntry:
    """An entry that cannot be used. `detail` is one sentence with its location."""

    detail: str


Candidate = StoredCredential | CredentialHelper | InvalidEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerConfig:
    """One file, by `host` or `host/namespace`.

    `store` is the name of the helper for registries without an entry (`credsStore`).
    """

    location: str
    entries: Mapping[str, StoredCredential | InvalidEntry] = field(default_factory=dict)
    helpers: Mapping[str, CredentialHelper | InvalidEntry] = field(default_factory=dict)
    store: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """Every `host` and `host/namespace` in the file."""
        return frozenset(self.entries) | frozenset(self.helpers)

    def candidates(self, registry: str, repository: str = "") -> Iterator[Candidate]:
        """The sources of a credential for a repository, best first.

        The order is that of containers/image (pkg/docker/config,
        `findCredentialsInFile`): a helper of this registry, then the entry with the
        longest matching name. Docker's `credsStore` comes last.
        """
        names = tuple(enclosing_names(registry, repository))
        for table in (self.helpers, self.entries):
            for name in names:
                if (candidate := table.get(name)) is not None:
                    yield candidate
        if self.store:
            server = HUB_KEY if registry == DOCKER_HUB else registry
            yield _helper(self.store, server, f"{self.location}: credsStore")


def enclosing_names(registry: str, repository: str) -> Iterator[str]:
    """`host/a/b`, `host/a`, `host` for the repository `a/b` of `host`."""
    while repository:
        yield f"{registry}/{repository}"
        repository = repository.rpartition("/")[0]
    yield registry


def is_helper_name(name: object) -> TypeGuard[str]:
    """Whether `docker-credential-NAME` is the plain name of a program."""
    return isinstance(name, str) and _HELPER_NAME.fullmatch(name) is not None


def parse_docker_config(data: bytes, location: str) -> DockerConfig:
    """Parse a config.json or auth.json. `location` is the file's name in messages.

    Raises `UsageError` for a file that is not of this format. A damaged entry becomes
    an `InvalidEntry` and does not affect the others.
    """
    document = _document(data, location)
    entries: dict[str, tuple[int, StoredCredential | InvalidEntry]] = {}
    for key, value in _object(document, "auths", location).items():
        parsed_key = _parse_key(key)
        if parsed_key is None:
            continue
        name, rank = parsed_key
        entry = _entry(value, f'{location}: auths."{safe_text(key, 80)}"')
        if entry is not None and rank < entries.get(name, (_NO_MATCH,))[0]:
            entries[name] = rank, entry
    helpers: dict[str, tuple[int, CredentialHelper | InvalidEntry]] = {}
    for key, value in _object(document, "credHelpers", location).items():
        parsed_key = _parse_key(key)
        if parsed_key is None or not value:
            continue
        name, rank = parsed_key
        if rank < helpers.get(name, (_NO_MATCH,))[0]:
            key_location = f'{location}: credHelpers."{safe_text(key, 80)}"'
            # Docker Hub's key is passed on: HUB_KEY by docker, docker.io by podman.
            server = key if rank == _EXACT or name == DOCKER_HUB else name
            helpers[name] = rank, _helper(value, server, key_location)
    return DockerConfig(
        location=location,
        entries={name: entry for name, (_, entry) in entries.items()},
        helpers={name: helper for name, (_, helper) in helpers.items()},
        store=_store(document, location),
    )


def _parse_key(key: str) -> tuple[str, int] | None:
    """The name that a key of `auths` or `credHelpers` stands for, and how exactly.

    None for keys to ignore.
    """
    address = key.removeprefix("https://").removeprefix("http://")
    host, slash, rest = address.partition("/")
    try:
        registry = parse_registry(host)
    except ProtocolError:
        registry = host  # matches no reference
    if slash + rest in _API_PATHS:
        canonical = HUB_KEY if registry == DOCKER_HUB else registry
        return registry, _EXACT if key == canonical else _LOOSE
    if address == key:
        return f"{registry}/{rest.rstrip('/')}", _EXACT
    if registry == DOCKER_HUB:
        return None  # Docker Desktop keeps tokens of its own next to /v1/
    return registry, _LOOSE


def _helper(name: Any, server: str, location: str) -> CredentialHelper | InvalidEntry:
    if not is_helper_name(name):
        return InvalidEntry(
            detail=f"{location}: not the name of a credential helper"
            " (letters, digits, dots, dashes and underscores)"
        )
    return CredentialHelper(name=name, server=server, location=location)


def _entry(value: Any, location: str) -> StoredCredential | InvalidEntry | None:
    """The credential of one entry of `auths`.

    None for an empty entry: docker writes one where a helper has the credential.
    """
    if not isinstance(value, dict):
        return InvalidEntry(detail=f"{location}: not an object")
    username, password = value.get("username"), value.get("password")
    if value.get("auth"):
        pair = _decode_auth(value["auth"])
        if pair is None:
            return InvalidEntry(
                detail=f"{location}.auth: not the base64 of user:password"
            )
        username, password = pair
    # Docker prefers a registry token to everything else in the entry, and uses an
    # identity token if there is no password.
    if token := value.get("registrytoken"):
        if not is_bearer_token(token):
            return _invalid_token(location, "registrytoken")
        return StoredCredential(
            credential=RegistryToken(token=Secret(token)), location=location
        )
    if (token := value.get("identitytoken")) and not password:
        if not is_bearer_token(token):
            return _invalid_token(location, "identitytoken")
        has_name = isinstance(username, str) and is_username(username)
        return StoredCredential(
            credential=IdentityToken(
                token=Secret(token),
                username=username if has_name and username != TOKEN_USER else None,
            ),
            location=location,
        )
    if not username and not password:
        return None
    if not isinstance(username, str) or not isinstance(password, str):
        return InvalidEntry(detail=f"{location}: only one of username and password")
    if (
        not is_username(username)
        or not password
        or not is_password_of(username, password)
    ):
        return InvalidEntry(
            detail=f"{location}: username or password is empty or has control"
            " characters"
        )
    return StoredCredential(
        credential=Login(username=username, password=Secret(password)),
        location=location,
    )


def _invalid_token(location: str, key: str) -> InvalidEntry:
    return InvalidEntry(detail=f"{location}.{key}: not one line of visible ASCII")


def _decode_auth(auth: Any) -> tuple[str, str] | None:
    if not isinstance(auth, str):
        return None
    text = auth.strip().rstrip("=")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        username, colon, password = raw.decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    # docker/cli, configfile.decodeAuth: NULs around the password are padding.
    return (username, password.strip("\0")) if colon else None


def _document(data: bytes, location: str) -> dict[str, Any]:
    try:
        document = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        where = f"{location}:{error.lineno}:{error.colno}"
        raise UsageError(f"{where}: not JSON: {error.msg}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{location}: not a JSON object")
    return document


def _object(document: dict[str, Any], key: str, location: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{location}: {key}: not an object")
    return value


def _store(document: dict[str, Any], location: str) -> str | None:
    store = document.get("credsStore")
    if store is not None and not isinstance(store, str):
        raise UsageError(f"{location}: credsStore: not a string")
    return store or None
