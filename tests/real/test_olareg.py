"""olareg: images for everybody behind a login, opaque tokens, a rate limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from auditor.demo.demo_tokens import DemoAccount
from tests.ports import held_port
from tests.real.audits import audit, content, login
from tests.real.basic_login import USER
from tests.real.corpus_images import app, platforms
from tests.real.layouts import Layout
from tests.real.other_registries import (
    Running,
    olareg,
    olareg_accounts,
    olareg_with_basic,
    olareg_with_tokens,
)
from tests.real.push import Pusher
from tests.real.token_server import TokenServer

pytestmark = pytest.mark.real

REPOSITORIES = ("public/a", "team/b", "public/c", "team/d", "team/e", "team/f")
NAMES = tuple(f"{repository}:1" for repository in REPOSITORIES)
WITH_LOGIN = {"basic": olareg_with_basic, "tokens": olareg_with_tokens}


@pytest.fixture(scope="module", params=WITH_LOGIN)
def running(
    request: pytest.FixtureRequest,
    tokens: TokenServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    place = tmp_path_factory.mktemp(request.param)
    layout = Layout(place / "layout")
    image = layout.index(platforms(layout, "olareg", "linux/amd64", "linux/arm64"))
    with WITH_LOGIN[request.param](place, tokens) as running:
        pusher = Pusher(running, layout)
        for repository in REPOSITORIES:
            pusher.push(repository, image, "1")
        pusher.close()
        yield running


def test_an_account_reads_everything(running: Running) -> None:
    lines = audit(running.host, *NAMES, registry=running.settings).lines
    assert [line["kind"] for line in lines] == ["image"] * len(NAMES)
    assert {line["access"]["state"] for line in lines} == {"unverifiable"}
    assert {line["access"]["credential"] for line in lines} == {"config"}


def test_without_a_login_what_is_for_everybody_is_read(running: Running) -> None:
    """The ping asks for a login; whether a repository does is for it to say."""
    lines = audit(running.host, *NAMES, registry=login(None)).lines
    kinds = {line["repository"]: line["kind"] for line in lines}
    assert kinds == {
        repository: "image" if repository.startswith("public/") else "failure"
        for repository in REPOSITORIES
    }
    failed = [line for line in lines if line["kind"] == "failure"]
    assert {(line["failure"], line["status"]) for line in failed} == {("denied", 401)}


@pytest.mark.parametrize("name", [USER.name, "nobody"])
def test_a_wrong_password_is_sent_a_few_times_only(running: Running, name: str) -> None:
    """Nothing is read without the login that was asked for (accounts get locked)."""
    audited = audit(running.host, *NAMES, registry=login(DemoAccount(name, "guess")))
    found = {(line["kind"], line["failure"]) for line in audited.lines}
    assert found == {("failure", "denied")}
    requests = audited.summary.requests
    assert requests["token"] + requests["manifest"] <= 3


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options of an olareg with two repositories of ten tags."""
    place = tmp_path_factory.mktemp("olareg")
    layout = Layout(place / "layout")
    store = place / "store"
    store.mkdir()
    options = ("--store-type", "dir", "--dir", str(store))
    with olareg(place, *options) as host:
        pusher = Pusher(Running(host=host), layout)
        for number in range(10):
            image = layout.image("linux/amd64", [app(f"{number}")])
            for repository in ("team/app", "public/app"):
                pusher.push(repository, image, f"v{number}")
        pusher.close()
    return options


STORED = ("team/app:*", "public/app:*")


def test_a_restart_that_forgets_its_tokens_costs_no_reference(
    on_disk: tuple[str, ...], tmp_path: Path
) -> None:
    """Its opaque tokens are in memory: those in use are refused afterwards."""
    accounts = olareg_accounts(tmp_path)
    options = (*on_disk, "--auth-token-opaque", str(accounts))
    restarts: list[int] = []
    with held_port() as port, ExitStack() as stack, ExitStack() as first:
        host = first.enter_context(olareg(tmp_path, *options, port=port))
        undisturbed = audit(host, *STORED, registry=login(USER))

        def written(count: int) -> None:
            if count == 5:
                first.close()
                stack.enter_context(olareg(tmp_path, *options, port=port))
                restarts.append(count)

        disturbed = audit(
            host,
            *STORED,
            registry=login(USER, requests_at_once=1),
            workers=1,
            written=written,
        )
    assert restarts
    tokens = undisturbed.summary.requests["token"]
    assert disturbed.summary.requests["token"] > tokens
    assert len(disturbed.lines) == 20
    assert [content(line) for line in disturbed.lines] == [
        content(line) for line in undisturbed.lines
    ]


def test_a_rate_limit_costs_no_reference(
    on_disk: tuple[str, ...], tmp_path: Path
) -> None:
    with olareg(tmp_path, *on_disk, "--rate-limit", "30") as host:
        audited = audit(host, *STORED, registry=login(None))
    assert [line["kind"] for line in audited.lines] == ["image"] * 20
    assert audited.summary.to_json()["repeated"]["retries"] > 0
