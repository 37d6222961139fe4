"""More registries than the process may have connections (`ulimit -n`)."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from auditor.demo.demo_registry import serve
from auditor.registry.transport import connection_budget
from tests.certificates import Authority
from tests.flow.commands import PROGRAM, Finished, auditor
from tests.flow.harness import BLOBS, MANIFESTS, TOKENS, lab, service, simple
from tests.support.fault_actions import Answer, Hold
from tests.support.faults import Faults
from tests.support.registry import registry_app

pytestmark = pytest.mark.anyio
NAMES = ["team/app:1", "team/app:2", "team/app:3"]


def _limited(
    files: int, hard: int | None = None, program: Sequence[str] = PROGRAM
) -> list[str]:
    """The program with a soft and a hard limit of open files."""
    script = f'ulimit -Sn {files}; ulimit -Hn {hard or files}; exec "$@"'
    return ["/bin/sh", "-c", script, "sh", *program]


@asynccontextmanager
async def _every_loopback_host(
    names: Sequence[str] = NAMES, **more: Any
) -> AsyncIterator[tuple[Faults, str]]:
    """A registry at every address of 127.0.0.0/8; yields its port."""
    faults = Faults()
    app = registry_app(simple(names), middlewares=[faults.middleware])
    async with serve(app, host="0.0.0.0", **more) as url:  # noqa: S104
        yield faults, url.rpartition(":")[2]
    faults.assert_no_unmatched()


def _references(hosts: int, port: str) -> bytes:
    return "\n".join(
        f"127.0.{number // 200}.{number % 200 + 1}:{port}/{name}"
        for name in NAMES
        for number in range(hosts)
    ).encode()


def _assert_all_audited(done: Finished, hosts: int) -> None:
    assert done.code == 0, done.stderr
    assert {line["kind"] for line in done.lines} == {"image"}
    assert len(done.lines) == len(NAMES) * hosts
    assert not any("responds again" in line for line in done.stderr)


@pytest.mark.parametrize(("files", "hosts"), [(64, 80), (32, 40), (256, 300)])
async def test_few_descriptors_are_enough_for_many_hosts(
    files: int, hosts: int, tmp_path: Path
) -> None:
    async with _every_loopback_host() as (faults, port):
        done = await auditor(
            "audit",
            "-f",
            "-",
            stdin=_references(hosts, port),
            environment={
                "AUDITOR_NO_CACHE": "false",
                "AUDITOR_CACHE": str(tmp_path / "cache"),
            },
            program=_limited(files),
        )
        # No host was suspected, and nothing was asked twice.
        assert faults.count("GET", "/v2/") == hosts
        assert faults.count("GET", MANIFESTS) == len(NAMES) * hosts
    _assert_all_audited(done, hosts)


async def test_few_descriptors_are_enough_for_many_hosts_over_tls(
    tmp_path: Path,
) -> None:
    hosts = 40
    authority = Authority(tmp_path)
    addresses = [f"127.0.0.{number + 1}" for number in range(hosts)]
    async with _every_loopback_host(tls=authority.server(*addresses)) as (_, port):
        done = await auditor(
            "audit",
            "-f",
            "-",
            "--ca-file",
            str(authority.file),
            stdin=_references(hosts, port),
            program=_limited(64),
        )
    _assert_all_audited(done, hosts)


async def test_few_descriptors_are_enough_for_many_requests_at_once(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    names = [f"team/app:{number}" for number in range(200)]
    tls = authority.server("127.0.0.1")
    async with _every_loopback_host(names, tls=tls) as (_, port):
        done = await auditor(
            *("audit", "-f", "-", "--ca-file", str(authority.file)),
            *("--requests-at-once", "64..256"),
            stdin="\n".join(f"127.0.0.1:{port}/{name}" for name in names).encode(),
            program=_limited(64),
        )
    assert done.code == 0, done.stderr
    assert [line["kind"] for line in done.lines] == ["image"] * 200


async def test_few_descriptors_are_enough_for_many_hosts_behind_a_proxy() -> None:
    # As a proxy for plain HTTP, the registry gets whole URLs, and answers for all.
    hosts = 60
    async with _every_loopback_host() as (faults, port):
        done = await auditor(
            "audit",
            "-f",
            "-",
            "--plain-http",
            "--proxy",
            f"http://127.0.0.1:{port}",
            stdin=_references(hosts, port).replace(b"127.0.", b"198.51."),
            program=_limited(64),
        )
        assert faults.count("GET", "/v2/") == hosts
    _assert_all_audited(done, hosts)


async def test_every_host_may_need_a_credential_helper(tmp_path: Path) -> None:
    hosts = 60
    (tmp_path / "config.json").write_text('{"credsStore": "mine"}')
    helper = tmp_path / "docker-credential-mine"
    helper.write_text(
        "#!/bin/sh\necho 'credentials not found in native keychain'\nexit 1"
    )
    helper.chmod(0o755)
    async with _every_loopback_host() as (_, port):
        done = await auditor(
            "audit",
            "-f",
            "-",
            stdin=_references(hosts, port),
            environment={
                "DOCKER_CONFIG": str(tmp_path),
                "PATH": f"{tmp_path}:/usr/bin:/bin",
            },
            program=_limited(64),
        )
    _assert_all_audited(done, hosts)


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [(64, 64, 64), (64, 512, 512), (512, 512, 512), (1024, 8192, 8192)],
)
async def test_a_command_raises_the_soft_limit_to_the_hard_one(
    soft: int, hard: int, raised: int
) -> None:
    script = (
        "import resource\n"
        "from auditor.cli.command_support import run_async\n"
        "from auditor.config import Settings\n"
        "async def main(settings):\n"
        "    print(*resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        "run_async(main, Settings())\n"
    )
    done = await auditor(
        program=_limited(soft, hard, program=[sys.executable, "-c", script])
    )
    assert done.out.split() == [str(raised).encode(), str(hard).encode()]


# -- one budget ----------------------------------------------------------------------


@pytest.fixture(params=[1, 2, 4, 8])
def descriptors(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Hardly any descriptors for connections."""
    monkeypatch.setattr(connection_budget, "free_descriptors", lambda: request.param)
    return int(request.param)


async def test_tokens_retries_and_attachments_never_block_each_other(
    descriptors: int,
) -> None:
    # Of each of three registries: tokens, blobs and children at the same time, 503 and
    # 401 in between.
    names = [f"team/app{number}:1" for number in range(12)]
    async with (
        lab(simple(names), tokens=service()) as first,
        lab(simple(names), tokens=service()) as second,
        lab(simple(names)) as third,
    ):
        for here in (first, second, third):
            here.faults.on("GET", MANIFESTS, *[Answer(503)] * 2, skip=5)
            here.faults.on("GET", BLOBS, Answer(500), skip=3)
        first.faults.on("GET", TOKENS, Answer(503), skip=2)
        outcome = await first.audit(
            *(here.ref(name) for name in names for here in (first, second, third)),
            registries={second.host: second.login, third.host: third.login},
            attachments=True,
        )
        at_once = max(1, descriptors // 2)
        peak = max(here.faults.peak() for here in (first, second, third))
        assert peak <= max(1, at_once // 4)
    assert outcome.kinds == ["image"] * 36


async def test_silent_hosts_do_not_take_the_whole_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Eight connections, two for each host.
    monkeypatch.setattr(connection_budget, "free_descriptors", lambda: 16)
    names = [f"team/app:{number}" for number in range(20)]
    async with (
        lab(simple(names)) as healthy,
        lab(simple(names)) as silent,
        lab(simple(names)) as mute,
    ):
        for one in (silent, mute):
            one.faults.on("GET", MANIFESTS, Hold(), forever=True)
        outcome = await healthy.audit(
            *(here.ref(name) for name in names for here in (silent, mute, healthy)),
            expire_when=lambda: healthy.good(BLOBS) == len(names),
        )
        assert silent.faults.peak() <= 2
    assert outcome.kinds.count("image") >= len(names) - 2
    assert set(outcome.kinds) == {"image", "interrupted"}
