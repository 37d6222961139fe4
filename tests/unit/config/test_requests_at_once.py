"""`--requests-at-once`: a number, a range, and the defaults of registries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import auditor
from auditor.config import load_settings, resolve_settings
from auditor.config.requests_at_once import (
    DEFAULT_REQUESTS_AT_ONCE,
    RequestsAtOnce,
)
from auditor.errors import ConfigError
from auditor.wire.hosted_registries import hosted_registry

DOCS = Path(auditor.__file__).parents[1] / "docs"
HOST = "registry.example.com"


def of(value: object, **flags: Any) -> RequestsAtOnce:
    """The bounds for a registry, with this flag."""
    settings = load_settings({}, {"requests_at_once": value, **flags})
    return settings.registry(HOST).concurrency.of_registry(HOST)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8", RequestsAtOnce.fixed(8)),
        (" 256 ", RequestsAtOnce.fixed(256)),
        ("1..64", RequestsAtOnce(1, 64)),
        ("5..5", RequestsAtOnce(5, 5)),
        (None, DEFAULT_REQUESTS_AT_ONCE),
    ],
)
def test_a_number_fixes_it_and_a_range_bounds_it(
    text: str | None, expected: RequestsAtOnce
) -> None:
    assert of(text) == expected


@pytest.mark.parametrize(
    "text",
    ["0", "257", "8..4", "0..4", "1..257", "..", "1..", "..8", "1...8", "x", "", "-1",
     "1.5", "1-8", "\u0663", "9" * 50],
)  # fmt: skip
def test_anything_else_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        of(text)
    message = str(caught.value)
    assert "--requests-at-once: expected a whole number from 1 to 256, or a" in message
    assert "\n" not in message


def test_a_section_of_a_file_has_its_own() -> None:
    def settings(value: object) -> RequestsAtOnce:
        file = {"registry": {HOST: {"requests_at_once": value}}}
        return (
            resolve_settings(
                file=file,
                file_name="a.toml",
                environment={},
                flags={},
                read_file=str,
            )
            .registry(HOST)
            .concurrency
        )

    assert settings(3) == RequestsAtOnce.fixed(3)
    assert settings("2..9") == RequestsAtOnce(2, 9)
    for wrong in (True, 1.5, ["1"]):
        with pytest.raises(ConfigError, match="requests_at_once"):
            settings(wrong)


@pytest.mark.parametrize(
    ("text", "runs", "least", "most"),
    [("8", 4, 1, 2), ("3", 4, 1, 1), ("4..64", 4, 1, 16), ("1..64", 1, 1, 64),
     (None, 4, 1, 16), (None, 100, 1, 1)],
)  # fmt: skip
def test_runs_at_once_divide_it(
    text: str | None, runs: int, least: int, most: int
) -> None:
    found = of(text, runs_at_once=str(runs))
    assert (found.least, found.most) == (least, most)
    assert found.is_fixed == (text is not None and ".." not in text)


@pytest.mark.parametrize(
    ("name", "hosted"),
    [
        ("docker.io", True),
        ("ghcr.io", True),
        ("GHCR.io", True),
        ("eu.gcr.io", True),
        ("europe-west1-docker.pkg.dev", True),
        ("public.ecr.aws", True),
        ("team.azurecr.io", True),
        ("team.azurecr.io.example.com", False),
        (HOST, False),
        ("notgcr.io", False),
        ("ghcr.io.example.com", False),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", False),
        ("localhost:5000", False),
    ],
)
def test_public_registries_get_fewer_by_default(name: str, hosted: bool) -> None:
    assert (hosted_registry(name) is not None) == hosted
    assert DEFAULT_REQUESTS_AT_ONCE.of_registry(name).most == (8 if hosted else 64)
    assert DEFAULT_REQUESTS_AT_ONCE.divided(4).of_registry(name).most == (
        2 if hosted else 16
    )
    configured = RequestsAtOnce(1, 64)
    assert configured.of_registry(name) == configured
