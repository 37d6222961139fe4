"""Runs registries that others wrote on a free port of the loopback interface.

Each starts empty; crane's, cuelabs' and olareg keep everything in memory.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from auditor.config import RegistrySettings
from auditor.demo.demo_tokens import DemoAccount
from tests.patience import HANG_S
from tests.ports import held_port
from tests.real.access_log import wait_until
from tests.real.audits import login
from tests.real.basic_login import LINE, USER
from tests.real.docker_registry import (
    DISTRIBUTION_2,
    DISTRIBUTION_3,
    Flavour,
    running_registry,
)
from tests.real.go_programs import CRANE_REGISTRY, OCISERVER, OLAREG
from tests.real.memory_folder import memory_folder
from tests.real.programs import built
from tests.real.token_server import PUSHER, TokenServer

# The corpus is some 600 small files.
_STORE_BYTES = 64 * 1024**2
_PORT = re.compile(r"(?:serving on port |listening on 127\.0\.0\.1:)(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A registry that listens at `host`. `account` may do everything there."""

    host: str
    account: DemoAccount | None = None
    token: Callable[[str], str] | None = None
    """A token to push to a repository; None: Basic if there is an account."""

    @property
    def settings(self) -> RegistrySettings:
        return login(self.account)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A registry program, and what is known about it.

    `referrers`: it has the referrers API. `catalog`: it lists its repositories.
    `signs_in`: its access control gives tokens, or takes Basic.
    """

    name: str
    run: Callable[[Path, TokenServer], AbstractContextManager[Running]]
    referrers: bool = False
    catalog: bool = True
    signs_in: bool = False

    def __str__(self) -> str:
        return self.name


@contextmanager
def crane_registry(place: Path, tokens: TokenServer) -> Iterator[Running]:
    command = [built(CRANE_REGISTRY), "-port", "0"]
    with _started(command, place) as port:
        yield Running(host=f"127.0.0.1:{port}")


@contextmanager
def ociserver(place: Path, tokens: TokenServer) -> Iterator[Running]:
    with _started([built(OCISERVER)], place) as port:
        yield Running(host=f"127.0.0.1:{port}")


@contextmanager
def olareg(place: Path, *arguments: str, port: int | None = None) -> Iterator[str]:
    """olareg at this host, with a store in memory. It has to be told its own address.

    `arguments` are more options of `olareg serve`; the last one of a name counts.
    """
    program = built(OLAREG)
    with ExitStack() as stack:
        port = port or stack.enter_context(held_port())
        command = [
            *(program, "serve", "--addr", "127.0.0.1", "--port", str(port)),
            *("--external-url", f"http://127.0.0.1:{port}"),
            *("--store-type", "mem", "--api-delete", "--api-blob-delete", *arguments),
        ]
        stack.enter_context(_started(command, place, port=port))
        yield f"127.0.0.1:{port}"


def olareg_accounts(place: Path) -> Path:
    """olareg's access file: everything for the account, `public/` for everybody."""
    rules = [
        {"repo": "*", "access": ["*"], "members": [USER.name]},
        {"repo": "", "access": ["read"], "members": [USER.name]},
        {"repo": "public/*", "access": ["read"], "anonymous": True},
        {"repo": "public/*", "access": ["*"], "members": [USER.name]},
    ]
    users = {USER.name: {"cred": LINE.strip().partition(":")[2]}}
    file = place / "accounts.yaml"
    file.write_text(json.dumps({"users": users, "groups": {}, "acls": rules}))
    return file


@contextmanager
def olareg_with_tokens(place: Path, tokens: TokenServer) -> Iterator[Running]:
    file = olareg_accounts(place)
    with olareg(place, "--auth-token-opaque", str(file)) as host:
        # Its opaque tokens are for everything that the account may do.
        text = _olareg_token(host)
        yield Running(host=host, account=USER, token=lambda _: text)


@contextmanager
def olareg_with_basic(place: Path, tokens: TokenServer) -> Iterator[Running]:
    file = olareg_accounts(place)
    with olareg(place, "--auth-basic", str(file)) as host:
        yield Running(host=host, account=USER)


def _distribution(
    flavour: Flavour,
) -> Callable[[Path, TokenServer], AbstractContextManager[Running]]:
    @contextmanager
    def run(place: Path, tokens: TokenServer) -> Iterator[Running]:
        with (
            memory_folder("registry-", room=_STORE_BYTES, otherwise=place) as root,
            running_registry(
                flavour,
                place,
                root=root,
                tokens=tokens.service,
                # crane refuses a loopback address here, and takes the name.
                realm=tokens.realm.replace("127.0.0.1", "localhost"),
            ) as registry,
        ):
            yield Running(
                host=registry.host,
                account=PUSHER,
                token=functools.cache(
                    lambda repository: tokens.service.issue(
                        PUSHER, [f"repository:{repository}:pull,push,delete"]
                    )
                ),
            )

    return run


PRODUCTS = (
    Product(name="crane", run=crane_registry),
    Product(name="cuelabs", run=ociserver, referrers=True),
    Product(
        name="olareg",
        run=olareg_with_tokens,
        referrers=True,
        catalog=False,
        signs_in=True,
    ),
    Product(name=str(DISTRIBUTION_3), run=_distribution(DISTRIBUTION_3), signs_in=True),
    Product(name=str(DISTRIBUTION_2), run=_distribution(DISTRIBUTION_2), signs_in=True),
)


def _olareg_token(host: str) -> str:
    pair = base64.b64encode(f"{USER.name}:{USER.password}".encode()).decode()
    request = urllib.request.Request(
        f"http://{host}/token?service=olareg+registry",
        headers={"Authorization": f"Basic {pair}"},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        text: str = json.load(answer)["token"]
    return text


@contextmanager
def _started(
    command: list[str], place: Path, *, port: int | None = None
) -> Iterator[int]:
    """Run a program until the end of the block; the port on which it listens."""
    log = place / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )

    def known() -> int | None:
        assert process.poll() is None, f"the registry stopped: {log.read_text()}"
        if port is not None:
            with socket.socket() as probe:
                return port if probe.connect_ex(("127.0.0.1", port)) == 0 else None
        match = _PORT.search(log.read_text())
        return int(match[1]) if match else None

    try:
        wait_until(
            lambda: known() is not None,
            f"{command[0]} listens",
            within_s=HANG_S,
        )
        found = known()
        assert found is not None
        yield found
    finally:
        process.kill()
        process.wait()
