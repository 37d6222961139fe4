"""A registry behind nginx, with the limits that administrators set there."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.config import RegistrySettings
from auditor.demo.image_builder import PlacedImage, image, index
from tests.certificates import Authority
from tests.real.audits import Audited, audit
from tests.real.nginx import Nginx, behind_nginx, required_nginx
from tests.real.programs import required
from tests.support.docker_registry import docker_registry
from tests.support.store import write_store

pytestmark = pytest.mark.real

REPOSITORIES = 3
TAGS = 20
NAMES = tuple(
    f"team/app{number}:{tag}" for tag in range(TAGS) for number in range(REPOSITORIES)
)


def _images() -> Iterator[PlacedImage]:
    for number, tag in itertools.product(range(REPOSITORIES), range(TAGS)):
        parts = [image(f"{number}-{tag}-{part}") for part in "ab"]
        yield PlacedImage(
            repository=f"team/app{number}", tags=(f"{tag}",), image=index(parts)
        )


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    required("docker-registry")
    required_nginx()
    root = tmp_path_factory.mktemp("store")
    write_store(root, _images())
    with docker_registry(root) as url:
        yield url.removeprefix("http://")


@pytest.fixture(scope="module")
def direct(registry: str) -> list[str]:
    """The records without nginx."""
    lines = _comparable(_audited(registry), registry)
    assert all('"kind": "image"' in one for one in lines)
    return lines


def _audited(host: str, **settings: object) -> Audited:
    return audit(host, *NAMES, registry=RegistrySettings(**settings))  # type: ignore[arg-type]


def _comparable(audited: Audited, host: str) -> list[str]:
    """The records without host and time."""
    for line in audited.lines:
        line.pop("audited_at", None)
    return [json.dumps(line).replace(host, "host") for line in audited.lines]


def _assert_all_counted(audited: Audited, nginx: Nginx) -> None:
    """The summary has the requests of nginx's log, and the refused ones as retries."""
    summary, statuses = audited.summary, nginx.statuses()
    assert {one.agent.partition("/")[0] for one in nginx.requests()} == {"auditor"}
    assert audited.requests == statuses.total()
    refused = statuses.total() - statuses[200]
    probes = summary.requests["ping"] - 1
    assert refused - probes <= summary.repeated.get("retries", 0) <= refused


@pytest.mark.parametrize("status", [503, 429])
def test_a_limit_of_connections_costs_no_reference(
    status: int, registry: str, direct: list[str], tmp_path: Path
) -> None:
    directives = ("limit_conn connections 2", f"limit_conn_status {status}")
    with behind_nginx(tmp_path / "nginx", registry, *directives) as nginx:
        audited = _audited(nginx.host)
    assert _comparable(audited, nginx.host) == direct
    assert set(nginx.statuses()) <= {200, status}
    _assert_all_counted(audited, nginx)


def test_connections_that_nginx_ends_after_some_requests_are_no_failures(
    registry: str, direct: list[str], tmp_path: Path
) -> None:
    with behind_nginx(
        tmp_path / "nginx", registry, "keepalive_requests 5", "keepalive_time 1h"
    ) as nginx:
        audited = _audited(nginx.host)
    assert _comparable(audited, nginx.host) == direct
    assert set(nginx.statuses()) == {200}
    _assert_all_counted(audited, nginx)
    requests = Counter(one.connection for one in nginx.requests())
    assert max(requests.values()) <= 5


def test_tls_with_http2_on_offer_is_asked_with_http1(
    registry: str, direct: list[str], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.pair("127.0.0.1")
    with behind_nginx(tmp_path / "nginx", registry, tls=pair) as nginx:
        audited = _audited(nginx.host, plain_http=False, ca_file=str(authority.file))
    assert _comparable(audited, nginx.host) == direct
    assert {one.protocol for one in nginx.requests()} == {"HTTP/1.1"}
    _assert_all_counted(audited, nginx)


@pytest.mark.parametrize(
    ("directives", "status", "failure", "detail"),
    [
        (["return 444"], 444, "connect", "closed the connection without a response"),
        (["return 502"], 502, "server_error", "the registry returned an error (502"),
        (
            ["add_header Retry-After 86400 always", "return 429"],
            429,
            "rate_limited",
            "retry after 1 day",
        ),
    ],
)
def test_an_nginx_that_refuses_everything_is_asked_once(
    directives: list[str], status: int, failure: str, detail: str, tmp_path: Path
) -> None:
    with behind_nginx(tmp_path / "nginx", "127.0.0.1:1", *directives) as nginx:
        audited = _audited(nginx.host, tries=1)
    assert nginx.statuses() == {status: 1}
    assert {line["failure"] for line in audited.lines} == {failure}
    assert all(detail in line["detail"] for line in audited.lines)
    assert len(audited.lines) == len(NAMES)
