"""The files in deploy/ are valid, and those of `auditor nightly install` equal them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner
from hatchling.builders.wheel import WheelBuilder

from auditor.cli.main import COMMANDS
from auditor.config import NightlySettings, resolve_settings
from auditor.input.cluster_objects import PODS
from auditor.input.cluster_objects import WORKLOADS as LISTED_WORKLOADS
from auditor.nightly.install_files import INSTALL_TEXTS, InstallPlan
from auditor.version import __version__

DEPLOY = Path(__file__).parents[2] / "deploy"
PLAN = InstallPlan(
    program=["/usr/local/bin/auditor"],
    config="/etc/auditor/nightly.toml",
    settings=NightlySettings(folder="/var/lib/auditor"),
    variables=["REGISTRY_PASSWORD"],
    password_files=["/etc/auditor/registry-password"],
)
UNIT = "systemd/auditor-nightly"
# The oldest and the newest version that the schemas in use still describe.
KUBERNETES = ("1.29", "1.36")
KUBERNETES_FILES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
WORKLOADS = [file for file in KUBERNETES_FILES if file.name != "secret.yaml"]
# What follows the name in a sentence or a COPY.
WORDS = {"auditor", "every", "from", "in", "is", "must", "sh"}
COMMAND = re.compile(r"(?<![\w./:-])auditor ([a-z]+)")


def _text(*names: str) -> str:
    return "\n".join((DEPLOY / name).read_text() for name in names)


@pytest.mark.parametrize(
    ("scheduler", "names"),
    [
        (
            "systemd",
            (f"{UNIT}.service", f"{UNIT}.timer", f"{UNIT}-failure.service"),
        ),
        ("cron", ("cron/auditor",)),
        ("kubernetes", ("kubernetes/nightly.yaml",)),
    ],
)
def test_the_files_are_those_that_install_prints(
    scheduler: str, names: tuple[str, ...]
) -> None:
    printed = INSTALL_TEXTS[scheduler](PLAN)
    for name in names:
        assert (DEPLOY / name).read_text().strip() in printed


def test_a_percent_sign_is_escaped_for_cron_and_not_for_a_shell() -> None:
    """crontab(5): cron takes it for the end of the command; sudo's shell does not."""
    plan = replace(PLAN, config="/etc/auditor/100%.toml")
    lines = INSTALL_TEXTS["cron"](plan).splitlines()
    (cron,) = (line for line in lines if line.startswith("0 2 "))
    (shell,) = (line for line in lines if "sudo" in line)
    assert cron.endswith(r"/etc/auditor/100\%.toml")
    assert "/etc/auditor/100%.toml' " in shell


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("file", KUBERNETES_FILES, ids=lambda file: file.name)
def test_kubernetes_objects_conform_to_the_schema(file: Path, version: str) -> None:
    documents = list(yaml.safe_load_all(file.read_text()))
    assert documents
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("file", WORKLOADS, ids=lambda file: file.name)
def test_pods_are_not_root_and_write_to_volumes_only(file: Path) -> None:
    *_, workload = yaml.safe_load_all(file.read_text())
    spec = workload["spec"]
    pod: dict[str, Any] = spec.get("jobTemplate", {}).get("spec", spec)["template"][
        "spec"
    ]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert container["image"].endswith(f":{__version__}")


@pytest.mark.parametrize(
    "file",
    [
        one
        for one in sorted(DEPLOY.rglob("*"))
        if one.is_file() and COMMAND.search(one.read_text())
    ],
    ids=lambda file: file.relative_to(DEPLOY).as_posix(),
)
def test_every_command_exists(file: Path) -> None:
    assert set(COMMAND.findall(file.read_text())) <= {*COMMANDS, *WORDS}


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ("github-actions", "github/action.yml"),
        ("github-workflows", "github/nightly-audit.yml"),
        ("gitlab-ci", "gitlab/nightly-audit.yml"),
    ],
)
def test_ci_files_conform_to_the_schema(schema: str, name: str) -> None:
    """The schemas of SchemaStore, which check-jsonschema contains."""
    done = CliRunner().invoke(
        check_jsonschema, ["--builtin-schema", f"vendor.{schema}", str(DEPLOY / name)]
    )
    assert done.exit_code == 0, done.output


def test_hadolint_finds_nothing_wrong_with_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    file = DEPLOY / "container" / "Dockerfile"
    done = subprocess.run((hadolint, file), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_container_is_pinned_and_not_root() -> None:
    lines = _text("container/Dockerfile").splitlines()
    images = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert images
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in images)
    assert "USER 65532:65532" in lines


def test_what_the_dockerfile_copies_is_enough_to_build_the_wheel(
    tmp_path: Path,
) -> None:
    """`pip install .` of its build stage, without the network."""
    source = tmp_path / "src"
    source.mkdir()
    for line in _text("container/Dockerfile").splitlines():
        words = line.split()
        if words[:1] != ["COPY"] or words[1].startswith("--from"):
            continue
        for name in words[1:-1]:
            one, target = DEPLOY.parent / name, source / words[-1] / name
            if one.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(one, source / words[-1], ignore=ignored)
            else:
                shutil.copy(one, target)
    (wheel,) = WheelBuilder(str(source)).build(
        directory=str(tmp_path / "dist"), versions=["standard"]
    )
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry,) = (name for name in names if name.endswith("entry_points.txt"))
        assert b"auditor = auditor.__main__:main" in archive.read(entry)
    package = {
        file.relative_to(DEPLOY.parent).as_posix()
        for file in (DEPLOY.parent / "auditor").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert package <= set(names)


def test_systemd_has_a_user_where_the_state_directory_is_not_used() -> None:
    """A dynamic user cannot write a folder that is not its own (systemd.exec(5))."""
    elsewhere = replace(PLAN, settings=NightlySettings(folder="/srv/audit nights"))
    text = INSTALL_TEXTS["systemd"](elsewhere)
    assert "DynamicUser" not in text
    assert 'User=auditor\nReadWritePaths="/srv/audit nights"\n' in text
    assert "#   install -d -o auditor '/srv/audit nights'\n" in text
    below = replace(PLAN, settings=NightlySettings(folder="/var/lib/auditor/nights"))
    assert "DynamicUser=yes\nStateDirectory=auditor\n" in INSTALL_TEXTS["systemd"](
        below
    )


def test_the_user_of_cron_can_read_the_environment() -> None:
    assert "owned by auditor, mode 600" in INSTALL_TEXTS["cron"](PLAN)


def test_the_configmap_has_every_file_that_the_configuration_names() -> None:
    plan = replace(PLAN, files=["/etc/auditor/images.txt", "/etc/auditor/policy.toml"])
    (command,) = (
        line
        for line in INSTALL_TEXTS["kubernetes"](plan).splitlines()
        if "create configmap" in line
    )
    assert [word.partition("=")[2] for word in command.split()[5:]] == [
        "/etc/auditor/nightly.toml",
        "/etc/auditor/images.txt",
        "/etc/auditor/policy.toml",
    ]


def test_a_file_outside_the_state_directory_can_be_written() -> None:
    """`ProtectSystem=strict`: metrics and cache are not in the folder of the nights.

    The permissions of their folders need a user that has a name before it runs.
    """
    plan = replace(
        PLAN, writable=["/var/lib/node_exporter", "/srv/a b", "/var/lib/auditor/x"]
    )
    text = INSTALL_TEXTS["systemd"](plan)
    assert (
        "User=auditor\nStateDirectory=auditor\n"
        'ReadWritePaths="/srv/a b" /var/lib/node_exporter\n' in text
    )
    assert "DynamicUser" not in text
    assert "ReadWritePaths" not in INSTALL_TEXTS["systemd"](PLAN)
    for scheduler in ("systemd", "cron"):
        commands = INSTALL_TEXTS[scheduler](plan).split("# Enable it:")[1]
        assert "#   useradd --system --user-group auditor\n" in commands
        for folder in ("/var/lib/node_exporter", "'/srv/a b'"):
            allowed = f"chgrp auditor {folder} && chmod g+w {folder}"
            assert f"#   mkdir -p {folder} && {allowed}\n" in commands


def test_a_password_file_is_a_credential_of_the_service() -> None:
    """A dynamic user cannot read a file of root with mode 600 (systemd.exec(5))."""
    there = "/run/credentials/auditor-nightly.service/harbor"
    plan = replace(PLAN, password_files=["/srv/my password", there])
    lines = INSTALL_TEXTS["systemd"](plan).splitlines()
    at = lines.index('LoadCredential=my password:"/srv/my password"')
    assert lines[at - 1].endswith('auditor-nightly.service/my password"')
    assert lines[at + 1] == "LoadCredential=harbor:/etc/auditor/harbor"


def test_the_chart_is_valid_and_for_this_version() -> None:
    chart = yaml.safe_load(_text("helm/Chart.yaml"))
    assert chart["appVersion"] == __version__
    values = yaml.safe_load(_text("helm/values.yaml"))
    jsonschema.validate(values, json.loads(_text("helm/values.schema.json")))
    document = tomllib.loads(values["config"])
    settings = resolve_settings(
        file=document,
        file_name="/etc/auditor/nightly.toml",
        environment={},
        flags={},
        read_file=lambda _: "-",
    )
    assert settings.nightly is not None
    assert settings.nightly.folder == "/var/lib/auditor"


# -- rights in a cluster --

RBAC = sorted((DEPLOY / "kubernetes" / "rbac").glob("*.yaml"))


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("file", RBAC, ids=lambda file: file.name)
def test_roles_conform_to_the_schema(file: Path, version: str) -> None:
    for document in yaml.safe_load_all(file.read_text()):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_role_lists_what_the_audit_of_a_cluster_lists_and_nothing_else() -> None:
    _, role, _ = yaml.safe_load_all(RBAC[0].read_text())
    granted = {
        (group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    listed = {
        (version.rpartition("/")[0], resource)
        for version, resource in (PODS, *LISTED_WORKLOADS)
    }
    assert granted == listed
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list"}
