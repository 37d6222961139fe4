"""Parses the credentials in docker's config.json and podman's auth.json.

The format is that of docker/cli, cli/config/configfile (`auths`, `credsStore`,
`credHelpers`) and of containers-auth.json(5), where a key may name a namespace of a
registry. A key that is a URL stands for its host (docker/cli,
`credentials.ConvertToHostname`). The older .dockercfg, which Kubernetes secrets of the
type kubernetes.io/dockercfg still have, is the object of `auths` alone
(docker/cli, `LegacyLoadFromReader`). This module only parses: `credentials.py`
reads the files, `credential_helper.py` runs the helpers they name.

Image pull secrets (kubernetes.io, "Pull an Image from a Private Registry") have the
same format. Only their logins are taken: a credential helper that a secret names would
be a program that anyone who can write the secret chooses.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import field, replace
from typing import Any

import orjson

from auditor.errors import Failure, FailureKind, ProtocolError, Stage, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import CredentialSource
from auditor.oci.reference import DOCKER_HUB, parse_registry
from auditor.util.lazy_regex import LazyPattern
from auditor.util.secret import Secret
from auditor.util.text import safe_text
from auditor.wire.cloud_hosts import Cloud
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
# A file without any of these may be a .dockercfg.
_SECTIONS = frozenset({"auths", "credHelpers", "credsStore"})
_SECTIONS_BY_LOWER_CASE = {section.lower(): section for section in _SECTIONS}
_SECRET = (
    "a Kubernetes Secret, not the file in it; extract that with: kubectl get secret"
    " NAME -o jsonpath='{.data.\\.dockerconfigjson}' | base64 -d"
)

_NAMES: dict[type[Credential], str] = {
    Login: "login",
    IdentityToken: "identity token",
    RegistryToken: "registry token",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLogin:
    """What is special about a login with the identity of this machine.

    It is sent to hosts of its `cloud` only. `identity` is an ARN, an e-mail address or
    a client id. `renew_at` and `expires_at` are in monotonic seconds.
    """

    cloud: Cloud
    identity: str | None
    renew_at: float
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCredential:
    """A credential and where it was found. `location` is for messages.

    `machine` is set for a login with the identity of this machine.
    """

    credential: Credential
    source: CredentialSource
    location: str
    machine: MachineLogin | None = field(default=None, compare=False)

    @property
    def account(self) -> str | None:
        """The identity of the machine, or the user name, if there is one."""
        if self.machine is not None and self.machine.identity is not None:
            return self.machine.identity
        return self.credential.username

    @property
    def name(self) -> str:
        """The credential in messages, such as `the login of 'robot'`."""
        username = self.account
        return f"the {_NAMES[type(self.credential)]}" + (
            f" of {username!r}" if username else ""
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialHelper:
    """A program `docker-credential-NAME`, and the server name to pass to it."""

    name: str
    server: str
    location: str = field(compare=False)

    @property
    def program(self) -> str:
        """The name of the program."""
        return f"docker-credential-{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordCommand:
    """A program with its arguments that prints the password of `username`."""

    command: tuple[str, ...] = field(repr=False)
    username: str
    location: str = field(compare=False)

    @property
    def program(self) -> str:
        """The name of the program. Its arguments may be secrets."""
        return self.command[0]


# A `Failure` stands for an entry that cannot be used. Its detail has the location.
Candidate = FoundCredential | CredentialHelper | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerConfig:
    """One file, by `host` or `host/namespace`.

    `store` is the name of the helper for registries without an entry (`credsStore`).
    """

    location: str
    entries: Mapping[str, FoundCredential | Failure]
    helpers: Mapping[str, CredentialHelper | Failure]
    store: str | None

    def candidates(self, registry: str, repository: str = "") -> Iterator[Candidate]:
        """The sources of a credential for a repository, best first.

        The order is that of containers/image (pkg/docker/config,
        `findCredentialsInFile`): a helper of this registry, then the entry with the
        longest matching name. Docker's `credsStore` comes last.
        """
        yield from self.named(registry, repository)
        if self.store:
            server = HUB_KEY if registry == DOCKER_HUB else registry
            yield _helper(self.store, server, f"{self.location}: credsStore")

    def named(self, registry: str, repository: str = "") -> Iterator[Candidate]:
        """The sources that are named for the registry: all but `credsStore`."""
        names = tuple(enclosing_names(registry, repository))
        for table in (self.helpers, self.entries):
            for name in names:
                if (candidate := table.get(name)) is not None:
                    yield candidate


def enclosing_names(registry: str, repository: str) -> Iterator[str]:
    """`host/a/b`, `host/a`, `host` for the repository `a/b` of `host`."""
    while repository:
        yield f"{registry}/{repository}"
        repository = repository.rpartition("/")[0]
    yield registry


def parse_docker_config(data: bytes, location: str) -> DockerConfig:
    """Parse a config.json or auth.json. `location` is the file's name in messages.

    Raises `UsageError` for a file that is not of this format. A damaged entry becomes
    a `Failure` and does not affect the others.
    """
    document = _document(data.removeprefix(b"\xef\xbb\xbf"), location)
    entries: dict[str, FoundCredential | Failure] = {}
    for name, _, value, where in _keys(document, "auths", location):
        entry = _entry(value, where)
        if entry is not None:
            entries.setdefault(name, entry)
    helpers: dict[str, CredentialHelper | Failure] = {}
    for name, key, value, where in _keys(document, "credHelpers", location):
        if value:
            # Docker Hub's key is passed on: HUB_KEY by docker, docker.io by podman.
            server = key if name == DOCKER_HUB else name
            helpers.setdefault(name, _helper(value, server, where))
    store = document.get("credsStore")
    if store is not None and not isinstance(store, str):
        raise UsageError(f"{location}: credsStore: not a string")
    return DockerConfig(
        location=location, entries=entries, helpers=helpers, store=store or None
    )


def _document(data: bytes, location: str) -> dict[str, Any]:
    """The object in a file, with the sections of config.json."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        where = f"{location}:{error.lineno}:{error.colno}"
        if _is_secret_yaml(data):
            raise UsageError(f"{where}: {_SECRET}") from None
        if _is_base64(data):
            raise UsageError(
                f"{where}: not JSON, but base64; decode it with: base64 -d"
            ) from None
        raise UsageError(f"{where}: not JSON: {error.msg}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{location}:1: not a JSON object")
    if document.get("kind") == "Secret" and "apiVersion" in document:
        raise UsageError(f"{location}:1: {_SECRET}")
    if isinstance(document.get("auth"), dict):
        raise UsageError(f'{location}:1: "auth" must be "auths"')
    for key in [key for key in document if key not in _SECTIONS]:
        # Go, in which docker and podman are written, reads keys of any case.
        section = _SECTIONS_BY_LOWER_CASE.get(key.lower())
        if section is not None:
            document.setdefault(section, document.pop(key))
    hosts = [key for key in document if _is_legacy_key(key, document[key])]
    if not hosts:
        return document
    if _SECTIONS.isdisjoint(document):
        return {"auths": document}  # a .dockercfg
    line = data[: data.find(orjson.dumps(hosts[0]))].count(b"\n") + 1
    name = safe_text(hosts[0], 80)
    raise UsageError(f'{location}:{line}: "{name}" must be in the object "auths"')


def _is_legacy_key(key: str, value: object) -> bool:
    """Whether a key at the top names a registry: no setting of docker does."""
    if not isinstance(value, dict):
        return False
    host = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return host == "localhost" or "." in host or ":" in host


def _is_secret_yaml(data: bytes) -> bool:
    return re.search(rb"(?m)^(?:apiVersion|kind|data|stringData):", data) is not None


def _is_base64(data: bytes) -> bool:
    """Whether the file is the base64 of a JSON object, as a secret's YAML has it."""
    try:
        text = base64.b64decode(b"".join(data.split()), validate=True)
    except ValueError:
        return False
    return text.lstrip().startswith(b"{")


def _keys(
    document: dict[str, Any], section: str, location: str
) -> list[tuple[str, str, Any, str]]:
    """The keys of a section: name, key, value and location of each.

    If several keys have one name, the one that docker writes comes first.
    """
    entries = document.get(section)
    if entries is None:
        return []
    if not isinstance(entries, dict):
        raise UsageError(f"{location}: {section}: not an object")
    names = {key: parsed for key in entries if (parsed := _parse_key(key)) is not None}
    return [
        (
            names[key][0],
            key,
            entries[key],
            f'{location}: {section}."{safe_text(key, 80)}"',
        )
        for key in sorted(names, key=lambda key: not names[key][1])
    ]


def _parse_key(key: str) -> tuple[str, bool] | None:
    """The registry or namespace of a key, and whether docker writes it this way."""
    address = key.removeprefix("https://").removeprefix("http://")
    host, slash, rest = address.partition("/")
    try:
        registry = parse_registry(host)
    except ProtocolError:
        registry = host  # matches no reference
    if slash + rest in _API_PATHS:
        canonical = HUB_KEY if registry == DOCKER_HUB else registry
        return registry, key == canonical
    if address == key:
        return f"{registry}/{rest.rstrip('/')}", True
    if registry == DOCKER_HUB:
        return None  # Docker Desktop keeps tokens of its own next to /v1/
    return registry, False


def _helper(name: Any, server: str, location: str) -> CredentialHelper | Failure:
    if isinstance(name, str) and _HELPER_NAME.fullmatch(name) is not None:
        return CredentialHelper(name=name, server=server, location=location)
    return _invalid(
        f"{location}: not the name of a credential helper"
        " (letters, digits, dots, dashes and underscores)"
    )


def _entry(value: Any, location: str) -> FoundCredential | Failure | None:
    """The credential of one entry of `auths`.

    None for an empty entry: docker writes one where a helper has the credential.
    """
    try:
        credential = _credential(value)
    except ProtocolError as error:
        return _invalid(f"{location}{error.detail}")
    if credential is None:
        return None
    return FoundCredential(
        credential=credential, source=CredentialSource.FILE, location=location
    )


def _credential(value: Any) -> Credential | None:
    """The credential of an entry; a `ProtocolError` has the text after the location."""
    if not isinstance(value, dict):
        raise ProtocolError(": not an object")
    username, password = value.get("username"), value.get("password")
    if value.get("auth"):
        username, password = _decode_auth(value["auth"])
    # Docker prefers a registry token to everything else in the entry, and uses an
    # identity token if there is no password.
    if token := value.get("registrytoken"):
        return RegistryToken(token=_token(token, "registrytoken"))
    if (token := value.get("identitytoken")) and not password:
        has_name = isinstance(username, str) and is_username(username)
        return IdentityToken(
            token=_token(token, "identitytoken"),
            username=username if has_name and username != TOKEN_USER else None,
        )
    if not username and not password:
        return None
    if not isinstance(username, str) or not isinstance(password, str):
        raise ProtocolError(": only one of username and password")
    if (
        not is_username(username)
        or not password
        or not is_password_of(username, password)
    ):
        raise ProtocolError(": username or password is empty or has control characters")
    return Login(username=username, password=Secret(password))


def _token(token: Any, key: str) -> Secret:
    if not is_bearer_token(token):
        raise ProtocolError(f".{key}: not one line of visible ASCII")
    return Secret(token)


def _decode_auth(auth: Any) -> tuple[str, str]:
    if isinstance(auth, str):
        text = auth.strip().rstrip("=")
        with suppress(ValueError):
            raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
            username, colon, password = raw.decode().partition(":")
            if colon:
                # docker/cli, configfile.decodeAuth: NULs around it are padding.
                return username, password.strip("\0")
    raise ProtocolError(".auth: not the base64 of user:password")


def _invalid(detail: str) -> Failure:
    return Failure(kind=FailureKind.DENIED, detail=detail, stage=Stage.TOKEN)


# -- image pull secrets of Kubernetes --------------------------------------------------

log = logging.getLogger("auditor.auth")


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSecret:
    """The content of a secret in docker's format; `location` names it in messages."""

    location: str
    document: Secret


def pull_secret_configs(secrets: Iterable[PullSecret]) -> Iterator[DockerConfig]:
    """The logins of secrets; one that cannot be read is named in a warning."""
    for secret in secrets:
        try:
            config = parse_docker_config(
                secret.document.reveal().encode(), secret.location
            )
        except UsageError as error:
            log.warning(
                "cluster: the pull secret is not used: %s", safe_text(str(error))
            )
            continue
        yield replace(config, helpers={}, store=None)
