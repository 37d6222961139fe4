"""The images of a cluster, read from its API server."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from auditor.config.settings import ClusterResource, ClusterSettings
from auditor.errors import UsageError
from auditor.input import kubernetes_api
from auditor.input.cluster_objects import read_objects, values_at
from auditor.input.input_items import InputItem, InputSelector, RejectedEntry
from auditor.input.kubernetes import KubernetesImages
from auditor.input.kubernetes_api import ApiServer, KubernetesApi, find_api_server
from auditor.registry.auth.docker_config import PullSecret
from tests.support.kubernetes_api_server import (
    USER,
    FakeApiServer,
    pod,
    service_account,
    workload,
)

HOST = "registry.example.com"


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer().running() as running:
        yield running


class Reader:
    """Reads the cluster of a server as a pod does; `waits` are pauses in seconds."""

    def __init__(self, server: FakeApiServer, folder: Path) -> None:
        self._server = server
        self.folder = service_account(folder / "account")
        self.waits: list[float] = []

    def read(self, **settings: Any) -> tuple[list[InputItem], list[PullSecret]]:
        return read_objects(
            ClusterSettings(server=self._server.url, **settings),
            {},
            self.folder,
            partial(KubernetesApi, sleep=self.waits.append),
        )

    def images(self, **settings: Any) -> list[str]:
        return [shown(item) for item in self.read(**settings)[0]]


def shown(item: object) -> str:
    if isinstance(item, InputSelector):
        return str(item.selector).removeprefix(f"{HOST}/")
    assert isinstance(item, RejectedEntry)
    return f"failed {item.text}"


@pytest.fixture
def reader(server: FakeApiServer, tmp_path: Path) -> Reader:
    return Reader(server, tmp_path)


def image(name: str) -> str:
    return f"{HOST}/{name}"


def test_the_images_are_those_of_kubectls_output(
    server: FakeApiServer, reader: Reader
) -> None:
    objects = [
        ("v1", "pods", pod("a", image("a:1"), image("sidecar:1"))),
        ("v1", "pods", pod("b", image("a:1"), namespace="other")),
        ("apps/v1", "deployments", workload("Deployment", "d", image("d:1"))),
        ("apps/v1", "statefulsets", workload("StatefulSet", "s", image("s:1"))),
        ("apps/v1", "daemonsets", workload("DaemonSet", "ds", image("ds:1"))),
        ("apps/v1", "replicasets", workload("ReplicaSet", "rs", image("rs:1"))),
        ("batch/v1", "cronjobs", workload("CronJob", "cj", image("cj:1"))),
        ("batch/v1", "jobs", workload("Job", "j", image("j:1"))),
    ]
    for group_version, resource, value in objects:
        server.add(group_version, resource, value)
    kubectl = KubernetesImages("-")
    expected = [
        shown(item) for _, _, one in objects for item in kubectl.read_object(one)
    ]
    assert sorted(reader.images()) == sorted(expected)
    # Once for each workload: the second one is a repeat.
    assert expected.count("a:1") == 2
    assert len(expected) == 9


def test_a_revision_for_a_rollback_is_left_out(
    server: FakeApiServer, reader: Reader
) -> None:
    owned = {"ownerReferences": [{"kind": "Deployment", "name": "d"}]}
    server.add("v1", "pods", pod("a", image("a:1")))
    for name, replicas in (("old", 0), ("new", 2)):
        one = workload(
            "ReplicaSet", name, image(f"{name}:1"), metadata=owned, replicas=replicas
        )
        server.add("apps/v1", "replicasets", one)
    assert reader.images() == ["a:1", "new:1"]


def test_long_lists_are_read_page_by_page(
    server: FakeApiServer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "PAGE_OBJECTS", 3)
    names = [f"app:{number}" for number in range(10)]
    server.add("v1", "pods", *(pod(name, image(name)) for name in names))
    assert reader.images(workloads=False) == names
    assert len(server.requests) == 4


def test_a_list_that_expires_begins_again(
    server: FakeApiServer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "PAGE_OBJECTS", 2)
    names = [f"app:{number}" for number in range(5)]
    server.add("v1", "pods", *(pod(name, image(name)) for name in names))
    server.answers += [None, (410, {}, {"message": "too old resource version"})]
    assert reader.images(workloads=False) == names


def test_a_page_that_is_too_large_is_asked_for_in_parts(
    server: FakeApiServer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"app:{number}" for number in range(60)]
    server.add("v1", "pods", *(pod(name, image(name)) for name in names))
    monkeypatch.setattr(kubernetes_api, "MAX_PAGE_BYTES", 7000)
    assert reader.images(workloads=False) == names


@pytest.mark.parametrize(
    ("answer", "waits"),
    [
        ((429, {"Retry-After": "7"}, {}), [7.0]),
        ((429, {"Retry-After": "9999"}, {}), [30.0]),
        ((503, {}, b"<html>"), [0.5]),
    ],
)
def test_a_busy_server_is_asked_again(
    server: FakeApiServer, reader: Reader, answer: Any, waits: list[float]
) -> None:
    server.add("v1", "pods", pod("a", image("a:1")))
    server.answers.append(answer)
    assert reader.images(workloads=False) == ["a:1"]
    assert reader.waits == waits


def test_a_renewed_token_is_read_anew(server: FakeApiServer, reader: Reader) -> None:
    def renew() -> None:
        (reader.folder / "token").write_text("token-2")
        server.tokens = {"token-2"}

    server.add("v1", "pods", pod("a", image("a:1")))
    server.add("apps/v1", "deployments", workload("Deployment", "d", image("d:1")))
    server.after_answer = renew
    assert reader.images() == ["a:1", "d:1"]


@pytest.mark.parametrize(
    ("settings", "found", "paths"),
    [
        ({}, ["a:1", "b:1", "c:1"], {"/api/v1/pods"}),
        ({"namespaces": ("team-*",)}, ["a:1", "b:1"], {"/api/v1/pods"}),
        ({"exclude_namespaces": ("kube-*", "team-b")}, ["a:1"], {"/api/v1/pods"}),
        (
            {"namespaces": ("team-a", "kube-system")},
            ["a:1", "c:1"],
            {"/api/v1/namespaces/team-a/pods", "/api/v1/namespaces/kube-system/pods"},
        ),
    ],
)
def test_namespaces_are_included_and_excluded(
    server: FakeApiServer,
    reader: Reader,
    settings: dict[str, Any],
    found: list[str],
    paths: set[str],
) -> None:
    server.add("v1", "pods", pod("a", image("a:1"), namespace="team-a"))
    server.add("v1", "pods", pod("b", image("b:1"), namespace="team-b"))
    server.add("v1", "pods", pod("c", image("c:1"), namespace="kube-system"))
    assert reader.images(workloads=False, **settings) == found
    assert {target.partition("?")[0] for target in server.requests} == paths


def test_a_pod_without_rights_gets_one_sentence(
    server: FakeApiServer, reader: Reader
) -> None:
    server.forbidden.add("pods")
    with pytest.raises(UsageError) as caught:
        reader.read()
    assert str(caught.value) == (
        "cluster: no pods can be listed: /api/v1/pods: pods is forbidden: User"
        f' "{USER}" cannot list resource "pods" in API group "" at the cluster scope'
        " (403); grant it with kubectl create clusterrolebinding auditor"
        " --clusterrole=view --serviceaccount=NAMESPACE:NAME, or name the namespaces of"
        " its Roles in [cluster]"
    )


def test_a_list_that_is_forbidden_is_a_failure_and_costs_no_other(
    server: FakeApiServer, reader: Reader
) -> None:
    server.add("v1", "pods", pod("a", image("a:1")))
    server.add("batch/v1", "jobs", workload("Job", "j", image("j:1")))
    server.forbidden.add("deployments")
    items, _ = reader.read()
    assert list(map(shown, items)) == ["a:1", "failed cluster:deployments", "j:1"]
    (failed,) = (item for item in items if isinstance(item, RejectedEntry))
    assert failed.failure.status == 403
    assert "deployments of the cluster are not listed" in failed.failure.detail


def test_one_of_the_namespaces_is_forbidden(
    server: FakeApiServer, reader: Reader
) -> None:
    server.add("v1", "pods", pod("a", image("a:1"), namespace="a"))
    forbidden: Any = (403, {}, {"message": "pods is forbidden"})
    server.answers += [None, forbidden]
    found = reader.images(namespaces=("a", "b"), workloads=False)
    assert found == ["a:1", "failed cluster:pods"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"<html>", "/api/v1/pods: the answer is not a JSON object"),
        ([], "/api/v1/pods: the answer is not a JSON object"),
        ({"items": {}}, "/api/v1/pods: the answer is not a list of objects"),
    ],
)
def test_an_answer_that_is_no_list_is_an_error(
    server: FakeApiServer, reader: Reader, body: Any, sentence: str
) -> None:
    server.answers.append((200, {}, body))
    with pytest.raises(UsageError, match="no pods can be listed") as caught:
        reader.read()
    assert sentence in str(caught.value)


def test_a_server_that_is_not_there_is_asked_four_times(tmp_path: Path) -> None:
    with FakeApiServer().running() as server:
        reader = Reader(server, tmp_path)
    with pytest.raises(UsageError, match="Connection refused"):
        reader.read()
    assert reader.waits == [0.5, 1.0, 2.0]


def test_a_list_without_end_is_an_error(
    server: FakeApiServer, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "MAX_PAGES", 5)
    page = {"kind": "PodList", "metadata": {"continue": "0"}, "items": []}
    server.answers += [(200, {}, page)] * 5
    with pytest.raises(UsageError, match="more than 5 pages"):
        reader.read()


def test_the_token_is_not_sent_without_tls(
    tmp_path: Path,
) -> None:
    settings = ClusterSettings(server="http://k8s.example.com:6443")
    with pytest.raises(UsageError, match="the token is not sent without TLS"):
        find_api_server(settings, {}, service_account(tmp_path / "account"))


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "this is not a pod"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "no token of a service account"),
    ],
)
def test_outside_of_a_pod_is_one_sentence(
    tmp_path: Path, environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        find_api_server(ClusterSettings(), environment, tmp_path)


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "https://10.0.0.1:443"),
        (
            {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"},
            "https://[fd00::1]:6443",
        ),
    ],
)
def test_the_pod_knows_its_api_server(
    tmp_path: Path, environment: dict[str, str], url: str
) -> None:
    folder = service_account(tmp_path / "account")
    assert find_api_server(ClusterSettings(), environment, folder).url == url


def test_custom_resources_are_read_if_they_are_named(
    server: FakeApiServer, reader: Reader
) -> None:
    server.add("v1", "pods", pod("a", image("a:1")))
    rollout = workload("Rollout", "r", image("r:1"))
    rollout["spec"]["parts"] = [{"picture": image("p:1")}, {"picture": 7}, {}]
    server.add("argoproj.io/v1alpha1", "rollouts", rollout)
    resource = ClusterResource(
        api="argoproj.io/v1alpha1",
        resource="rollouts",
        images=("spec.parts[*].picture", "spec.nothing.here"),
    )
    assert reader.images(resources=(resource,)) == ["a:1", "r:1", "p:1", "failed 7"]


def test_what_is_not_looked_into_is_said(
    server: FakeApiServer, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    server.add("v1", "pods", pod("a", image("a:1")))
    server.custom = {
        "argoproj.io/v1alpha1": ["rollouts", "workflows"],
        "metrics.k8s.io/v1": ["pods"],
    }
    resource = ClusterResource(api="argoproj.io/v1alpha1", resource="rollouts")
    caplog.set_level(logging.INFO, logger="auditor.input")
    reader.read(resources=(resource,))
    (message,) = caplog.messages
    assert message == (
        "cluster: not looked into: the custom resources workflows.argoproj.io; name"
        " those with images in [[cluster.resources]] (their pods are audited)"
    )


def test_settings_that_match_nothing_are_said(
    server: FakeApiServer, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    server.add("v1", "pods", pod("a", image("a:1")))
    same = workload("Database", "d", "", picture=image("a:1"))
    server.add("example.com/v1", "databases", same)
    resource = ClusterResource(
        api="example.com/v1", resource="databases", images=("spec.picture", "spec.pic")
    )
    reader.read(namespaces=("team", "taem"), resources=(resource,))
    assert caplog.messages == [
        "cluster: namespaces: taem: it has no pods or workloads, or does not exist",
        "cluster: databases: no image at spec.pic (objects: 1); check images in"
        " [[cluster.resources]]",
    ]


def test_a_server_may_have_a_path(server: FakeApiServer, reader: Reader) -> None:
    place = ApiServer(
        url=f"{server.url}/k8s/clusters/c-1",
        token_file=reader.folder / "token",
        ca_file=None,
    )
    server.answers.append((200, {}, {"groups": []}))
    with KubernetesApi(place) as api:
        api.get("/apis")
    assert server.requests == ["/k8s/clusters/c-1/apis"]


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("a.b", [1]),
        ("a.list[*]", [{"x": 2}, {"x": 3}, 4]),
        ("a.list[].x", [2, 3]),
        ("a.lists[*][*]", [5, 6]),
        ("a.nothing", []),
        ("a.b.c", []),
        ("a[*]", []),
    ],
)
def test_a_path_gives_every_value(path: str, values: list[Any]) -> None:
    value = {"a": {"b": 1, "list": [{"x": 2}, {"x": 3}, 4], "lists": [[5], [6]]}}
    assert list(values_at(value, path)) == values


def secret(name: str, auths: dict[str, Any], **more: Any) -> dict[str, Any]:
    document = json.dumps({"auths": auths, **more}).encode()
    return {
        "metadata": {"name": name, "namespace": "team"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(document).decode()},
    }


def test_the_name_of_a_pull_secret_is_never_a_path(
    server: FakeApiServer, reader: Reader
) -> None:
    named = [{"name": name} for name in ("../../b/secrets/x", "a?b", "é", "")]
    server.add("v1", "pods", pod("a", image("a:1"), imagePullSecrets=[*named, {}]))
    assert reader.read(pull_secrets=True)[1] == []
    asked = [target for target in server.requests if "secrets" in target]
    root = "/api/v1/namespaces/team/secrets/"
    assert asked == [
        f"{root}..%2F..%2Fb%2Fsecrets%2Fx",
        f"{root}a%3Fb",
        f"{root}%C3%A9",
    ]


def test_pull_secrets_are_read_by_name_if_the_settings_say_so(
    server: FakeApiServer, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    named = [{"name": "one"}, {"name": "gone"}]
    server.add("v1", "pods", pod("a", image("a:1"), imagePullSecrets=named))
    account = {
        "metadata": {"name": "default", "namespace": "team"},
        "imagePullSecrets": [{"name": "two"}, {"name": "other"}],
    }
    server.add("v1", "serviceaccounts", account)
    auths = {HOST: {"username": "u", "password": "hunter2"}}
    server.add("v1", "secrets", secret("one", auths), secret("two", auths))
    opaque = {"metadata": {"name": "other", "namespace": "team"}, "type": "Opaque"}
    server.add("v1", "secrets", opaque)
    assert reader.read()[1] == []
    assert not any("secrets" in target for target in server.requests)
    _, found = reader.read(pull_secrets=True)
    locations = [one.location for one in found]
    assert locations == ["secret team/one", "secret team/two"]
    assert "hunter2" not in repr(found) + caplog.text
    assert len(caplog.messages) == 2
    assert (
        'pull secret is not used: /api/v1/namespaces/team/secrets/gone: "gone" not'
        in (caplog.messages[0])
    )
    assert "secret team/other: not a pull secret" in caplog.messages[1]
