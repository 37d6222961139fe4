"""Kubernetes objects other than pods, and what lists of objects contain."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from auditor.errors import UsageError
from tests.unit.input.test_documents import dedented
from tests.unit.input.test_lists import DIGEST, items, summaries

POD = {"containers": [{"name": "c", "image": "a.io/c:1"}]}
TEMPLATE = {"template": {"spec": POD}}
STEPS = {"taskSpec": {"steps": [{"image": "a.io/s"}]}}


def found(api: str, kind: str, **parts: Any) -> list[str]:
    document = {"apiVersion": api, "kind": kind, "metadata": {"name": "x"}, **parts}
    return [
        line.removeprefix("-/x/")
        for line in summaries(json.dumps(document, indent=1).encode())
    ]


@pytest.mark.parametrize(
    ("api", "kind", "spec", "expected"),
    [
        (
            "jobset.x-k8s.io/v1alpha2",
            "JobSet",
            {"replicatedJobs": [{"name": "w", "template": {"spec": TEMPLATE}}]},
            ["c a.io/c:1"],
        ),
        ("serving.knative.dev/v1", "Service", TEMPLATE, ["c a.io/c:1"]),
        ("argoproj.io/v1alpha1", "Rollout", TEMPLATE, ["c a.io/c:1"]),
        (
            "kubeflow.org/v1",
            "PyTorchJob",
            {"pytorchReplicaSpecs": {"Master": TEMPLATE, "Worker": TEMPLATE}},
            ["c a.io/c:1"],
        ),
        (
            "tekton.dev/v1",
            "Task",
            {
                "stepTemplate": {"image": "a.io/t"},
                "steps": [{"name": "s", "image": "a.io/s:1"}, {"name": "r", "ref": {}}],
                "sidecars": [{"name": "d", "image": "a.io/d:1"}],
            },
            ["- a.io/t:latest", "s a.io/s:1", "d a.io/d:1"],
        ),
        (
            "tekton.dev/v1",
            "PipelineRun",
            {"pipelineSpec": {"tasks": [STEPS], "finally": [STEPS, {"taskRef": {}}]}},
            ["- a.io/s:latest"],
        ),
        (
            "tekton.dev/v1",
            "Task",
            {"steps": [{"name": "s", "image": "$(params.IMAGE)"}]},
            ["s ! the image is set by a parameter; list it separately"],
        ),
        ("tekton.dev/v1beta1", "StepAction", {"image": "a.io/s:1"}, ["- a.io/s:1"]),
        (
            "argoproj.io/v1alpha1",
            "Workflow",
            {
                "templates": [
                    {"name": "a", "container": {"name": "m", "image": "a.io/m:1"}},
                    {"name": "b", "script": {"image": "a.io/p:3", "source": "x"}},
                    {"name": "c", "containerSet": POD, "initContainers": [
                        {"name": "i", "image": "a.io/i:1"}]},
                    {"name": "d", "steps": [[{"name": "e", "template": "a"}]]},
                    {"name": "f", "container": {"image": "{{inputs.parameters.i}}"}},
                ]
            },
            ["m a.io/m:1", "- a.io/p:3", "c a.io/c:1", "i a.io/i:1",
             "- ! the image is set by a parameter; list it separately"],
        ),
        (
            "argoproj.io/v1alpha1",
            "CronWorkflow",
            {"workflowSpec": {"templates": [{"container": {"image": "a.io/m:1"}}]}},
            ["- a.io/m:1"],
        ),
        (
            "monitoring.coreos.com/v1",
            "Prometheus",
            {"image": "a.io/p:1", "thanos": {"image": "a.io/t:1"}, **POD},
            ["- a.io/p:1", "- a.io/t:1", "c a.io/c:1"],
        ),
        ("monitoring.coreos.com/v1", "Alertmanager", {"image": "a.io/a"}, ["- a.io/a"]),
        # A virtual machine, and an object of another group.
        ("infrastructure.cluster.x-k8s.io/v1", "AWSMachine", {"image": "ubuntu"}, []),
        ("example.com/v1", "Prometheus", {"image": "a.io/p:1"}, []),
        # What describes objects is none.
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", {"a": POD}, []),
        ("kyverno.io/v1", "ClusterPolicy", {"rules": [{"pattern": {"spec": POD}}]}, []),
        # No pattern: a pod cannot run it.
        ("v1", "Pod", {"containers": [{"name": "c", "image": "a.io/x:*"}]},
         ['c ! "a.io/x:*" is not a reference: a tag pattern selects many images;'
          " expected a single one"]),
    ],
)  # fmt: skip
def test_images_of_custom_resources(
    api: str, kind: str, spec: dict[str, Any], expected: list[str]
) -> None:
    assert [line.removesuffix(":latest") for line in found(api, kind, spec=spec)] == [
        line.removesuffix(":latest") for line in expected
    ]


def test_a_template_gives_the_images_of_its_objects() -> None:
    document = {
        "apiVersion": "template.openshift.io/v1",
        "kind": "Template",
        "objects": [
            {"kind": "Deployment", "metadata": {"name": "a"}, "spec": TEMPLATE},
            {"kind": "Pod", "spec": {"containers": [
                {"name": "v", "image": "${HOST}/v:${TAG}"},
                {"name": "w", "image": "${HOST}/w:${{TAG}}"},
                {"name": "u", "image": "${HOST}/u:${UNSET}"}]}},
            1,
        ],
        "parameters": [
            {"name": "HOST", "value": "a.io"}, {"name": "TAG", "value": "2"},
            {"name": "UNSET", "generate": "expression"}, {"name": 1}, None,
        ],
    }  # fmt: skip
    assert summaries(json.dumps(document, indent=1).encode()) == [
        "-/a/c a.io/c:1",
        "-/-/v a.io/v:2",
        "-/-/w a.io/w:2",
        "-/-/u ! the parameter UNSET has no value; give the output of `oc process`"
        " instead",
        "list ! an item of the list is not an object",
    ]


def test_the_values_of_parameters_are_bounded() -> None:
    # 300 such images, 1.2 MB, kept 1.2 GB.
    document = {
        "apiVersion": "template.openshift.io/v1",
        "kind": "Template",
        "objects": [
            {"kind": "Pod", "spec": {"containers": [{"image": "${A}" * 1000}]}},
            {"kind": "Pod", "spec": {"containers": [{"image": "a.io/x:${B}"}]}},
        ],
        "parameters": [{"name": "A", "value": "x" * 4096}, {"name": "B", "value": "1"}],
    }
    assert summaries(json.dumps(document, indent=1).encode()) == [
        "-/-/- ! with its parameters it has more than 4,096 characters",
        "-/-/- a.io/x:1",
    ]


def test_images_that_are_not_read_are_named_once_for_each_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = dedented("""
        apiVersion: postgresql.cnpg.io/v1
        kind: Cluster
        spec: {imageName: "ghcr.io/cloudnative-pg/postgresql:17"}
        ---
        apiVersion: postgresql.cnpg.io/v1
        kind: Cluster
        spec: {imageName: "ghcr.io/cloudnative-pg/postgresql:16"}
        ---
        apiVersion: helm.toolkit.fluxcd.io/v2
        kind: HelmRelease
        spec: {values: {image: {repository: a.io/x}, web: {image: {tag: "2"}}}}
        ---
        apiVersion: helm.toolkit.fluxcd.io/v2
        kind: HelmReleaseX
        spec: {values: {initContainers: [{image: {repository: a.io/i, tag: 1}}]}}
        ---
        apiVersion: kustomize.config.k8s.io/v1beta1
        kind: Kustomization
        images: [{name: nginx, newName: a.io/nginx, newTag: "1"}]
        ---
        apiVersion: pkg.crossplane.io/v1
        kind: Provider
        spec: {package: "xpkg.upbound.io/crossplane-contrib/provider-aws:v0.39.0"}
        ---
        apiVersion: tekton.dev/v1beta1
        kind: TaskRun
        spec: {taskRef: {name: x, bundle: "a.io/tasks:1"}}
        ---
        apiVersion: e/v1
        kind: Package
        spec: {package: "a.io/x:1", from: {kind: ConfigMap, name: x}}
        ---
        apiVersion: image.openshift.io/v1
        kind: ImageStream
        spec: {tags: [{from: {kind: DockerImage, name: "quay.io/a/b:1"}}]}
        ---
        apiVersion: apps/v1
        kind: ControllerRevision
        data: {spec: {template: {spec: {containers: [{image: a.io/old:1}]}}}}
        ---
        apiVersion: v1
        kind: Node
        status: {images: [{names: [a.io/x:1]}]}
        ---
        apiVersion: v1
        kind: Service
        spec: {selector: {image: ""}}
        ---
        apiVersion: v1
        kind: Pod
        spec: {containers: [{image: a.io/pod:1}]}
    """)
    with caplog.at_level(logging.WARNING, "auditor.input"):
        assert summaries(data) == ["-/-/- a.io/pod:1"]
    assert [record.getMessage() for record in caplog.records] == [
        f"list:{line}: the images of {kind} objects are not read ({field}); list them"
        " separately"
        for line, kind, field in [
            (2, "Cluster", "spec.imageName"),
            (10, "HelmRelease", "values.image"),
            (14, "HelmReleaseX", "initContainers.image"),
            (18, "Kustomization", "images.newName"),
            (22, "Provider", "spec.package"),
            (26, "TaskRun", "taskRef.bundle"),
            (34, "ImageStream", "from.name"),
            (38, "ControllerRevision", "data"),
            (42, "Node", "status.images"),
        ]
    ]


def test_a_list_with_many_kinds_gives_a_few_warnings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    entries = [
        {"apiVersion": "e/v1", "kind": f"K{n}", "spec": {"image": "a.io/x:1"}}
        for n in range(100)
    ]
    document = {"apiVersion": "v1", "kind": "List", "items": entries}
    with caplog.at_level(logging.WARNING, "auditor.input"):
        assert items(json.dumps(document, indent=1).encode()) == []
    assert len(caplog.records) == 20


# kubernetes-sigs/kind#4184; containerd, client/import.go; containerd/nerdctl#304;
# moby/moby#53561; podman-load(1).
@pytest.mark.parametrize(
    ("image_id", "is_read"),
    [
        ("a.io/app@", True),
        ("docker.io/library/import-2025-12-31@", False),
        ("import-2025-12-31@", False),
        ("docker-pullable://import-2025-12-31@", False),
        ("localhost/app@", False),
        ("overlayfs@", False),
        ("docker.io/library/overlayfs@", False),
        ("docker.io/library/moby-dangling@", False),
        ("a.io/overlayfs@", True),
        ("docker.io/library/overlayfs-x@", True),
        ("a.io/import-2025-12-31@", True),
        ("docker.io/library/import-app@", True),
        ("docker.io/library/import-2025-12-31-x@", True),
        ("localhost:5000/app@", True),
        ("", False),
        ("docker://", False),
    ],
)
def test_images_that_were_loaded_into_a_node_are_skipped(
    image_id: str, is_read: bool
) -> None:
    status = {"containerStatuses": [{"name": "c", "imageID": image_id + DIGEST}]}
    assert bool(found("v1", "Pod", status=status)) is is_read


@pytest.mark.parametrize(
    "image",
    [
        DIGEST, f"docker://{DIGEST}", "sha512:" + "a" * 128, DIGEST.upper(),
        DIGEST[:19], "sha256:" + "A" * 64, f"{DIGEST}@{DIGEST}",
    ],
)  # fmt: skip
def test_an_image_id_in_a_pod_is_not_asked_of_docker_hub(image: str) -> None:
    pod = {"containers": [{"name": "c", "image": image}]}
    (line,) = found("v1", "Pod", spec=pod)
    assert "it is a digest or an image ID without its repository, which no" in line
    # A repository can have this name.
    pod = {"containers": [{"image": "a/sha256:1"}, {"image": "sha256"}]}
    assert found("v1", "Pod", spec=pod) == [
        "- docker.io/a/sha256:1", "- docker.io/library/sha256:latest",
    ]  # fmt: skip


# -- YAML: tags and keys that occur twice ------------------------------------------


def pod(text: str) -> bytes:
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: x}}\n{text}".encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("!reset null", None),
        ("!reset a.io/x", None),
        ("!reset [a, b]", None),
        ("!!null ''", None),
        ("!!null null", None),
        ("null", None),
        ("~", None),
        ("!override a.io/x", "a.io/x:latest"),
        ("! a.io/x", "a.io/x:latest"),
        ("!!str a.io/x", "a.io/x:latest"),
        ("!!str null", "docker.io/library/null:latest"),
        ("'null'", "docker.io/library/null:latest"),
        ("!Ref Image", "!"),
        ("!vault a.io/x", "!"),
        ("!<tag:example.com,2026:x> a", "!"),
    ],
)
def test_tags_say_what_a_scalar_is(value: str, expected: str | None) -> None:
    compose = f"services:\n  w:\n    build: .\n    image: {value}\n".encode()
    kubernetes = pod(f"spec:\n  containers:\n  - image: {value}\n")
    for data in (compose, kubernetes):
        lines = [line.partition(" ")[2] for line in summaries(data)]
        if expected == "!":
            assert lines[0].startswith("! the image "), lines
            assert len(lines) == 1
        else:
            assert lines == ([expected] if expected else [])


def test_reset_removes_a_service_and_an_element_of_a_list() -> None:
    data = (
        b"services:\n  a: !reset null\n  b: !reset {image: c}\n  d: {image: a.io/d}\n"
    )
    assert summaries(data) == ["4 a.io/d:latest"]
    data = pod("spec:\n  containers:\n  - !reset {image: a}\n  - {image: a.io/b}")
    assert summaries(data) == ["-/x/- a.io/b:latest"]


IMAGE = "spec: {containers: [{image: a.io/x}]}"


# Helm and kubectl take the last value (sigs.k8s.io/yaml).
@pytest.mark.parametrize(
    "text",
    [
        f"metadata: {{labels: {{a: b, a: c}}}}\n{IMAGE}",
        f"metadata: {{labels: {{a: b}}, labels: {{a: c}}}}\n{IMAGE}",
        f"{IMAGE}\n{IMAGE}",
        "spec: {containers: [{image: a.io/x, image: a.io/x}]}",
        "spec: {containers: [{image: a.io/x, imagePullPolicy: A, imagePullPolicy: B}]}",
        "spec: {containers: [{image: b, env: []}], containers: [{image: b, env: [1]}]}",
    ],
)
def test_a_key_may_occur_twice_if_it_says_nothing_about_images(text: str) -> None:
    assert len(summaries(pod(text))) == 1
    assert len(summaries(pod("") + b"---\n" + pod(text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "spec:\n  containers:\n  - image: a.io/x\n    image: a.io/y",
        "spec:\n  containers: [{image: a.io/x}]\n  containers: [{image: a.io/y}]",
        "spec: {containers: [{image: b}]}\nspec: {initContainers: [{image: c}]}",
        "spec: {volumes: [{image: {reference: a, reference: b}}]}",
        "spec: {containers: [{image: &a b, <<: {}, image: c}]}",
    ],
)
def test_two_values_that_contradict_each_other_about_an_image_are_an_error(
    text: str,
) -> None:
    with pytest.raises(UsageError, match=r"^list:\d: the key \w+ occurs twice in one "):
        items(pod(text))


@pytest.mark.parametrize(
    "data",
    [
        b"services:\n  w: {image: a, ports: [1], ports: [2]}",
        b"services:\n  w: {image: a}\n  w: {image: b}",
        b"a.io:\n  images: {x: ['1'], x: ['2']}",
    ],
)
def test_compose_and_skopeo_refuse_a_key_that_occurs_twice(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"^list:\d: the key \w+ occurs twice in one "):
        items(data)


def test_json_objects_follow_the_same_rule() -> None:
    head = '{"apiVersion": "v1", "kind": "List",\n "items": [{"kind": "Pod", '
    same = (
        head
        + '"a": 1, "a": 2, "spec": {"containers": [{"image": "b", "image": "b"}]}}]}'
    )
    assert summaries(same.encode()) == ["-/-/- docker.io/library/b:latest"]
    other = head + '"spec": {"containers": [{"image": "b", "image": "c"}]}}]}'
    with pytest.raises(UsageError, match="the key image occurs twice in one object"):
        items(other.encode())


def test_a_document_among_objects_that_names_no_image_is_skipped() -> None:
    others = b"---\n{}\n---\nnotes: [a]\n---\n- 1\n---\ntext\n---\n"
    empty = pod("spec: {containers: []}")
    assert len(summaries(pod(IMAGE) + b"\n" + others + empty)) == 1
    assert len(summaries(others + pod(IMAGE) + b"\n" + others)) == 1
    with pytest.raises(UsageError, match=r"^list: unknown format: "):
        items(others)
    with pytest.raises(UsageError, match=r"^list: unknown format: "):
        items(pod(IMAGE) + b"\n---\nweb: {image: a.io/x}\n")
    with pytest.raises(UsageError, match=r"^list: unknown format: "):
        items(b"---\nweb: {image: a.io/x}\n---\n" + pod(IMAGE))
