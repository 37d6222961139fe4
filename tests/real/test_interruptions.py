"""A real registry that is killed during an audit, and a bad network."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from auditor.config import ImageConfigMode, RegistrySettings
from auditor.demo.image_builder import PlacedImage, image, index
from auditor.registry import host_health
from tests.patience import HANG_S
from tests.real.audits import Audited, audit
from tests.real.go_programs import TOXIPROXY
from tests.real.programs import built, required
from tests.real.toxiproxy import behind_toxiproxy
from tests.support.docker_registry import docker_registry
from tests.support.store import write_store
from tests.tcp_proxy import ConnectionFaults, tcp_proxy

pytestmark = pytest.mark.real

REPOSITORIES = 6
TAGS = 30
NAMES = tuple(f"team/app{number}:*" for number in range(REPOSITORIES))


def _images() -> Iterator[PlacedImage]:
    for number in range(REPOSITORIES):
        for tag in range(TAGS):
            name = f"{number}-{tag}"
            built = index([image(name), image("b")]) if tag % 5 == 0 else image(name)
            yield PlacedImage(
                repository=f"team/app{number}", tags=(f"{tag}",), image=built
            )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    required("docker-registry")
    root = tmp_path_factory.mktemp("store")
    write_store(root, _images())
    return root


def _audited(host: str, *, tries: int = 3, **more: Any) -> Audited:
    return audit(
        host,
        *NAMES,
        registry=RegistrySettings(tries=tries),
        image_config=ImageConfigMode.ALWAYS,
        **more,
    )


def _comparable(audited: Audited, host: str) -> list[str]:
    """The records without host and time, to compare runs."""
    for line in audited.lines:
        line.pop("audited_at", None)
    return [json.dumps(line).replace(host, "host") for line in audited.lines]


@pytest.fixture(scope="module")
def undisturbed(root: Path) -> list[str]:
    with docker_registry(root) as url:
        host = url.removeprefix("http://")
        lines = _comparable(_audited(host), host)
    assert len(lines) == REPOSITORIES * TAGS
    assert all('"kind": "image"' in one for one in lines)
    return lines


def test_a_registry_that_is_killed_and_restarted_loses_no_reference(
    root: Path, undisturbed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is restarted as soon as a request to it fails, without sleeping."""
    # A busy machine may need longer to start it.
    monkeypatch.setattr(host_health, "PATIENCE_S", HANG_S)
    killed: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:
        running: list[subprocess.Popen[bytes]] = []
        url = stack.enter_context(docker_registry(root, started=running.append))
        host = url.removeprefix("http://")
        port = int(host.rpartition(":")[2])
        again = threading.Event()
        restarted = threading.Thread(
            target=lambda: (
                again.wait(HANG_S)
                and stack.enter_context(docker_registry(root, port=port))
            )
        )
        restarted.start()

        def written(count: int) -> None:
            if count == 60:
                running[0].send_signal(signal.SIGKILL)
                assert running[0].wait(HANG_S) == -signal.SIGKILL
                killed.append(running[0])

        with _when_logged("probing the host", again):
            audited = _audited(host, written=written)
        again.set()
        restarted.join(HANG_S)
    assert killed
    assert _comparable(audited, host) == undisturbed


@contextmanager
def _when_logged(message: str, event: threading.Event) -> Iterator[None]:
    """Set the event when this message is logged."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if message in record.getMessage():
                event.set()

    log, handler = logging.getLogger("auditor"), Handler()
    level = log.level
    log.addHandler(handler)
    log.setLevel("DEBUG")
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


@pytest.mark.parametrize(
    "faults",
    [
        ConnectionFaults(share=0.4, refuses=True),
        ConnectionFaults(share=0.7, cut_after_bytes=30_000),
        ConnectionFaults(late_s=0.01, bytes_per_s=400_000),
    ],
    ids=["refuses", "cuts", "delays and throttles"],
)
def test_over_a_bad_network_the_records_are_the_same(
    root: Path, undisturbed: list[str], faults: ConnectionFaults
) -> None:
    with (
        docker_registry(root) as url,
        tcp_proxy(url.removeprefix("http://"), faults, seed=7) as proxy,
    ):
        audited = _audited(proxy.host, tries=8)
        assert _comparable(audited, proxy.host) == undisturbed
    assert proxy.connections > 0
    assert bool(proxy.cut) is (faults.refuses or faults.cut_after_bytes > 0)


TOXICS: tuple[dict[str, Any], ...] = (
    {"type": "latency", "attributes": {"latency": 3, "jitter": 3}},
    {"type": "bandwidth", "attributes": {"rate": 500}},
    {"type": "slicer", "attributes": {"average_size": 512, "size_variation": 256}},
    {"type": "limit_data", "toxicity": 0.5, "attributes": {"bytes": 60_000}},
)


def test_behind_toxiproxy_the_records_are_the_same(
    root: Path, undisturbed: list[str]
) -> None:
    program = built(TOXIPROXY)
    with (
        docker_registry(root) as url,
        behind_toxiproxy(program, url.removeprefix("http://"), TOXICS) as host,
    ):
        assert _comparable(_audited(host, tries=8), host) == undisturbed
