"""Runs the real docker-registry (distribution 2.8) over a store, if it is installed.

write_store(root, official_images())
with docker_registry(root) as base_url:
    ...
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from auditor.demo.demo_registry import HOST
from auditor.fast_dataclass import dataclass
from tests.patience import HANG_S
from tests.ports import held_port
from tests.support.token_service import FakeTokenService, certificate_pem

PROGRAM = "docker-registry"
_POLL_S = 0.02
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAuth:
    """`auth: token`: the service whose tokens are accepted. `realm` is a whole URL."""

    tokens: FakeTokenService
    realm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HtpasswdAuth:
    """`auth: htpasswd`: Basic, with the lines of an htpasswd file (bcrypt only)."""

    lines: str


@contextmanager
def docker_registry(
    root: Path,
    *,
    auth: TokenAuth | HtpasswdAuth | None = None,
    port: int | None = None,
    schema1: bool = True,
    upstream: str | None = None,
    started: Callable[[subprocess.Popen[bytes]], None] | None = None,
) -> Iterator[str]:
    """Serve the store below `root` on the loopback interface; yields the base URL.

    With `upstream`, a base URL, it is a pull-through cache of that registry ("proxy").
    `started` is called with the process.

    Raises FileNotFoundError if the program is not installed, RuntimeError with its log
    if it does not start.
    """
    with ExitStack() as stack:
        port = port or stack.enter_context(held_port())
        temporary = tempfile.TemporaryDirectory(prefix="docker-registry-")
        folder = Path(stack.enter_context(temporary))
        config, log = folder / "config.yml", folder / "log"
        content = _config(root, port, auth, folder, schema1=schema1)
        if upstream is not None:
            content["proxy"] = {"remoteurl": upstream}
        config.write_text(json.dumps(content))
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [shutil.which(PROGRAM) or PROGRAM, "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        if started is not None:
            started(process)
        try:
            _wait_until_it_listens(process, port, log)
            yield f"http://{HOST}:{port}"
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _config(
    root: Path,
    port: int,
    auth: TokenAuth | HtpasswdAuth | None,
    folder: Path,
    *,
    schema1: bool,
) -> dict[str, Any]:
    """Distribution's docs, "Configuring a registry"; JSON, which is YAML too."""
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(root), "maxthreads": 100}},
        "http": {"addr": f"{HOST}:{port}"},
    }
    if isinstance(auth, HtpasswdAuth):
        passwords = folder / "htpasswd"
        passwords.write_text(auth.lines)
        config["auth"] = {
            "htpasswd": {"realm": "docker registry", "path": str(passwords)}
        }
    elif auth is not None:
        certificates = folder / "certificates.pem"
        certificates.write_bytes(certificate_pem(auth.tokens.key))
        token = {
            "realm": auth.realm,
            "service": auth.tokens.service,
            "issuer": auth.tokens.issuer,
            "rootcertbundle": str(certificates),
        }
        config["auth"] = {"token": token}
    if schema1:
        config["compatibility"] = {"schema1": {"enabled": True}}
    return config


def _wait_until_it_listens(
    process: subprocess.Popen[bytes], port: int, log: Path
) -> None:
    deadline = time.monotonic() + HANG_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(_POLL_S)
    output = log.read_text(errors="replace").strip()
    raise RuntimeError(f"{PROGRAM} did not start: {output or 'no output'}")
