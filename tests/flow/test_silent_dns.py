"""Names whose DNS servers never answer: other hosts, deadlines and signals go on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from auditor.config import RegistrySettings
from auditor.model import Order
from auditor.registry.transport import connection_budget
from tests.flow.commands import BASE_ENVIRONMENT, PROGRAM
from tests.flow.harness import BLOBS, PATIENCE_S, lab, simple
from tests.patience import HANG_S
from tests.real.programs import missing, required
from tests.support.silent_dns import NAMES as SERVED
from tests.support.silent_resolver import silent_resolver

NAMES = [f"team/app:{number}" for number in range(40)]
PATIENT = RegistrySettings(connect_timeout_s=HANG_S)


@pytest.mark.anyio
@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("hosts", [3, 60])
async def test_names_that_never_resolve_cost_a_healthy_registry_nothing(
    hosts: int, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = 8
    # A look-up for each name at a time, whatever `ulimit -n` is.
    monkeypatch.setattr(connection_budget, "free_descriptors", lambda: 1000)
    async with lab(simple(NAMES)) as here:
        port = here.host.rpartition(":")[2]
        with silent_resolver() as resolver:
            outcome = await here.audit(
                *(f"silent{number}.example/team/app:1" for number in range(hosts)),
                *(f"localhost:{port}/{name}" for name in NAMES),
                expire_when=lambda: here.good(BLOBS) == len(NAMES),
                order=order,
                requests_at_once=at_once,
                default_registry=PATIENT,
            )
            # The deadline did not wait for the look-ups.
            assert not resolver.release.is_set()
    # Responses may be on their way when the deadline comes, one in each slot.
    assert outcome.kinds.count("image") >= len(NAMES) - at_once
    assert set(outcome.kinds) <= {"image", "interrupted"}
    asked = {"localhost", *(f"silent{number}.example" for number in range(hosts))}
    assert Counter(resolver.asked) == Counter(asked)


@pytest.mark.anyio
async def test_names_that_wait_for_their_lookup_hold_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # `ulimit -n 64`: 14 connections and 7 look-ups at a time. The registry is named by
    # its address, so that it needs no DNS.
    monkeypatch.setattr(connection_budget, "free_descriptors", lambda: 28)
    async with lab(simple(NAMES)) as here:
        with silent_resolver():
            outcome = await here.audit(
                *(f"silent{number}.example/team/app:1" for number in range(30)),
                *map(here.ref, NAMES),
                expire_when=lambda: here.good(BLOBS) == len(NAMES),
                order=Order.COMPLETION,
                default_registry=PATIENT,
            )
    # A host has three connections: so many responses may be on their way.
    assert outcome.kinds.count("image") >= len(NAMES) - 3
    assert set(outcome.kinds) <= {"image", "interrupted"}


# -- a real resolver, in a network namespace ---------------------------------------


@dataclass(frozen=True, slots=True)
class _Done:
    code: int
    kinds: dict[str, Counter[str]]
    err: str


def _namespaces() -> list[str]:
    """The command that makes them, or a skip: it takes the rights of root."""
    command = ["unshare", "--net", "--mount", "--propagation", "private", "--"]
    required("unshare", package="util-linux")
    probe = [*command, "mount", "--bind", "/etc/resolv.conf", "/etc/resolv.conf"]
    done = subprocess.run(probe, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        missing("a network namespace", f"run as root: {done.stderr.strip()}")
    return command


def _audit(folder: Path, *options: str, terminate: bool = False) -> _Done:
    """Audit the images of `registry`, and three names of silent DNS servers."""
    report = folder / "report.jsonl"
    references = [
        *(
            f"silent{one}.example/team/app:{tag}"
            for one in range(3)
            for tag in range(5)
        ),
        *(f"{{registry}}/{name}" for name in SERVED),
    ]
    command = [
        *_namespaces(), sys.executable, "-m", "tests.support.silent_dns",
        *(["--terminate"] if terminate else []),
        *PROGRAM, "audit", "--plain-http", "--order", "completion", *options,
        "-o", str(report), *references,
    ]  # fmt: skip
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={**BASE_ENVIRONMENT, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert "Traceback" not in outcome["err"], outcome["err"]
    assert outcome["code"] in {1, 143}, outcome["err"]
    kinds: dict[str, Counter[str]] = {"registry": Counter(), "silent": Counter()}
    partial = report.with_name("report.jsonl.partial")
    for line in (report if report.exists() else partial).read_bytes().splitlines():
        record: dict[str, Any] = json.loads(line)
        host = "silent" if record["reference"].startswith("silent") else "registry"
        kinds[host][record.get("failure", "image")] += 1
    return _Done(outcome["code"], kinds, outcome["err"])


# On a busy machine the images take longer: the limit in seconds of each try.
LIMITS_S = (0.5, 3, 30)


def test_a_dns_server_that_never_answers_delays_no_other_host(tmp_path: Path) -> None:
    # `registry` is found over a search domain, by the same server.
    for limit_s in LIMITS_S:
        done = _audit(tmp_path, "--connect-timeout", f"{limit_s}", "--tries", "1")
        if done.kinds["registry"] == {"image": len(SERVED)}:
            break
    assert done.kinds["registry"] == {"image": len(SERVED)}
    assert done.kinds["silent"] == {"dns": 15}
    assert done.code == 1
    assert f"did not resolve within {limit_s} s: no DNS server answered" in done.err


def test_a_deadline_does_not_wait_for_a_dns_server(tmp_path: Path) -> None:
    # Without the deadline: six attempts of 10 s. A look-up takes minutes.
    for limit_s in LIMITS_S[1:]:
        done = _audit(tmp_path, "--deadline", f"{limit_s}s")
        if done.kinds["registry"] == {"image": len(SERVED)}:
            break
    assert done.kinds["registry"] == {"image": len(SERVED)}
    assert done.kinds["silent"] == {"interrupted": 15}
    assert done.code == 1
    assert "deadline reached" in done.err


def test_a_signal_does_not_wait_for_a_dns_server(tmp_path: Path) -> None:
    done = _audit(tmp_path, "--connect-timeout", "300", terminate=True)
    assert done.kinds["registry"] == {"image": len(SERVED)}
    assert not done.kinds["silent"]
    assert done.code == 143
    assert "interrupted by SIGTERM" in done.err
