"""Every extra that a message tells to install is one of pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from auditor.cli.extras import EXTRAS

PROJECT = tomllib.loads(
    (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]
# What a distribution is called where its module has another name.
DISTRIBUTIONS = {"prometheus_client": "prometheus-client"}


@pytest.mark.parametrize(("module", "extra"), EXTRAS.items())
def test_an_extra_brings_the_module_that_it_is_named_for(
    module: str, extra: str
) -> None:
    brought = {
        re.split(r"[<>=\[;]", one)[0] for one in PROJECT["optional-dependencies"][extra]
    }
    assert DISTRIBUTIONS.get(module, module) in brought


def test_the_developers_extra_brings_all_that_tests_need() -> None:
    own = PROJECT["optional-dependencies"]["dev"][0]
    assert set(re.findall(r"\w+", own.partition("[")[2])) >= set(EXTRAS.values())
