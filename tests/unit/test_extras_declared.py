"""Every extra in a message is in pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from auditor.cli.command_support import EXTRAS

PROJECT = tomllib.loads(
    (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]


@pytest.mark.parametrize(("module", "extra"), EXTRAS.items())
def test_an_extra_installs_its_module(module: str, extra: str) -> None:
    installed = {
        re.split(r"[<>=\[;]", one)[0] for one in PROJECT["optional-dependencies"][extra]
    }
    assert module in installed


def test_the_dev_extra_has_all_extras() -> None:
    own = PROJECT["optional-dependencies"]["dev"][0]
    assert set(re.findall(r"\w+", own.partition("[")[2])) >= set(EXTRAS.values())


def test_the_base_installation_has_no_library_of_a_cloud() -> None:
    extras = PROJECT["optional-dependencies"]
    names = {
        re.split(r"[<>=\[;]", one)[0]
        for extra in ("aws", "google", "azure")
        for one in extras[extra]
    }
    assert names == {"boto3", "google-auth", "requests", "azure-identity"}
    base = {re.split(r"[<>=\[;]", one)[0] for one in PROJECT["dependencies"]}
    assert not base & names
