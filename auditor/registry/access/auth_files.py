"""Where docker, podman and skopeo keep their logins, and in which order they look.

Sources: docker/cli, cli/config; containers-auth.json(5); containers/image,
pkg/docker/config (`getAuthFilePaths`), and containers/common, pkg/auth
(`GetDefaultAuthFile`), for what the two variables do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from auditor.errors import UsageError
from auditor.registry.auth.docker_config import DockerConfig, parse_docker_config

# A registry is some 200 bytes in such a file: this is room for five thousand.
MAX_FILE_BYTES = 1024 * 1024


def read_auth_files(
    authfile: str | None, environment: Mapping[str, str]
) -> tuple[DockerConfig, ...]:
    """The files that are there, the one that is asked first at the front.

    A file that `authfile` (the option) or else `$REGISTRY_AUTH_FILE` names is the
    only one, and has to be there. Raises `UsageError` for that, and for a file that
    is unreadable or damaged. An empty file says nothing, as docker has it.
    """
    if authfile is not None:
        return _only(Path(authfile), "--authfile names")
    if named := environment.get("REGISTRY_AUTH_FILE"):
        return _only(Path(named), "REGISTRY_AUTH_FILE names")
    found = map(_read, auth_file_paths(environment))
    return tuple(config for config in found if config is not None)


def auth_file_paths(environment: Mapping[str, str]) -> Iterator[Path]:
    """Where to look, in order, where nobody names a file.

    `$DOCKER_CONFIG/config.json` alone where that variable is set: whoever sets it
    wants to be somebody else for once, and both docker and podman take it so.
    """
    if folder := environment.get("DOCKER_CONFIG"):
        yield Path(folder, "config.json")
        return
    home = environment.get("HOME")
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json")
    if own := environment.get("XDG_CONFIG_HOME"):
        yield Path(own, "containers", "auth.json")
    elif home:
        yield Path(home, ".config", "containers", "auth.json")
    if home:
        yield Path(home, ".docker", "config.json")


def _only(path: Path, named_by: str) -> tuple[DockerConfig, ...]:
    data = _data(path)
    if data is None:
        raise UsageError(f"{path}: no such file, which {named_by}")
    config = _parsed(data, path)
    return () if config is None else (config,)


def _read(path: Path) -> DockerConfig | None:
    data = _data(path)
    return None if data is None else _parsed(data, path)


def _data(path: Path) -> bytes | None:
    """What is in a file; None if there is none."""
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


def _parsed(data: bytes, path: Path) -> DockerConfig | None:
    return parse_docker_config(data, str(path)) if data.strip() else None
