"""Run a real registry program on a free port of the loopback interface."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.patience import HANG_S
from tests.real.access_log import AccessLog, wait_until
from tests.real.go_programs import DISTRIBUTION
from tests.real.programs import built, required
from tests.support.token_service import FakeTokenService, certificate_pem, jwks

_HOST = "127.0.0.1"
# It listens some 50 ms after its start, and much later on a loaded machine.
_STOP_TIMEOUT_S = 10.0
_LISTENING = re.compile(r"listening on ([\d.]+:\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """A registry program. `find` returns its path, or skips the test.

    2.8 stores and serves schema 1, and ignores `n` for tags. 3.x has no schema 1,
    pages tags, and finds keys in a JWKS by their `kid` (its `rootcertbundle` knows
    RFC 7638 thumbprints only, and the token service names its key as libtrust does).
    """

    name: str
    find: Callable[[], str]
    schema1: bool
    pages_tags: bool
    jwks: bool

    def __str__(self) -> str:
        return self.name


DISTRIBUTION_2 = Flavour(
    name="docker-registry-2.8",
    find=lambda: required("docker-registry"),
    schema1=True,
    pages_tags=False,
    jwks=False,
)
DISTRIBUTION_3 = Flavour(
    name="distribution-3",
    find=lambda: built(DISTRIBUTION),
    schema1=False,
    pages_tags=True,
    jwks=True,
)
FLAVOURS = (DISTRIBUTION_2, DISTRIBUTION_3)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRegistry:
    """A registry that listens. `host` is `127.0.0.1:port`."""

    flavour: Flavour
    host: str
    log: AccessLog


@contextmanager
def running_registry(
    flavour: Flavour,
    place: Path,
    *,
    root: Path,
    tokens: FakeTokenService | None,
    realm: str = "",
) -> Iterator[RunningRegistry]:
    """Serve the store below `root`; configuration and logs are written to `place`.

    The registry trusts `tokens` and sends clients to `realm`; without tokens it is
    public. It is stopped at the end of the block.
    """
    program = flavour.find()
    config, access, errors = (place / name for name in ("config.yml", "access", "log"))
    config.write_text(_config(flavour, place, root, tokens, realm))
    with access.open("wb") as stdout, errors.open("wb") as stderr:
        process = subprocess.Popen(
            [program, "serve", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            # Without this, 3.x looks for a collector of traces.
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        host = _host(process, errors)
        yield RunningRegistry(
            flavour=flavour, host=host, log=AccessLog(access, f"http://{host}")
        )
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _config(
    flavour: Flavour,
    place: Path,
    root: Path,
    tokens: FakeTokenService | None,
    realm: str,
) -> str:
    """distribution docs, "Configuring a registry"."""
    store = f"filesystem: {{rootdirectory: '{root}', maxthreads: 100}}"
    lines = [
        "version: 0.1",
        "log: {level: info, formatter: json, accesslog: {disabled: false}}",
        f"storage: {{{store}, delete: {{enabled: true}}}}",
        # Layers at these URLs are accepted without their bytes.
        "validation: {manifests: {urls: {allow: ['^https://example.com/']}}}",
        f"http: {{addr: '{_HOST}:0', secret: 'of one registry'}}",
        *(_trust(flavour, place, tokens, realm) if tokens is not None else ()),
    ]
    if flavour.schema1:
        lines.append("compatibility: {schema1: {enabled: true}}")
    return "\n".join(lines) + "\n"


def _trust(
    flavour: Flavour, place: Path, tokens: FakeTokenService, realm: str
) -> list[str]:
    if flavour.jwks:
        keys = place / "keys.json"
        keys.write_bytes(jwks(tokens.key))
        trusted = f"jwks: '{keys}'"
    else:
        keys = place / "certificates.pem"
        keys.write_bytes(certificate_pem(tokens.key))
        trusted = f"rootcertbundle: '{keys}'"
    return [
        "auth:",
        "  token:",
        f"    realm: '{realm}'",
        f"    service: '{tokens.service}'",
        f"    issuer: '{tokens.issuer}'",
        f"    {trusted}",
    ]


def _host(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address of the registry, which it logs when it listens."""

    def known() -> bool:
        assert process.poll() is None, f"the registry stopped: {log.read_text()}"
        return _LISTENING.search(log.read_text()) is not None

    wait_until(known, "the registry listens", within_s=HANG_S)
    match = _LISTENING.search(log.read_text())
    assert match is not None
    return match[1]
