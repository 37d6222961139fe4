"""Finds the credential for a repository.

The configuration comes first, then the files of docker and podman in their order; the
longest matching name wins. One host can have several credentials, one for each
namespace that the configuration or a file names (google/go-containerregistry#1329).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from auditor.config import Settings
from auditor.errors import Failure
from auditor.model import CredentialSource
from auditor.registry.auth.credential_files import (
    CredentialFile,
    read_credential_files,
)
from auditor.registry.auth.credential_helper import HelperRunner
from auditor.registry.auth.docker_config import (
    CredentialHelper,
    FoundCredential,
    enclosing_names,
)
from auditor.registry.auth.pull_secrets import PullSecret, pull_secret_configs
from auditor.util.known_secrets import KnownSecrets
from auditor.wire.credential import Login


class CredentialStore:
    """The credentials of a run. Helpers are run when their credential is needed.

    Reads the files of docker and podman unless the settings disable them; the pull
    secrets of a cluster come last. Adds what it
    finds to `secrets`. Raises `UsageError` as
    `read_credential_files` does.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str] = os.environ,
        secrets: KnownSecrets | None = None,
        pull_secrets: Iterable[PullSecret] = (),
    ) -> None:
        self._secrets = KnownSecrets() if secrets is None else secrets
        self._registries = settings.registries
        self._namespaces = settings.namespaces
        self._login_locations = settings.login_locations
        # Where credential files were looked for, in the order of precedence.
        self.looked_at: tuple[CredentialFile, ...] = ()
        if settings.docker_config:
            self.looked_at = read_credential_files(settings.authfiles, environment)
        self._files = (
            *(file.config for file in self.looked_at if file.config),
            *pull_secret_configs(pull_secrets),
        )
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
