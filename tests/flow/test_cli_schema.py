"""`auditor schema`, and the command line as a whole."""

from __future__ import annotations

import sys

import jsonschema
import orjson
import pytest

from auditor.model import Shape
from auditor.report.shapes import report_schema
from auditor.version import __version__
from tests.flow.commands import PROGRAM, auditor
from tests.flow.harness import lab, simple
from tests.support.fault_actions import Answer

pytestmark = pytest.mark.anyio


async def test_the_schema_is_a_valid_schema() -> None:
    done = await auditor("schema")
    assert (done.code, done.said) == (0, [])
    schema = orjson.loads(done.out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema == report_schema()


@pytest.mark.parametrize("shape", Shape)
async def test_every_line_of_every_shape_is_valid_against_it(shape: Shape) -> None:
    validator = jsonschema.Draft202012Validator(
        orjson.loads((await auditor("schema")).out)
    )
    async with lab(simple(["team/app:1", "team/app:2"])) as here:
        here.faults.on("GET", "*/manifests/2", Answer(404))
        done = await auditor(
            *("audit", here.ref("team/app:1"), here.ref("team/app:2"), "a b"),
            *("--shape", shape.value),
        )
    assert done.code == 1
    kinds = [line["kind"] for line in done.lines]
    images = {Shape.IMAGE: 1, Shape.PLATFORM: 1, Shape.LAYER: 3}[shape]
    assert kinds == [shape.value] * images + ["failure", "failure"]
    for line in done.lines:
        validator.validate(line)


async def test_a_line_with_a_field_too_few_or_too_many_is_not_valid() -> None:
    async with lab(simple(["team/app:1"])) as here:
        (line,) = (await auditor("audit", here.ref("team/app:1"))).lines
    validator = jsonschema.Draft202012Validator(report_schema())
    validator.validate(line)
    for field in line:
        assert not validator.is_valid({k: v for k, v in line.items() if k != field})
    assert not validator.is_valid({**line, "more": 1})


@pytest.mark.parametrize("program", [PROGRAM, (sys.executable, "-m", "auditor")])
async def test_the_version(program: tuple[str, ...]) -> None:
    done = await auditor("--version", program=program)
    assert (done.code, done.said) == (0, [])
    assert done.out.decode() == f"auditor, version {__version__}\n"


@pytest.mark.parametrize(
    "command", [[], ["audit"], ["token"], ["inspect"], ["demo"], ["schema"]]
)
async def test_every_command_has_help(command: list[str]) -> None:
    done = await auditor(*command, "--help")
    assert (done.code, done.said) == (0, [])
    assert done.out.decode().startswith(f"Usage: {' '.join(['auditor', *command])} ")
