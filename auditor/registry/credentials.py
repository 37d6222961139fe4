"""Which credential a registry is asked with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from auditor.config import RegistrySettings, Settings
from auditor.errors import Failure, FailureKind, Stage, UsageError
from auditor.protocol.credential import Credential
from auditor.protocol.docker_config import (
    DockerConfig,
    Unusable,
    parse_docker_config,
)

__all__ = ["Credential", "Credentials"]

# Docker's file holds some 200 bytes for a registry: this is room for five thousand.
MAX_DOCKER_CONFIG_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the configuration says of a registry, or else what docker's file says."""

    registries: Mapping[str, RegistrySettings] = field(default_factory=dict)
    docker: DockerConfig | None = None

    @classmethod
    def from_settings(
        cls, settings: Settings, environment: Mapping[str, str] = os.environ
    ) -> Self:
        """Gather the credentials of a run; reads docker's file if that is allowed.

        Raises `UsageError` where that is unreadable or damaged, or is named by
        `authfile` and not there.
        """
        docker = None
        if settings.docker_config:
            docker = read_docker_config(settings.authfile, environment)
        return cls(registries=settings.registries, docker=docker)

    def lookup(self, registry: str) -> Credential | Failure | None:
        """Find the credential for a registry; None is anonymous.

        A `Failure` where one exists and cannot be used: going on without it would
        turn a mistake into images that seem not to be there.
        """
        settings = self.registries.get(registry)
        if settings and settings.username is not None and settings.password is not None:
            return Credential(username=settings.username, password=settings.password)
        found = self.docker.find(registry) if self.docker else None
        if isinstance(found, Unusable):
            return Failure(
                kind=FailureKind.DENIED, detail=found.detail, stage=Stage.TOKEN
            )
        return found


def read_docker_config(
    authfile: str | None, environment: Mapping[str, str]
) -> DockerConfig | None:
    """Read the named file, or docker's own if it is there.

    That is `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json` (docker/cli,
    cli/config). An empty file says nothing, as docker has it.
    """
    path = Path(authfile) if authfile else docker_config_path(environment)
    if path is None:
        return None
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_DOCKER_CONFIG_BYTES + 1)
    except FileNotFoundError:
        if authfile is None:
            return None
        raise UsageError(f"{path}: no such file, which --authfile names") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_DOCKER_CONFIG_BYTES:
        raise UsageError(f"{path}: larger than {MAX_DOCKER_CONFIG_BYTES} bytes")
    if not data.strip():
        return None
    return parse_docker_config(data, str(path))


def docker_config_path(environment: Mapping[str, str]) -> Path | None:
    """Where docker keeps its file; None where there is no home either."""
    if folder := environment.get("DOCKER_CONFIG"):
        return Path(folder, "config.json")
    if home := environment.get("HOME"):
        return Path(home, ".docker", "config.json")
    return None
