"""The image pull secrets of a Kubernetes cluster as credentials.

Source: kubernetes.io, "Pull an Image from a Private Registry". Only logins are taken:
a credential helper that a secret names would be a program that anyone who can write
the secret chooses.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace

from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.registry.auth.docker_config import DockerConfig, parse_docker_config
from auditor.util.secret import Secret
from auditor.util.text import safe_text

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
