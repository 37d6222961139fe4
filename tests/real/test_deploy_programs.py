"""deploy/ as the programs see it that will read it: helm, actionlint, systemd."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from auditor.config import NightlySettings
from auditor.nightly.install_files import InstallPlan, systemd_text
from tests.real.go_programs import ACTIONLINT, HELM
from tests.real.programs import built, required

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm"
# The oldest and the newest version that the schemas in use still describe.
KUBERNETES = ("1.29", "1.36")
EVERYTHING = """
image: {tag: "1", pullPolicy: Always}
imagePullSecrets: [{name: pull}]
schedule: "@daily"
timeZone: Europe/Berlin
suspend: true
files: {policy.toml: "[rules.everything]\\nforbid_failures = true\\n"}
secret: {data: {REGISTRY_PASSWORD: "a\\"b: c"}}
persistence: {storageClass: fast, size: 1Ti, accessModes: [ReadWriteOncePod]}
serviceAccount: {annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/x"}}
podLabels: {team: registry}
podAnnotations: {a: b}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: batch, operator: Exists}]
affinity: {}
"""
EXISTING = """
secret: {existing: mine, data: {UNUSED: x}}
persistence: {existing: mine}
serviceAccount: {create: false}
"""


def _run(*command: str, place: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=place, capture_output=True, text=True, check=False
    )


def _rendered(values: str, folder: Path, version: str = "1.29") -> dict[str, Any]:
    """The objects of the chart by kind."""
    file = folder / "values.yaml"
    file.write_text(values)
    done = _run(
        *(built(HELM), "template", "nightly", str(CHART), "--values", str(file)),
        *("--kube-version", f"{version}.0"),
    )
    assert done.returncode == 0, done.stderr
    documents = [one for one in yaml.safe_load_all(done.stdout) if one]
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    by_kind = {document["kind"]: document for document in documents}
    assert len(by_kind) == len(documents)
    return by_kind


def _pod(objects: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = objects["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]
    return pod


def test_helm_finds_nothing_wrong_with_the_chart(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(EVERYTHING)
    done = _run(
        *(built(HELM), "lint", "--strict", str(CHART)),
        *("--values", str(values), "--kube-version", "1.36.0"),
    )
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_chart_has_what_the_manifests_have(version: str, tmp_path: Path) -> None:
    objects = _rendered("secret: {existing: auditor-nightly}", tmp_path, version)
    text = (DEPLOY / "kubernetes" / "nightly.yaml").read_text()
    manifests = {one["kind"]: one for one in yaml.safe_load_all(text)}
    assert objects.keys() - manifests.keys() == {"ConfigMap"}
    expected, found = _pod(manifests)["spec"], _pod(objects)["spec"]
    (container,), (plain,) = found["containers"], expected["containers"]
    # The chart takes the whole Secret, and names objects after the release.
    del plain["env"], container["envFrom"], container["imagePullPolicy"]
    name = objects["CronJob"]["metadata"]["name"]
    renamed = yaml.safe_dump(found).replace(name, "auditor-nightly")
    assert yaml.safe_load(renamed) == expected
    for kind in ("PersistentVolumeClaim", "ServiceAccount"):
        for part in ("spec", "automountServiceAccountToken"):
            assert objects[kind].get(part) == manifests[kind].get(part)


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_value_of_the_chart_has_its_place(version: str, tmp_path: Path) -> None:
    objects = _rendered(EVERYTHING, tmp_path, version)
    assert objects["CronJob"]["spec"]["timeZone"] == "Europe/Berlin"
    assert objects["CronJob"]["spec"]["suspend"] is True
    assert objects["Secret"]["stringData"] == {"REGISTRY_PASSWORD": 'a"b: c'}
    assert "forbid_failures" in objects["ConfigMap"]["data"]["policy.toml"]
    assert objects["PersistentVolumeClaim"]["spec"]["storageClassName"] == "fast"
    pod = _pod(objects)
    assert pod["metadata"]["labels"]["team"] == "registry"
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "registry.example.com/auditor:1"
    assert container["envFrom"] == [{"secretRef": {"name": "nightly-auditor"}}]


def test_what_exists_already_is_used(tmp_path: Path) -> None:
    objects = _rendered(EXISTING, tmp_path)
    assert objects.keys() == {"ConfigMap", "CronJob"}
    spec = _pod(objects)["spec"]
    assert spec["serviceAccountName"] == "default"
    assert spec["volumes"][1]["persistentVolumeClaim"]["claimName"] == "mine"
    assert spec["containers"][0]["envFrom"] == [{"secretRef": {"name": "mine"}}]


@pytest.mark.parametrize(
    "values",
    [
        "schedule: often",
        "config: 'reference = []'",
        "secret: {data: {'NOT A VARIABLE': x}}",
        "persistence: {size: big}",
        "shedule: '@daily'",
    ],
)
def test_wrong_values_are_refused(values: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(values)
    command = (built(HELM), "template", str(CHART), "--values", str(file))
    done = _run(*command, "--kube-version", "1.29.0")
    assert done.returncode != 0
    assert "don't meet the specifications of the schema" in done.stderr


def test_actionlint_finds_nothing_wrong_with_workflow_and_action(
    tmp_path: Path,
) -> None:
    action = tmp_path / ".github" / "actions" / "auditor" / "action.yml"
    workflow = tmp_path / ".github" / "workflows" / "nightly-audit.yml"
    for file in (action, workflow):
        file.parent.mkdir(parents=True)
        shutil.copy(DEPLOY / "github" / file.name, file)
    (tmp_path / ".git").mkdir()  # how it finds the root of a repository
    done = _run(built(ACTIONLINT), "-shellcheck=", "-pyflakes=", place=tmp_path)
    assert done.returncode == 0, done.stdout
    # It does read the action: an input that the action does not have is found.
    workflow.write_text(workflow.read_text().replace("policy:", "polcy:"))
    done = _run(built(ACTIONLINT), "-shellcheck=", "-pyflakes=", place=tmp_path)
    assert '"polcy" is not defined in action' in done.stdout


@pytest.mark.parametrize("writable", [(), ("/var/lib/node_exporter", "/srv/a b")])
def test_systemd_accepts_the_units_and_rates_the_service_below_3(
    writable: tuple[str, ...], tmp_path: Path
) -> None:
    analyze = required("systemd-analyze")
    plan = InstallPlan(
        program=["/bin/true"],
        config="/etc/auditor/nightly.toml",
        settings=NightlySettings(folder="/var/lib/auditor"),
        variables=["REGISTRY_PASSWORD"],
        password_files=["/etc/auditor/registry-password"],
        writable=writable,
    )
    # Each unit is printed below a comment with its path.
    parts = re.split(
        r"^# /etc/systemd/system/(.+)$", systemd_text(plan), flags=re.MULTILINE
    )
    units = [tmp_path / name for name in parts[1::2]]
    assert {unit.name for unit in units} == {
        file.name for file in (DEPLOY / "systemd").iterdir()
    }
    for unit, text in zip(units, parts[2::2], strict=True):
        unit.write_text(text)
    verified = _run(analyze, "verify", *map(str, units))
    assert "auditor-nightly" not in verified.stderr, verified.stderr
    assert verified.returncode == 0, verified.stderr
    # The threshold is ten times the exposure: 3.0.
    rated = _run(
        *(analyze, "security", "--offline=yes", "--threshold=30"),
        str(tmp_path / "auditor-nightly.service"),
    )
    assert rated.returncode == 0, rated.stdout + rated.stderr
