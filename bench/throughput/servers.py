"""A registry program on the loopback interface, public or with a token service."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from auditor.demo.demo_tokens import DemoAccount
from tests.support.registry import serve_in_thread
from tests.support.token_service import (
    FakeTokenService,
    certificate_pem,
    jwks,
    token_app,
)

USER = DemoAccount("bench", "password of the bench", {"*": ("*",)})
_START_S = 20.0
_COUNT = re.compile(r'registry_http_requests_total\{code="(\d+)",.*\} (\d+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A registry at `host`; `tokens` is its token service, if it has one."""

    host: str
    process: int
    metrics: str
    tokens: FakeTokenService | None

    def configure(self, file: Path, slots: int) -> None:
        """Write what `auditor --config` needs for it; the password is that of `USER`
        in the environment's BENCH_PASSWORD."""
        login = ""
        if self.tokens is not None:
            login = f'username = "{USER.name}"\npassword_env = "BENCH_PASSWORD"\n'
        file.write_text(
            f'[registry."{self.host}"]\nrequests_at_once = {slots}\n{login}'
        )

    def requests(self) -> Counter[str]:
        """The number of its responses, by status."""
        with urllib.request.urlopen(self.metrics) as answer:  # noqa: S310
            text = answer.read().decode()
        found: Counter[str] = Counter()
        for status, count in _COUNT.findall(text):
            found[status] += int(count)
        return found

    def cpu_s(self) -> float:
        """Its CPU seconds so far."""
        fields = (
            Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        )
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(program: str, root: Path, place: Path, *, auth: bool) -> Iterator[Server]:
    """Serve the store below `root`; configuration and log are written to `place`."""
    if not auth:
        with _registry(program, root, place, "", None) as server:
            yield server
        return
    tokens = FakeTokenService(
        accounts=[USER], service="bench", issuer="token service of the bench"
    )
    with serve_in_thread(token_app(tokens)) as url:
        key_set, bundle = place / "keys.json", place / "keys.pem"
        key_set.write_bytes(jwks(tokens.key))
        bundle.write_bytes(certificate_pem(tokens.key))
        # 3.x finds the key by its id in a JWKS; 2.8 reads certificate bundles only.
        trusted = (
            f"rootcertbundle: '{bundle}'"
            if program.endswith("docker-registry")
            else f"jwks: '{key_set}'"
        )
        # go-containerregistry refuses a realm that is a loopback address.
        realm = url.replace("127.0.0.1", "localhost") + "/token"
        lines = (
            f"auth: {{token: {{realm: '{realm}', service: '{tokens.service}',"
            f" issuer: '{tokens.issuer}', {trusted}}}}}\n"
        )
        with _registry(program, root, place, lines, tokens) as server:
            yield server


@contextmanager
def _registry(
    program: str, root: Path, place: Path, auth: str, tokens: FakeTokenService | None
) -> Iterator[Server]:
    host, metrics = (f"127.0.0.1:{_free_port()}" for _ in range(2))
    config = place / "config.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{root}', maxthreads: 100}}}}\n"
        f"http: {{addr: '{host}', secret: 'of the bench',"
        f" debug: {{addr: '{metrics}', prometheus: {{enabled: true}}}}}}\n" + auth
    )
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(config)],
            stdout=log,
            stderr=log,
            # Or 3.x looks for a collector of traces.
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        _wait_for(f"http://{host}/v2/", process)
        yield Server(
            host=host,
            process=process.pid,
            metrics=f"http://{metrics}/metrics",
            tokens=tokens,
        )
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            urllib.request.urlopen(url).close()  # noqa: S310
        except urllib.error.HTTPError as answer:
            answer.close()
            return  # 401 is an answer, too
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
