from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from auditor.config import (
    CloudLogin,
    ListerName,
    RegistrySettings,
    Settings,
    read_toml,
    resolve_settings,
)
from auditor.config.requests_at_once import RequestsAtOnce
from auditor.model import Shape
from auditor.util.secret import Secret

CONFIGS = Path(__file__).parents[2] / "auditor" / "examples"
ENVIRONMENT = {
    "DEMO_PASSWORD": "demo",
    "DTR_PASSWORD": "dtr",
    "REGISTRY_USERNAME": "auditor",
    "REGISTRY_PASSWORD": "registry",
    "GITLAB_TOKEN": "gitlab",
    "HARBOR_PASSWORD": "harbor",
    "QUAY_INVENTORY": "inventory",
    "QUAY_PAYMENTS": "payments",
    "HUB_USERNAME": "someone",
    "HUB_TOKEN": "hub",
}


def load_example(name: str) -> Settings:
    path = str(CONFIGS / name)
    return resolve_settings(
        file=read_toml(path).document,
        file_name=path,
        environment=ENVIRONMENT,
        flags={},
        read_file=lambda _: "from a file\n",
    )


def one(settings: Settings) -> RegistrySettings:
    (registry,) = settings.registries.values()
    return registry


def says_demo(settings: Settings) -> bool:
    return (
        one(settings).plain_http is True
        and one(settings).password == Secret("demo")
        and not settings.docker_config
    )


def says_clouds(settings: Settings) -> bool:
    ecr = settings.registry("123456789012.dkr.ecr.eu-central-1.amazonaws.com")
    program = settings.registry("registry.example.com").login_program
    return (
        ecr.cloud_login is CloudLogin.ALWAYS
        and ecr.role_arn == "arn:aws:iam::123456789012:role/audit"
        and settings.registry("europe-west1-docker.pkg.dev").cloud_login
        is CloudLogin.AUTO
        and program is not None
        and program.command[0] == "vault"
    )


def says_dtr(settings: Settings) -> bool:
    return one(settings).token_url == "https://dtr.example.com/auth/v2/token/"


def says_nightly(settings: Settings) -> bool:
    harbor = settings.registries["harbor.example.com:8443"]
    return (
        settings.lists == (str(CONFIGS / "nightly.txt"),)
        and settings.cache == str(CONFIGS / "digests.sqlite")
        and harbor.immutable_tags == ("v[0-9]*",)
        and harbor.password == Secret("from a file")
        and harbor.tries == 5
        and settings.registries["registry.example.com"].username == "auditor"
    )


def says_bulk(settings: Settings) -> bool:
    # Only a report of images can be exported.
    bounds = RequestsAtOnce(1, 128)
    return settings.shape is Shape.IMAGE and one(settings).requests_at_once == bounds


def says_hub(settings: Settings) -> bool:
    return settings.registries["docker.io"].username == "someone"


def says_harbor(settings: Settings) -> bool:
    return one(settings).lister is ListerName.HARBOR


def says_gitlab(settings: Settings) -> bool:
    return (
        one(settings).api_url == "https://gitlab.example.com"
        and one(settings).list_namespaces == ("platform", "products/shop")
        and one(settings).password == Secret("gitlab")
    )


def says_kubernetes(settings: Settings) -> bool:
    return settings.lists == ("-",) and one(settings).username == "auditor"


def says_accounts(settings: Settings) -> bool:
    return (
        settings.namespaces["quay.io/company/payments"].username == "company+payments"
        and settings.registries["quay.io"].username == "company+inventory"
        and settings.registries["docker.io"].mirror == "harbor.example.com/hub-cache"
        and settings.registries["registry.example.com:8443"].proxy == "none"
    )


def says_whole_registry(settings: Settings) -> bool:
    return (
        settings.references == ("registry.example.com/*:*",)
        and settings.exclude_repositories == ("**/cache", "archive/**")
        and (settings.latest, settings.since) == (10, "365d")
        and settings.omit_digest_tags
    )


EXAMPLES: dict[str, Callable[[Settings], bool]] = {
    "accounts.toml": says_accounts,
    "demo.toml": says_demo,
    "dtr.toml": says_dtr,
    "ecr.toml": lambda settings: one(settings).lister is ListerName.ECR,
    "nightly.toml": says_nightly,
    "bulk-export.toml": says_bulk,
    "clouds.toml": says_clouds,
    "docker-hub.toml": says_hub,
    "harbor.toml": says_harbor,
    "gitlab.toml": says_gitlab,
    "kubernetes.toml": says_kubernetes,
    "whole-registry.toml": says_whole_registry,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_configuration_has_the_settings_in_its_comments(
    name: str,
) -> None:
    assert EXAMPLES[name](load_example(name))


def test_every_example_configuration_is_tested() -> None:
    assert {
        path.name
        for path in CONFIGS.glob("*.toml")
        if not path.name.startswith("policy-")  # see test_analysis_check_run.py
    } == EXAMPLES.keys()
