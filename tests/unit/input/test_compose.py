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


# compose-spec: "build" (additional_contexts, args, dockerfile_inline), "volumes",
# "provider"; Dockerfile reference, "Named contexts".
def test_builds_in_the_file_and_image_volumes_are_read() -> None:
    data = dedented("""
        services:
          built: {build: ., image: "${IMAGE:-}"}
          inline:
            build:
              dockerfile_inline: |
                ARG GO=1
                ARG OS
                FROM a.io/go:$${GO}-$${OS} AS build
                COPY --from=tools /x /x
                COPY --from=a.io/certs /y /y
                FROM Base
              args: {GO: "${GO:-2}", OS: slim, OTHER: null}
              additional_contexts:
                - base=docker-image://a.io/base:${V:-3}
                - tools=docker-image://a.io/tools
                - src=../src
          contexts:
            build:
              context: .
              additional_contexts:
                base: docker-image://debian
                image: docker-image://${UNSET}
                other: service:inline
                git: https://github.com/x/y.git
          volume:
            image: a.io/v
            volumes:
              - {type: image, source: "a.io/data:1", target: /d}
              - {type: bind, source: /a, target: /b}
              - /c:/d
          open:
            build: {dockerfile_inline: "FROM a.io/$UNSET"}
          model: {provider: {type: model, options: {model: ai/x}}}
    """)
    resolved = "; give the output of `docker compose config` instead"
    assert summaries(data) == [
        "3 a.io/base:3",
        "3 a.io/tools:latest",
        "5:dockerfile_inline:3 a.io/go:2-slim",
        "5:dockerfile_inline:5 a.io/certs:latest",
        "21 docker.io/library/debian:latest",
        f"22 ! the variable UNSET has no default here{resolved}",
        "26 a.io/v:latest",
        "28 a.io/data:1",
        f"32 ! the variable UNSET has no default here{resolved}",
    ]


def test_an_empty_image_without_a_build_is_an_error() -> None:
    (line,) = summaries(b"services:\n  a: {image: '${A:-}'}")
    assert line.startswith("2 ! ")


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
