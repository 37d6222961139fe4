"""Which login a repository of a registry is asked with.

The configuration's word comes first, the longest name first; then docker's and
podman's files, one after the other. There can be several logins on one host
(google/go-containerregistry#1329): one for each part of it that somebody names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Self, assert_never

from auditor.config import RegistrySettings, Settings
from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import CredentialSource
from auditor.registry.access.auth_files import read_auth_files
from auditor.registry.access.credential_helper import HelperRunner
from auditor.registry.auth.docker_config import (
    DockerConfig,
    Helper,
    Kept,
    Unusable,
    names_of,
)
from auditor.wire.login import Credential, Login


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A login and where it came from. `place` is for people; it holds no secret."""

    login: Login
    source: CredentialSource
    place: str


class Credentials:
    """The logins of a run. What a helper keeps is asked for when it is wanted."""

    def __init__(
        self,
        *,
        registries: Mapping[str, RegistrySettings],
        namespaces: Mapping[str, Credential],
        files: tuple[DockerConfig, ...],
        helpers: HelperRunner,
    ) -> None:
        self._registries = registries
        self._namespaces = namespaces
        self._files = files
        self._helpers = helpers
        self._parts = frozenset(
            name
            for names in (namespaces, *(file.names for file in files))
            for name in names
            if "/" in name
        )
        self._divided = frozenset(name.partition("/")[0] for name in self._parts)

    @classmethod
    def from_settings(
        cls, settings: Settings, environment: Mapping[str, str] = os.environ
    ) -> Self:
        """Gather the logins of a run; reads docker's and podman's files if allowed.

        Raises `UsageError` as `read_auth_files` does.
        """
        files: tuple[DockerConfig, ...] = ()
        if settings.docker_config:
            files = read_auth_files(settings.authfile, environment)
        return cls(
            registries=settings.registries,
            namespaces=settings.namespaces,
            files=files,
            helpers=HelperRunner(environment),
        )

    def part_of(self, registry: str, repository: str) -> str:
        """The longest namespace around a repository that somebody names, else "".

        All repositories of a part have the same login. It is asked for each request
        and waits for nobody.
        """
        if registry not in self._divided:
            return ""
        for name in names_of(registry, repository):
            if name in self._parts:
                return name.removeprefix(registry).removeprefix("/")
        return ""

    async def find(
        self, registry: str, part: str = "", *, anew: bool = False
    ) -> Found | Failure | None:
        """The login for a part of a registry; None is anonymous.

        `anew`: helpers are asked even if their answer is known.

        A `Failure` where there is one that cannot be used: going on without it would
        turn a mistake into images that seem not to be there.
        """
        configured = self._configured(registry, part)
        if configured is not None:
            return configured
        for way in self._ways(registry, part):
            match way:
                case Kept():
                    return Found(
                        login=way.login, source=CredentialSource.FILE, place=way.place
                    )
                case Helper():
                    login = await self._helpers.ask(way, anew=anew)
                    if isinstance(login, Failure):
                        return login
                    if login is not None:
                        return Found(
                            login=login,
                            source=CredentialSource.HELPER,
                            place=f"docker-credential-{way.name} ({way.place})",
                        )
                case Unusable():
                    return Failure(
                        kind=FailureKind.DENIED, detail=way.detail, stage=Stage.TOKEN
                    )
                case _:
                    assert_never(way)
        return None

    def _configured(self, registry: str, part: str) -> Found | None:
        for name in names_of(registry, part):
            login = self._namespaces.get(name)
            if login is not None:
                return _of_configuration(login, name)
        settings = self._registries.get(registry)
        if settings and settings.username is not None and settings.password is not None:
            login = Credential(username=settings.username, password=settings.password)
            return _of_configuration(login, registry)
        return None

    def _ways(self, registry: str, part: str) -> Iterator[Kept | Helper | Unusable]:
        for file in self._files:
            yield from file.ways(registry, part)


def _of_configuration(login: Credential, name: str) -> Found:
    return Found(
        login=login,
        source=CredentialSource.CONFIG,
        place=f'configuration: [registry."{name}"]',
    )
