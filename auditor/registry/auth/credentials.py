"""Finds the credential for a repository.

The configuration comes first, then the files of docker and podman in their order; the
longest matching name wins. The registry of a cloud without any of them gets a login
with the identity of this machine (`clouds/`), or before the files if the setting
`cloud_login` is `always`. One host can have several credentials, one for each
namespace that the configuration or a file names (google/go-containerregistry#1329).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from auditor.config import CloudLogin, Settings
from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import CredentialSource
from auditor.oci.reference import DOCKER_HUB
from auditor.registry.auth.credential_files import (
    CredentialFile,
    read_credential_files,
)
from auditor.registry.auth.credential_helper import HelperRunner
from auditor.registry.auth.docker_config import (
    HUB_KEY,
    CredentialHelper,
    FoundCredential,
    PasswordCommand,
    PullSecret,
    enclosing_names,
    pull_secret_configs,
)
from auditor.util.clock import Clock, SystemClock
from auditor.util.secret import KnownSecrets, Secret
from auditor.wire.cloud_hosts import Cloud, CloudHost
from auditor.wire.credential import Login

if TYPE_CHECKING:
    from auditor.registry.auth.clouds.cloud_logins import CloudLogins


# Exchanges an Azure access token for a refresh token of one registry.
Exchange = Callable[[Secret], Awaitable[Secret | Failure]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEndpoint:
    """A registry of a cloud, by the URL that requests are sent to (`cloud_of_url`).

    `exchange` exchanges a token of Azure there.
    """

    host: CloudHost
    exchange: Exchange


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
        clock: Clock | None = None,
    ) -> None:
        self._secrets = KnownSecrets() if secrets is None else secrets
        self._clock = SystemClock() if clock is None else clock
        self._settings = settings
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
        # Why a registry of a cloud is asked without a login.
        self._no_identity: dict[str, str] = {}
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

    @cached_property
    def clouds(self) -> CloudLogins:
        """The logins with the identity of this machine; few runs need their code."""
        from auditor.registry.auth.clouds.cloud_logins import (  # noqa: PLC0415
            CloudLogins,
        )

        return CloudLogins(clock=self._clock, secrets=self._secrets)

    async def find(
        self,
        registry: str,
        namespace: str = "",
        *,
        refresh: bool = False,
        cloud: CloudEndpoint | None = None,
    ) -> FoundCredential | Failure | None:
        """The credential for a namespace of a registry; None for anonymous access.

        A `Failure` if a configured credential cannot be used: anonymous requests would
        report private images as missing. `refresh` runs helpers again, and asks clouds.
        Only with `cloud`, a login with the identity of this machine is looked for.
        """
        found = await self._find(registry, namespace, refresh, cloud)
        if isinstance(found, FoundCredential):
            credential = found.credential
            if isinstance(credential, Login):
                secret = credential.password
            else:
                secret = credential.token
            self._secrets.add(secret, credential.username)
        return found

    async def _find(
        self,
        registry: str,
        namespace: str,
        refresh: bool,
        cloud: CloudEndpoint | None,
    ) -> FoundCredential | Failure | None:
        configured = self._configured(registry, namespace)
        if isinstance(configured, FoundCredential):
            return configured
        if configured is not None:
            found = await self._helpers.get(configured, refresh=refresh)
            return found or _nothing_found(configured, registry)
        mode = self._settings.registry(registry).cloud_login
        if cloud is not None and mode is CloudLogin.ALWAYS:
            found = await self._machine(registry, mode, refresh, cloud)
            if found is not None:
                return found
        for file in self._files:
            for candidate in file.candidates(registry, namespace):
                if not isinstance(candidate, CredentialHelper):
                    return candidate
                found = await self._helpers.get(candidate, refresh=refresh)
                if found is not None:
                    return found
        if cloud is not None and mode is CloudLogin.AUTO:
            return await self._machine(registry, mode, refresh, cloud)
        return None

    async def _machine(
        self,
        registry: str,
        mode: CloudLogin,
        refresh: bool,
        cloud: CloudEndpoint,
    ) -> FoundCredential | Failure | None:
        """A login with the identity of this machine; None for anonymous requests.

        If everybody may pull, nothing is lost without a login; elsewhere, only ECR has
        no public images.
        """
        host = cloud.host
        found = await self.clouds.get(
            host,
            self._settings.registry(registry),
            exchange=cloud.exchange,
            refresh=refresh,
        )
        if isinstance(found, FoundCredential):
            return found
        is_required = mode is CloudLogin.ALWAYS
        if isinstance(found, Failure):
            if not is_required and host.cloud is not Cloud.AWS:
                hint = "public images need no login (cloud_login = off)"
                return replace(found, detail=f"{found.detail}; {hint}")
            if is_required or not host.is_public:
                return found
        elif is_required or (host.cloud is Cloud.AWS and not host.is_public):
            detail = f"{found.detail}; log in, or configure a login for {registry}"
            return Failure(kind=FailureKind.DENIED, detail=detail, stage=Stage.TOKEN)
        self._no_identity[registry] = found.detail
        return None

    def no_identity(self, registry: str) -> str | None:
        """Why the registry of a cloud is asked without a login; None elsewhere."""
        return self._no_identity.get(registry)

    def location_of(self, registry: str, namespace: str) -> str | None:
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

    def _configured(
        self, registry: str, namespace: str
    ) -> FoundCredential | CredentialHelper | PasswordCommand | None:
        for name in enclosing_names(registry, namespace):
            login = self._namespaces.get(name)
            settings = self._registries.get(name)
            if settings and settings.username and settings.password is not None:
                login = Login(username=settings.username, password=settings.password)
            elif settings and settings.login_program is not None:
                login = settings.login_program
            if login is None:
                continue
            location = str(
                self._login_locations.get(name) or f'configuration: [registry."{name}"]'
            )
            if isinstance(login, Login):
                return FoundCredential(
                    credential=login, source=CredentialSource.CONFIG, location=location
                )
            if login.helper is not None:
                server = HUB_KEY if registry == DOCKER_HUB else registry
                return CredentialHelper(
                    name=login.helper, server=server, location=location
                )
            return PasswordCommand(
                command=login.command,
                username=login.username or "",
                location=location,
            )
        return None


def _nothing_found(
    program: CredentialHelper | PasswordCommand, registry: str
) -> Failure:
    """The failure of a configured helper that has no login."""
    detail = (
        f"credential helper: {program.program} has no login for {registry}"
        f" ({program.location})"
    )
    return Failure(kind=FailureKind.DENIED, stage=Stage.TOKEN, detail=detail)
