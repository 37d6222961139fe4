"""Docker's config.json: which credential it holds for which registry.

The format is that of docker/cli, cli/config/configfile (`auths`, `credsStore`,
`credHelpers`) and of containers-auth.json(5). Hosts are found as docker/cli's
`credentials.ConvertToHostname` does it. Credential helpers are not run: where one is
named and the file holds nothing itself, that is said, and nobody becomes anonymous
without knowing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from auditor.errors import ProtocolError, UsageError
from auditor.protocol.credential import Credential, is_password, is_username
from auditor.protocol.reference import DOCKER_HUB
from auditor.protocol.registry_name import registry_name
from auditor.safe_text import safe_text
from auditor.secret import Secret

_HUB_KEY = "https://index.docker.io/v1/"
# What may stand after the host of a key without meaning less than the whole host.
_API_PATHS = frozenset({"", "/", "/v1", "/v1/", "/v2", "/v2/"})
# How well a key names a whole registry; the better one wins, then the first.
_EXACT, _LOOSE, _PARTIAL, _NOTHING = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """A registry that the file names in a way that cannot be used: one sentence."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerConfig:
    """What the file says, by registry name. `store` is the helper for the others."""

    place: str
    entries: Mapping[str, Credential | Unusable] = field(default_factory=dict)
    helpers: Mapping[str, str] = field(default_factory=dict)
    store: str | None = None

    def find(self, registry: str) -> Credential | Unusable | None:
        """What the file says about a registry; None if nothing."""
        entry = self.entries.get(registry)
        if isinstance(entry, Credential):
            return entry
        helper = self.helpers.get(registry, self.store)
        if entry is None and helper:
            return Unusable(
                detail=f"{self.place}: the credential for {registry} is with the helper"
                f" {safe_text(helper, 40)}, and helpers are not supported yet;"
                " name a password_env, or set docker_config = false to go without"
            )
        return entry


def parse_docker_config(data: bytes, place: str) -> DockerConfig:
    """The content of a config.json. `place` is the file's name in messages.

    Raises `UsageError` for a file that is not of this format. A damaged entry is
    `Unusable` for its registry and harms no other.
    """
    document = _document(data, place)
    found: dict[str, tuple[int, Credential | Unusable]] = {}
    for key, value in _object(document, "auths", place).items():
        registry, rank = _registry_of(key)
        entry = _entry(value, f'{place}: auths."{safe_text(key, 80)}"')
        if rank == _PARTIAL and entry is not None:
            if registry == DOCKER_HUB:
                continue  # docker desktop keeps its own tokens beside /v1/
            entry = Unusable(
                detail=f"{place}: there is a credential for {safe_text(key, 80)} only,"
                " not for the whole registry, and that is not supported yet"
            )
        if entry is not None and rank < found.get(registry, (_NOTHING,))[0]:
            found[registry] = rank, entry
    helpers = _object(document, "credHelpers", place)
    return DockerConfig(
        place=place,
        entries={registry: entry for registry, (_, entry) in found.items()},
        helpers={
            _registry_of(key)[0]: helper
            for key, helper in helpers.items()
            if isinstance(helper, str) and helper
        },
        store=_store(document, place),
    )


def _registry_of(key: str) -> tuple[str, int]:
    """The registry that a key of `auths` or `credHelpers` names, and how well."""
    address = key.removeprefix("https://").removeprefix("http://")
    host, slash, rest = address.partition("/")
    try:
        registry = registry_name(host)
    except ProtocolError:
        registry = host  # of no reference, so nobody will look it up
    if slash + rest not in _API_PATHS:
        return registry, _PARTIAL
    own_key = _HUB_KEY if registry == DOCKER_HUB else registry
    return registry, _EXACT if key == own_key else _LOOSE


def _entry(value: Any, place: str) -> Credential | Unusable | None:
    """None for an empty entry, which is how docker marks what a helper keeps."""
    if not isinstance(value, dict):
        return Unusable(detail=f"{place} is not an object")
    auth = value.get("auth")
    username, password = value.get("username"), value.get("password")
    if auth:
        pair = _decoded(auth)
        if pair is None:
            return Unusable(detail=f"{place}.auth is not the base64 of user:password")
        username, password = pair
    if not password and (value.get("identitytoken") or value.get("registrytoken")):
        return Unusable(
            detail=f"{place} holds an identity token, which is not supported yet;"
            " name a password_env"
        )
    if not username and not password:
        return None
    if not isinstance(username, str) or not isinstance(password, str):
        return Unusable(detail=f"{place} holds half of a username and password")
    if not is_username(username) or not password or not is_password(password):
        return Unusable(
            detail=f"{place} holds a username or password that is empty"
            " or has control characters"
        )
    return Credential(username=username, password=Secret(password))


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
