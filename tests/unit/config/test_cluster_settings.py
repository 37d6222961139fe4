"""The table `[cluster]` and the option --cluster."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.config import resolve_settings
from auditor.config.settings import ClusterResource, ClusterSettings
from auditor.errors import ConfigError


def _read(
    table: Any = None,
    flag: bool | None = None,
    environment: dict[str, str] | None = None,
) -> ClusterSettings | None:
    return resolve_settings(
        file={} if table is None else {"cluster": table},
        file_name="/etc/auditor/nightly.toml",
        environment={"HOME": "/home/audit", **(environment or {})},
        flags={"cluster": flag},
        read_file=lambda _: "",
    ).cluster


def test_every_key_has_its_value_and_paths_are_relative_to_the_file() -> None:
    assert _read(
        {
            "namespaces": ["team-*"],
            "exclude_namespaces": ["kube-system"],
            "workloads": False,
            "pull_secrets": True,
            "server": "https://k8s.example.com:6443",
            "token_file": "token",
            "ca_file": "~/ca.crt",
            "resources": [
                {"api": "argoproj.io/v1alpha1", "resource": "rollouts"},
                {"api": "x.example.com/v1", "resource": "xs", "images": ["spec.a"]},
            ],
        }
    ) == ClusterSettings(
        namespaces=("team-*",),
        exclude_namespaces=("kube-system",),
        workloads=False,
        pull_secrets=True,
        server="https://k8s.example.com:6443",
        token_file="/etc/auditor/token",
        ca_file="/home/audit/ca.crt",
        resources=(
            ClusterResource(api="argoproj.io/v1alpha1", resource="rollouts"),
            ClusterResource(api="x.example.com/v1", resource="xs", images=("spec.a",)),
        ),
    )


@pytest.mark.parametrize(
    ("table", "flag", "variable", "is_on"),
    [
        (None, None, None, False),
        ({}, None, None, True),
        (None, True, None, True),
        ({}, False, None, False),
        ({}, None, "false", False),
        (None, None, "true", True),
        (None, True, "false", True),
    ],
)
def test_the_flag_and_the_variable_decide_over_the_table(
    table: Any, flag: bool | None, variable: str | None, is_on: bool
) -> None:
    environment = {} if variable is None else {"AUDITOR_CLUSTER": variable}
    found = _read(table, flag, environment)
    assert found == (ClusterSettings() if is_on else None)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (True, "must be a section: [cluster]"),
        ({"namespace": ["a"]}, "did you mean namespaces?"),
        ({"namespaces": [1]}, "namespaces"),
        ({"metrics": "a.prom"}, "cluster.metrics: only valid at the top"),
        ({"resources": {}}, "must be sections: [[cluster.resources]]"),
        ({"resources": [{"api": "a/v1"}]}, 'needs api = "GROUP/VERSION"'),
        ({"resources": [{"api": "a/v1", "resource": "x", "paths": []}]}, "paths"),
    ],
)
def test_every_mistake_is_a_sentence(table: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _read(table)
    assert sentence in str(caught.value)
    assert "/etc/auditor/nightly.toml: cluster" in str(caught.value)
