"""Compose files as lists."""

from __future__ import annotations

import json

import pytest

from auditor.input.variables import VariableError, interpolate
from tests.unit.input.test_documents import dedented
from tests.unit.input.test_lists import summaries


def test_a_compose_file_gives_the_images_of_its_services() -> None:
    data = dedented("""
        x-base: &base
          image: a.io/base:1
          restart: always
        services:
          web: {image: "a.io/web:${TAG:-2.0}"}
          worker:
            <<: *base
          db:
            <<: *base
            image: postgres
          built: {build: .}
          unknown: {image: "a.io/x:${TAG}"}
          nested: {image: "a.io/x:${A:-${B}}"}
          other: {extends: {service: web}}
          empty: {}
          odd: 1
    """)
    found = summaries(data)
    resolved = "; give the output of `docker compose config` instead"
    assert found == [
        "5 a.io/web:2.0",
        "2 a.io/base:1",
        "10 docker.io/library/postgres:latest",
        f"12 ! the variable TAG has no default here{resolved}",
        f"13 ! the variable B has no default here{resolved}",
        f"14 ! the service extends another one{resolved}",
        "15 ! the service has no image and no build",
        "16 ! the service is not a mapping",
    ]


def test_a_compose_file_may_be_json_and_reports_included_files() -> None:
    document = {"include": ["other.yml"], "services": {"web": {"image": "a.io/web"}}}
    found = summaries(json.dumps(document, indent=2).encode())
    assert found[0].startswith("list ! other files are included")
    assert found[1] == "web a.io/web:latest"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("$TAG", None),
        ("${TAG-a.io/x}", "a.io/x:latest"),
        ("${TAG:+b}a.io/x", "a.io/x:latest"),
        ("${TAG:?set it}", None),
        ("a.io/x:$$", None),
        ("${A:-${B:-nginx}}", "docker.io/library/nginx:latest"),
        ("${R:-a.io}/${I:-x}:${T:-${V-1}-${S:-slim}}", "a.io/x:1-slim"),
    ],
)
def test_variables_of_a_compose_file(image: str, expected: str | None) -> None:
    (line,) = summaries(f"services:\n  a: {{image: '{image}'}}".encode())
    assert line.startswith("2 !") if expected is None else line == f"2 {expected}"


# compose-spec, "Interpolation"; compose-go, template/template_test.go.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A:-${B:-nginx}}", "nginx"),
        ("${A-${B-${C-x}}}", "x"),
        ("${A:-$$B}", "$B"),
        ("${A:-a b}", "a b"),
        ("${A:-'x'}", "'x'"),
        (r"${A:-a\b}", r"a\b"),
        ("${A:-x}}", "x}"),
        ("${A:+${B}}x", "x"),
        ("$${A}", "${A}"),
        ("${A:-/p/${B:-q}}", "/p/q"),
    ],
)
def test_defaults_are_nested(text: str, expected: str) -> None:
    assert interpolate(text) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("${A:-${B}}", "the variable B has no default here"),
        ("${A:?no}", "the variable A must be set"),
        ("${A:-${B:?no}}", "the variable B must be set"),
        ("${A", "${A is not a variable with a plain default"),
        ("${A:-b", "} is missing after a variable"),
        ("${A:-${B:-b}", "} is missing after a variable"),
        ("${}", "${} is not a variable with a plain default"),
        ("${A!b}", "${A!b} is not a variable with a plain default"),
        ("a:$", "$ is not a variable with a plain default"),
        ("${A:-" * 33 + "}" * 33, "variables are nested more than 32 levels deep"),
        ("${A:-" * 100_000, "variables are nested more than 32 levels deep"),
    ],
)
def test_a_variable_without_a_value_is_an_error(text: str, sentence: str) -> None:
    with pytest.raises(VariableError) as raised:
        interpolate(text)
    assert str(raised.value) == sentence
