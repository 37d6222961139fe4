"""Finds the credential for a repository.

The configuration comes first, then the files of docker and podman in their order; the
longest matching name wins. The registry of a cloud without any of them gets a login
with the identity of this machine (`clouds/`), or before the files if the setting
`cloud_login` is `always`. One host can have several credentials, one for each
namespace that the configuration or a file names (google/go-containerregistry#1329).

A file that exists and cannot be used is an error, never an empty file: its logins would
be missing without a word, and private images would be reported as missing. Sources of
their places: docker/cli, cli/config; containers-auth.json(5); containers/image,
pkg/docker/config (`getAuthFilePaths`); containers/common, pkg/auth
(`GetDefaultAuthFile`); kubernetes.io, "Docker config Secrets".
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.config import CloudLogin, Settings
from auditor.errors import Failure, FailureKind, Stage, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import CredentialSource
from auditor.oci.reference import DOCKER_HUB
from auditor.registry.auth.credential_helper import HelperRunner
from auditor.registry.auth.docker_config import (
    HUB_KEY,
    CredentialHelper,
    DockerConfig,
    FoundCredential,
    PasswordCommand,
    PullSecret,
    enclosing_names,
    parse_docker_config,
    pull_secret_configs,
)
from auditor.util.clock import Clock, SystemClock
from auditor.util.secret import KnownSecrets, Secret
from auditor.wire.cloud_hosts import Cloud, CloudHost
from auditor.wire.credential import Login

if TYPE_CHECKING:
    from auditor.registry.auth.clouds.cloud_logins import CloudLogins

# An entry has some 200 bytes: room for five thousand registries.
MAX_FILE_BYTES = 1024 * 1024
# Where podman keeps logins without XDG_RUNTIME_DIR, as in cron: a folder per user ID.
RUN_FOLDER = Path("/run/containers")
# The names of a credential file in a folder: docker's, and the keys of Kubernetes
# secrets of the types kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg.
FILE_NAMES = ("config.json", ".dockerconfigjson", ".dockercfg")

_AUTHFILE, _VARIABLE, _FOLDER = "--authfile", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialFile:
    """A place where a credential file was looked for; `config` is None if it has none.

    `named_by` is the flag or variable that names the file or its folder, None for a
    default place.
    """

    path: Path
    named_by: str | None
    config: DockerConfig | None

    def __str__(self) -> str:
        return str(self.path) + ("" if self.config else " (no such file)")


def read_credential_files(
    authfiles: tuple[str, ...], environment: Mapping[str, str]
) -> tuple[CredentialFile, ...]:
    """Look for the files of the settings or of the environment, best first.

    If the option `authfile` or else `$REGISTRY_AUTH_FILE` names files, only these are
    read, and they must exist. Raises `UsageError` if one does not, and for a file that
    cannot be used. An empty file has no entries, as in docker.
    """
    return tuple(
        CredentialFile(
            path=path, named_by=named_by, config=_read_config(path, named_by)
        )
        for path, named_by in _places(authfiles, environment)
    )


def _places(
    authfiles: tuple[str, ...], environment: Mapping[str, str]
) -> Iterator[tuple[Path, str | None]]:
    """The paths in the order of precedence, and what names them."""
    if authfiles:
        for authfile in authfiles:
            yield Path(authfile), _AUTHFILE
        return
    if authfile := environment.get(_VARIABLE, ""):
        yield Path(authfile), _VARIABLE
        return
    if folder := environment.get(_FOLDER):
        if Path(folder).is_file():
            raise UsageError(
                f"{_FOLDER}: {folder} is a file; name its folder, or the file with"
                f" {_AUTHFILE}"
            )
        for name in FILE_NAMES:
            yield Path(folder, name), _FOLDER
        return
    home = environment.get("HOME")
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json"), None
    else:
        yield RUN_FOLDER / str(os.getuid()) / "auth.json", None
    if config_home := environment.get("XDG_CONFIG_HOME"):
        yield Path(config_home, "containers", "auth.json"), None
    elif home:
        yield Path(home, ".config", "containers", "auth.json"), None
    if home:
        yield Path(home, ".docker", "config.json"), None
        yield Path(home, ".dockercfg"), None


def _read_config(path: Path, named_by: str | None) -> DockerConfig | None:
    advice = "" if named_by else "; repair it, or ignore it with --no-docker-config"
    try:
        data = _read(path)
        if data is not None:
            return parse_docker_config(data if data.strip() else b"{}", str(path))
    except UsageError as error:
        raise UsageError(f"{error}{advice}") from None
    if named_by in (_AUTHFILE, _VARIABLE):
        raise UsageError(f"{path}: no such file; check {named_by}")
    return None


def _read(path: Path) -> bytes | None:
    """The content of a file; None if it does not exist."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        if path.is_relative_to(RUN_FOLDER) and not os.access(path.parent, os.X_OK):
            return None  # the folder of another user, which has no login of this one
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except OSError as error:
        if path.is_dir():
            raise UsageError(
                f"{path}: cannot be read: {error.strerror}; name the file in it"
            ) from None
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    return data


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
    secrets of a cluster come last. Adds what it finds to `secrets`. Raises `UsageError`
    as `read_credential_files` does.
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
