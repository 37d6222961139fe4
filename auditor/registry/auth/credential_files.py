"""Finds and reads the credential files of docker, podman and Kubernetes secrets.

Sources: docker/cli, cli/config; containers-auth.json(5); containers/image,
pkg/docker/config (`getAuthFilePaths`); containers/common, pkg/auth
(`GetDefaultAuthFile`); kubernetes.io, "Docker config Secrets". A file that exists and
cannot be used is an error, never an empty file: its logins would be missing without a
word, and private images would be reported as missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.registry.auth.docker_config import DockerConfig, parse_docker_config

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
