"""`auditor audit --cluster`: the images of a cluster, with its pull secrets."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path

import pytest

from auditor.config import Settings
from auditor.config.settings import ClusterSettings
from auditor.demo.demo_tokens import DemoAccount
from auditor.input import cluster_objects
from auditor.input.cluster import read_cluster
from auditor.input.input_items import InputItem
from auditor.registry.auth.docker_config import PullSecret
from tests.flow.commands import auditor
from tests.flow.harness import lab, simple
from tests.support.kubernetes_api_server import (
    FakeApiServer,
    pod,
    service_account,
    workload,
)
from tests.support.registry import Basic

pytestmark = pytest.mark.anyio


def configuration(folder: Path, server: FakeApiServer, *lines: str) -> str:
    account = service_account(folder / "account")
    file = folder / "auditor.toml"
    file.write_text(
        "\n".join(
            [
                "plain_http = true",
                "[cluster]",
                f'server = "{server.url}"',
                f'token_file = "{account}/token"',
                *lines,
            ]
        )
    )
    return str(file)


async def test_the_images_of_pods_and_workloads_are_audited(tmp_path: Path) -> None:
    names = ["team/app:1", "team/job:1"]
    async with lab(simple(names)) as here:
        with FakeApiServer().running() as server:
            server.add("v1", "pods", pod("a", here.ref("team/app:1")))
            job = workload("CronJob", "j", here.ref("team/job:1"))
            server.add("batch/v1", "cronjobs", job)
            server.forbidden.add("deployments")
            file = configuration(tmp_path, server)
            done = await auditor("audit", "-c", file)
    assert done.code == 1
    assert [(line["reference"], line["kind"]) for line in done.lines] == [
        (here.ref("team/app:1"), "image"),
        ("cluster:deployments", "failure"),
        (here.ref("team/job:1"), "image"),
    ]
    assert done.lines[1]["failure"] == "incomplete_listing"


async def test_the_program_can_end_while_the_cluster_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []

    def read(_: ClusterSettings) -> tuple[list[InputItem], list[PullSecret]]:
        threads.append(threading.current_thread())
        return [], []

    monkeypatch.setattr(cluster_objects, "read_objects", read)
    await read_cluster(Settings(cluster=ClusterSettings(), allow_empty=True))
    assert [thread.daemon for thread in threads] == [True]


@pytest.mark.parametrize("uses_secrets", [True, False])
async def test_pull_secrets_are_logins_and_their_helpers_are_never_run(
    tmp_path: Path, uses_secrets: bool
) -> None:
    account = DemoAccount(name="robot", password="pa55", grants={"*": ["pull"]})
    helper = tmp_path / "docker-credential-evil"
    helper.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    helper.chmod(0o755)
    async with lab(simple(["team/app:1"]), access=Basic([account])) as here:
        login = {"username": "robot", "password": "pa55"}
        document = {
            "auths": {here.host: login},
            "credHelpers": {here.host: "evil"},
            "credsStore": "evil",
        }
        data = base64.b64encode(json.dumps(document).encode()).decode()
        with FakeApiServer().running() as server:
            named = [{"name": "regcred"}]
            one = pod("a", here.ref("team/app:1"), imagePullSecrets=named)
            server.add("v1", "pods", one)
            secret = {
                "metadata": {"name": "regcred", "namespace": "team"},
                "type": "kubernetes.io/dockerconfigjson",
                "data": {".dockerconfigjson": data},
            }
            server.add("v1", "secrets", secret)
            value = "true" if uses_secrets else "false"
            file = configuration(tmp_path, server, f"pull_secrets = {value}")
            environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
            done = await auditor("audit", "-c", file, environment=environment)
    assert done.code == (0 if uses_secrets else 1)
    assert [line["kind"] for line in done.lines] == [
        "image" if uses_secrets else "failure"
    ]
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["audit", "--cluster"], "this is not a pod"),
        (["audit", "--cluster", "--dry-run"], "this is not a pod"),
        (["audit", "--cluster", "--processes", "2"], "remove --processes or --engine"),
        (["audit", "--cluster", "--shard", "1/2"], "without --shard"),
    ],
)
async def test_a_cluster_that_cannot_be_read_writes_nothing(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    out = tmp_path / "out.jsonl"
    options = [] if "--dry-run" in arguments else ["-o", str(out)]
    done = await auditor(*arguments, *options)
    assert done.code == 2
    assert sentence in done.messages[0]
    assert list(tmp_path.iterdir()) == []


async def test_a_cluster_without_images_is_an_error_unless_it_is_allowed(
    tmp_path: Path,
) -> None:
    with FakeApiServer().running() as server:
        file = configuration(tmp_path, server)
        refused = await auditor("audit", "-c", file)
        allowed = await auditor("audit", "-c", file, "--allow-empty")
    assert (refused.code, refused.out) == (2, b"")
    assert "no pod or workload has an image" in refused.messages[0]
    assert (allowed.code, allowed.out) == (0, b"")
