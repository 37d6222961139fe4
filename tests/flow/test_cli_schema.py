"""`auditor schema`, and the command line as a whole."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import jsonschema
import orjson
import pytest

from auditor.cli.schema_command import SCHEMAS
from auditor.demo.demo_tokens import ANONYMOUS, DemoAccount
from auditor.model import Shape
from auditor.report.report_schema import report_schema
from auditor.version import __version__
from tests.flow.commands import PROGRAM, auditor
from tests.flow.harness import lab, service, simple
from tests.manifests import digest
from tests.records import failure, image
from tests.reports import write_report
from tests.support.fault_actions import Answer

pytestmark = pytest.mark.anyio


async def schema_validator(name: str) -> jsonschema.Draft202012Validator:
    """A validator with the schema that `auditor schema NAME` prints."""
    done = await auditor("schema", name)
    assert (done.code, done.stderr) == (0, [])
    return jsonschema.Draft202012Validator(orjson.loads(done.out))


@pytest.mark.parametrize("name", SCHEMAS)
async def test_each_schema_is_a_valid_schema(name: str) -> None:
    validator = await schema_validator(name)
    jsonschema.Draft202012Validator.check_schema(validator.schema)


async def test_the_schema_without_a_name_is_that_of_report_lines() -> None:
    done = await auditor("schema")
    assert orjson.loads(done.out) == report_schema()


# Each command that prints JSON, with the schema of its output. {host} is a registry.
COMMANDS = [
    ("inspect", ("inspect", "{host}/team/app:1", "--format", "json")),
    ("inspect", ("inspect", "{host}/team/app:gone", "--format", "json")),
    ("doctor", ("doctor", "{host}/team/app:1", "--format", "json")),
    ("doctor", ("doctor", "{host}", "--format", "json")),
    ("doctor", ("doctor", "localhost:1", "--format", "json")),
    ("token", ("token", "{host}/team/app", "--format", "json")),
    ("token", ("token", "localhost:1/team/app", "--tries=1", "--format", "json")),
    ("token-list", ("token", "{host}/team/app", "{host}/a b", "--format", "json")),
    ("token-list", ("token", "{host}/**:*", "--format", "json")),
    ("token-decode", ("token", "--decode", "{token}", "--format", "json")),
    ("token-decode", ("token", "--decode", "opaque", "--format", "json")),
    ("ls", ("ls", "{host}", "--format", "json")),
    ("ls", ("ls", "{host}/team/app", "--format", "json")),
    ("cache-info", ("cache", "info", "--cache", "cache", "--format", "json")),
    ("diff", ("diff", "old.jsonl", "new.jsonl", "--format", "jsonl")),
    ("layers", ("layers", "new.jsonl", "--format", "jsonl")),
    ("layers", ("layers", "new.jsonl", "--digest", "{layer}", "--format", "jsonl")),
    (
        "packages",
        ("packages", "new.jsonl", "--sbom", "sboms.jsonl", "--format", "jsonl"),
    ),
    ("bases", ("bases", "new.jsonl", "--format", "jsonl")),
    (
        "unused",
        (
            *("unused", "--registry", "new.jsonl", "--running", "old.jsonl"),
            *("--format", "jsonl"),
        ),
    ),
    (
        "cleanup-plan",
        (
            *("cleanup", "plan", "new.jsonl", "--delete", "r.example.com/**:*"),
            *("--format", "jsonl"),
        ),
    ),
    ("cleanup-protect", ("cleanup", "protect", "new.jsonl", "--format", "jsonl")),
    ("night", ("nightly", "status", "-c", "night.toml", "--format", "json")),
    ("check", ("check", "new.jsonl", "--policy", "policy.toml", "--format", "jsonl")),
]


def test_the_output_of_every_documented_command_is_tested() -> None:
    elsewhere = {"report", "dry-run", "sbom"}  # below, and in test_audit_sboms.py
    assert {name for name, _ in COMMANDS} | elsewhere == set(SCHEMAS)


@pytest.mark.parametrize(("name", "command"), COMMANDS)
async def test_the_output_of_each_command_conforms_to_its_schema(
    name: str, command: tuple[str, ...], tmp_path: Path
) -> None:
    anyone = DemoAccount(ANONYMOUS, "", {"team/*": ("pull",), "catalog": ("*",)})
    tokens = service(anyone)
    old, new = image(), replace(image(), digest=digest("9"))
    write_report(tmp_path / "old.jsonl", [old])
    write_report(tmp_path / "new.jsonl", [new, failure()])
    (tmp_path / "sboms.jsonl").write_text(
        '{"schema":1,"kind":"sbom","attachment":"sha256:0","packages":[]}\n'
    )
    (tmp_path / "policy.toml").write_text(
        "[rules.all]\nforbid_failures = true\nmax_layers = 1\n"
        '[[waivers]]\nrules = ["all.max_layers"]\nreferences = ["*"]\n'
        'reason = "small"\nexpires = 2099-12-31\n'
    )
    validator = await schema_validator(name)
    async with lab(simple(["team/app:1"]), tokens=tokens) as here:
        tokens.clock = time.time
        await auditor("audit", here.ref("team/app:1"), "--cache=cache", place=tmp_path,
                      environment={"AUDITOR_NO_CACHE": ""})  # fmt: skip
        (tmp_path / "night.toml").write_text(
            f'reference = ["{here.ref("team/app:1")}"]\n'
            '[nightly]\nfolder = "state"\npage = false\n'
        )
        if name == "night":
            await auditor("nightly", "-c", "night.toml", place=tmp_path)
        values = {
            "host": here.host,
            "token": tokens.issue(anyone, ["repository:team/app:pull"]),
            "layer": (new.platforms[0].layers or ())[0].digest or "",
        }
        done = await auditor(
            *(word.format_map(values) for word in command),
            place=tmp_path,
            environment={"AUDITOR_NO_CACHE": ""},
        )
    lines = name.startswith("cleanup") or name in {
        "token-list",
        "ls",
        "diff",
        "layers",
        "packages",
        "bases",
        "check",
        "unused",
    }
    documents = done.lines if lines else [orjson.loads(done.out)]
    assert documents
    for document in documents:
        validator.validate(document)


async def test_the_summary_of_a_dry_run_conforms_to_its_schema(tmp_path: Path) -> None:
    validator = await schema_validator("dry-run")
    async with lab(simple(["team/app:1"])) as here:
        done = await auditor(
            *("audit", "--dry-run", "--summary", "plan.json", here.ref("**:*")),
            place=tmp_path,
        )
    assert done.code == 0
    validator.validate(orjson.loads((tmp_path / "plan.json").read_bytes()))


@pytest.mark.parametrize("shape", Shape)
async def test_every_line_of_every_shape_conforms_to_the_schema(shape: Shape) -> None:
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


async def test_a_line_with_a_missing_or_extra_field_is_invalid() -> None:
    async with lab(simple(["team/app:1"])) as here:
        (line,) = (await auditor("audit", here.ref("team/app:1"))).lines
    validator = jsonschema.Draft202012Validator(report_schema())
    validator.validate(line)
    for field in line:
        assert not validator.is_valid({k: v for k, v in line.items() if k != field})
    assert not validator.is_valid({**line, "more": 1})


@pytest.mark.parametrize("program", [PROGRAM, (sys.executable, "-m", "auditor")])
async def test_the_version_is_printed(program: tuple[str, ...]) -> None:
    done = await auditor("--version", program=program)
    assert (done.code, done.stderr) == (0, [])
    assert done.out.decode() == f"auditor, version {__version__}\n"


@pytest.mark.parametrize(
    "command", [[], ["audit"], ["token"], ["inspect"], ["demo"], ["schema"]]
)
async def test_every_command_has_help(command: list[str]) -> None:
    done = await auditor(*command, "--help")
    assert (done.code, done.stderr) == (0, [])
    assert done.out.decode().startswith(f"Usage: {' '.join(['auditor', *command])} ")
