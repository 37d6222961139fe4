"""Finds the credential for a repository.

The configuration comes first, then the files of docker and podman in their order; the
longest matching name wins. One host can have several credentials, one for each
namespace that the configuration or a file names (google/go-containerregistry#1329).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from auditor.config import Settings
from auditor.errors import Failure, UsageError
from auditor.model import CredentialSource
from auditor.registry.auth.credential_helper import HelperRunner
from auditor.registry.auth.docker_config import (
    CredentialHelper,
    DockerConfig,
    FoundCredential,
    enclosing_names,
    parse_docker_config,
)
from auditor.util.known_secrets import KnownSecrets
from auditor.wire.credential import Login

# An entry has some 200 bytes: room for five thousand registries.
MAX_FILE_BYTES = 1024 * 1024


class CredentialStore:
    """The credentials of a run. Helpers are run when their credential is needed.

    Reads the files of docker and podman unless the settings disable them. Adds what it
    finds to `secrets`. Raises `UsageError` as `read_auth_files` does.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str] = os.environ,
        secrets: KnownSecrets | None = None,
    ) -> None:
        self._secrets = KnownSecrets() if secrets is None else secrets
        self._registries = settings.registries
        self._namespaces = settings.namespaces
        self._login_locations = settings.login_locations
        self._files: tuple[DockerConfig, ...] = ()
        if settings.docker_config:
            self._files = read_auth_files(settings.authfile, environment)
        self._helpers = HelperRunner(environment)
        names = {*self._namespaces}
        for file in self._files:
            names |= {*file.entries, *file.helpers}
        self._names = frozenset(name for name in names if "/" in name)
        self._hosts = frozenset(name.partition("/")[0] for name in self._names)

    def namespace_of(self, registry: str, repository: str) -> str:
        """The longest namespace of a repository that has an entry of its own, else "".

        All repositories with the same namespace have the same credential. Called for
        every request: it does no I/O.
        """
        if registry not in self._hosts:
            return ""
        for name in enclosing_names(registry, repository):
            if name in self._names:
                return name.removeprefix(registry).removeprefix("/")
        return ""

    async def find(
        self, registry: str, namespace: str = "", *, refresh: bool = False
    ) -> FoundCredential | Failure | None:
        """The credential for a namespace of a registry; None for anonymous access.

        A `Failure` if a configured credential cannot be used: anonymous requests would
        report private images as missing. `refresh` runs helpers again.
        """
        found = await self._find(registry, namespace, refresh=refresh)
        if isinstance(found, FoundCredential):
            credential = found.credential
            if isinstance(credential, Login):
                secret = credential.password
            else:
                secret = credential.token
            self._secrets.add(secret, credential.username)
        return found

    async def _find(
        self, registry: str, namespace: str, *, refresh: bool
    ) -> FoundCredential | Failure | None:
        configured = self._configured(registry, namespace)
        if configured is not None:
            return configured
        for file in self._files:
            for candidate in file.candidates(registry, namespace):
                if not isinstance(candidate, CredentialHelper):
                    return candidate
                found = await self._helpers.get(candidate, refresh=refresh)
                if found is not None:
                    return found
        return None

    def location_of(self, registry: str, namespace: str = "") -> str | None:
        """Where a login for a namespace of a registry is configured, or None.

        Runs no helper: a helper that is named for this registry counts as a login, one
        that may have the logins of all registries does not.
        """
        configured = self._configured(registry, namespace)
        if configured is not None:
            return configured.location
        for file in self._files:
            for candidate in file.named(registry, namespace):
                if not isinstance(candidate, Failure):
                    return candidate.location
        return None

    def _configured(self, registry: str, namespace: str) -> FoundCredential | None:
        for name in enclosing_names(registry, namespace):
            login = self._namespaces.get(name)
            settings = self._registries.get(name)
            if settings and settings.username and settings.password is not None:
                login = Login(username=settings.username, password=settings.password)
            if login is not None:
                return FoundCredential(
                    credential=login,
                    source=CredentialSource.CONFIG,
                    location=str(
                        self._login_locations.get(name)
                        or f'configuration: [registry."{name}"]'
                    ),
                )
        return None


def read_auth_files(
    authfile: str | None, environment: Mapping[str, str]
) -> tuple[DockerConfig, ...]:
    """Read the files that exist, in the order of precedence.

    If the option `authfile` or else `$REGISTRY_AUTH_FILE` names a file, only this file
    is read, and it must exist. Raises `UsageError` if it does not, and for an
    unreadable or damaged file. An empty file has no entries, as in docker.
    """
    named, named_by = authfile, "--authfile"
    if named is None:
        named_by = "REGISTRY_AUTH_FILE"
        named = environment.get(named_by) or None
    files = []
    for path in auth_file_paths(environment) if named is None else (Path(named),):
        data = _read(path)
        if data is None and named is not None:
            raise UsageError(f"{path}: no such file; check {named_by}")
        if data and data.strip():
            files.append(parse_docker_config(data, str(path)))
    return tuple(files)


def auth_file_paths(environment: Mapping[str, str]) -> Iterator[Path]:
    """The default files, in the order of precedence.

    Sources: docker/cli, cli/config; containers-auth.json(5); containers/image,
    pkg/docker/config (`getAuthFilePaths`); containers/common, pkg/auth
    (`GetDefaultAuthFile`). If `$DOCKER_CONFIG` is set, its config.json is the only
    one, as in docker and podman.
    """
    if folder := environment.get("DOCKER_CONFIG"):
        yield Path(folder, "config.json")
        return
    home = environment.get("HOME")
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json")
    if config_home := environment.get("XDG_CONFIG_HOME"):
        yield Path(config_home, "containers", "auth.json")
    elif home:
        yield Path(home, ".config", "containers", "auth.json")
    if home:
        yield Path(home, ".docker", "config.json")


def _read(path: Path) -> bytes | None:
    """The content of a file; None if it does not exist."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    return data
