"""`auditor audit --sbom FILE`: each attached SBOM is read once."""

from __future__ import annotations

import gzip
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.demo.image_builder import image
from auditor.oci.descriptor import sha256_digest
from tests.flow.commands import PROGRAM, Finished, auditor, finish, running
from tests.flow.harness import BLOBS, MANIFESTS, Lab, lab
from tests.flow.test_cli_schema import schema_validator
from tests.support import sboms
from tests.support.attached_images import documents
from tests.support.fault_actions import Answer, Gate, Hold
from tests.support.registry import Behaviour
from tests.support.sbom_images import IN_TOTO, SPDX_JSON, sbom_images
from tests.support.sboms import Package

pytestmark = pytest.mark.anyio

TAGS = ("buildkit", "referred", "cosign", "plain")


async def audit(here: Lab, place: Path, *more: str, **options: Any) -> Finished:
    references = [here.ref(f"team/app:{tag}") for tag in TAGS]
    return await auditor(
        "audit", *references, "-o", "r.jsonl", "--sbom", "s.jsonl", *more,
        place=place, **options,
    )  # fmt: skip


def read(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def attachments(place: Path) -> set[str]:
    return {
        one["digest"]
        for record in read(place / "r.jsonl")
        for one in record["attachments"]
    }


async def test_sboms_are_read_however_they_are_attached(tmp_path: Path) -> None:
    built = sbom_images()
    async with lab(built.content) as here:
        cached = {"environment": {"AUDITOR_NO_CACHE": "0", "AUDITOR_CACHE": "c.db"}}
        done = await audit(here, tmp_path, **cached)
        assert (done.code, done.out) == (0, b"")
        blobs = Counter(one for one in here.answered(200) if "/blobs/" in one)
        assert set(blobs.values()) == {1}
        found = read(tmp_path / "s.jsonl")
        assert done.messages[-1] == "s.jsonl: 6 SBOMs, 7 packages"
        assert [(one["format"], one["format_version"]) for one in found].count(
            ("spdx", "2.3")
        ) == 5
        assert Counter(one["packages"][0]["name"] for one in found) == {
            "bash": 1, "libssl3": 1, "openssl": 1, "github.com/a/b": 3,
        }  # fmt: skip
        assert {one["attachment"] for one in found} == attachments(tmp_path)
        assert all(one["failure"] is None and not one["warnings"] for one in found)
        assert {record["has_sbom"] for record in read(tmp_path / "r.jsonl")} == {
            True,
            False,
        }
        # The next night: nothing has changed.
        first = (tmp_path / "s.jsonl").read_bytes()
        done = await audit(here, tmp_path, **cached)
        assert done.messages[-1] == "s.jsonl: 6 SBOMs, 7 packages; 6 from the cache"
        assert (tmp_path / "s.jsonl").read_bytes() == first
        again = Counter(one for one in here.answered(200) if "/blobs/" in one)
        assert again == blobs


async def test_without_the_flag_no_sbom_is_requested(tmp_path: Path) -> None:
    async with lab(sbom_images().content) as here:
        references = [here.ref(f"team/app:{tag}") for tag in TAGS]
        await auditor(
            "audit",
            *references,
            "-o",
            "r.jsonl",
            "--attachments",
            "all",
            place=tmp_path,
        )
        configs = [
            platform["config_digest"]
            for record in read(tmp_path / "r.jsonl")
            for platform in record["platforms"]
        ]
        blobs = [
            one.rpartition("/")[2] for one in here.answered(200) if "/blobs/" in one
        ]
        assert set(blobs) <= set(configs)


@pytest.mark.parametrize("name", ["s.jsonl.gz", "s-{date}.jsonl.zst"])
async def test_processes_write_one_file_for_all(tmp_path: Path, name: str) -> None:
    async with lab(sbom_images().content) as here:
        done = await audit(here, tmp_path, "--processes", "2", "--sbom", name)
        assert done.code == 0, done.stderr
        assert done.messages[-1].endswith(": 6 SBOMs, 7 packages")
        assert here.faults.count("*", "/v2/*/referrers/*") > 0
    (written,) = tmp_path.glob("s*.jsonl.*")
    assert "{" not in written.name


async def test_what_is_wrong_with_an_sbom_is_said_and_costs_nothing_else(
    tmp_path: Path,
) -> None:
    built = sbom_images()
    texts = [b"{", b"<bom/>", sboms.spdx([Package("other", "1")])]
    for text in texts:
        built.content.add(
            "team/app",
            documents(
                built.plain.root,
                [(SPDX_JSON, text, {})],
                artifact_type=SPDX_JSON,
                refers=True,
            ),
        )
    lost = f"/v2/team/app/blobs/{sha256_digest(texts[2])}"
    async with lab(built.content) as here:
        here.faults.on("GET", lost, Answer(404))
        done = await audit(here, tmp_path)
    assert done.code == 1
    assert done.messages[-1] == (
        "s.jsonl: 6 SBOMs, 7 packages; 2 could not be read; 1 could not be fetched"
    )
    validator = await schema_validator("sbom")
    for line in read(tmp_path / "s.jsonl"):
        validator.validate(line)
    wrong = [one for one in read(tmp_path / "s.jsonl") if one["failure"]]
    assert {one["failure"] for one in wrong} == {"protocol_violation", "not_found"}
    assert all(one["packages"] == [] and one["detail"] for one in wrong)


async def test_a_statement_about_another_image_is_a_warning(tmp_path: Path) -> None:
    built = sbom_images()
    other, plain = built.referred.root.digest, built.plain.root
    statement = sboms.statement(sboms.spdx([Package("alien", "1")]), other)
    built.content.add(
        "team/app",
        documents(
            plain,
            [(IN_TOTO, statement, {"in-toto.io/predicate-type": "spdx"})],
            artifact_type=IN_TOTO,
            refers=True,
        ),
    )
    async with lab(built.content) as here:
        done = await audit(here, tmp_path)
        assert done.code == 0, done.stderr
    (copied,) = (one for one in read(tmp_path / "s.jsonl") if one["warnings"])
    assert copied["warnings"] == [
        f"the statement is about {other}, but attached to {plain.digest}: its packages"
        " are of another manifest"
    ]
    done = await auditor(
        "packages", "r.jsonl", "alien", "--sbom", "s.jsonl", place=tmp_path
    )
    assert b"packages in 0 images" in done.out
    assert done.messages[-2:] == [
        "  1 with SBOMs of other images only",
        "  1 SBOM left out, whose statement names another image",
    ]


async def test_a_document_that_is_too_large_is_not_requested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = sbom_images()
    attached = documents(
        built.plain.root,
        [(SPDX_JSON, sboms.spdx([]) + b" " * (33 * 1024 * 1024), {})],
        artifact_type=SPDX_JSON,
        refers=True,
    )
    built.content.add("team/app", attached)
    async with lab(built.content) as here:
        done = await audit(here, tmp_path)
        assert here.faults.count("*", f"/v2/*/blobs/{attached.blobs[1].digest}") == 0
    assert done.code == 0
    assert done.messages[-1].endswith("; 1 could not be read")


async def test_an_interrupted_run_keeps_the_earlier_file(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text("yesterday's\n")
    gate = Gate()
    async with lab(sbom_images().content) as here:
        here.faults.on("GET", BLOBS, Hold(gate))
        async with running(
            "audit", here.ref("team/app:buildkit"), "-o", "r.jsonl",
            "--sbom", "s.jsonl", place=tmp_path, program=PROGRAM,
        ) as process:  # fmt: skip
            await here.faults.until(lambda: here.faults.count("GET", BLOBS) > 0)
            process.send_signal(signal.SIGINT)
            done = await finish(process)
        gate.open()
    assert done.code == 130
    assert done.messages[-1] == (
        "s.jsonl: not written; the next audit finds what was read in its cache"
    )
    assert (tmp_path / "s.jsonl").read_text() == "yesterday's\n"
    assert {one.name for one in tmp_path.iterdir()} == {"r.jsonl", "s.jsonl"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "--sbom: is made from the report, which must be a file: add -o FILE"),
        (
            ["-o", "r.jsonl", "--shape", "layer"],
            "--sbom: needs a line per image; remove --shape layer",
        ),
        (
            ["-o", "r.jsonl", "--attachments", "none"],
            "--sbom: looks for attachments; remove --attachments none",
        ),
        (["-o", "s.jsonl"], "--sbom: the same file as --output"),
    ],
)
async def test_what_cannot_be_is_refused_before_the_audit(
    tmp_path: Path, arguments: list[str], reason: str
) -> None:
    done = await auditor(
        "audit", "r.example.com/a:1", "--sbom", "s.jsonl", *arguments, place=tmp_path
    )
    assert done.code == 2
    assert done.messages == [reason]


async def test_an_attachment_of_a_repository_that_lost_it_is_read_from_another(
    tmp_path: Path,
) -> None:
    built = sbom_images()
    subject = image("shared")
    attached = documents(
        subject.root,
        [(SPDX_JSON, sboms.spdx([Package("a", "1")]), {})],
        artifact_type=SPDX_JSON,
        refers=True,
    )
    for repository in ("team/a", "team/b"):
        built.content.add(repository, subject, "1")
        built.content.add(repository, attached)
    async with lab(built.content, behaviour=Behaviour()) as here:
        here.faults.on("GET", "/v2/team/a/blobs/*", Answer(404))
        done = await auditor(
            "audit", here.ref("team/a:1"), here.ref("team/b:1"), "-o", "r.jsonl",
            "--sbom", "s.jsonl", place=tmp_path,
        )  # fmt: skip
        assert here.faults.count("GET", MANIFESTS) > 0
    assert done.messages[-1] == "s.jsonl: 1 SBOM, 1 package"
    assert done.code == 0


NIGHT = """
reference = ["{host}/team/app:buildkit", "{host}/team/app:plain"]
docker_config = false
sbom = "sboms.jsonl.gz"
{more}
[registry."{host}"]
plain_http = true
[nightly]
folder = "state"
page = false
"""


@pytest.mark.parametrize("more", ["", "processes = 2"])
async def test_a_night_replaces_the_file(tmp_path: Path, more: str) -> None:
    file, config = tmp_path / "sboms.jsonl.gz", tmp_path / "night.toml"
    async with lab(sbom_images().content) as here:
        config.write_text(NIGHT.format(host=here.host, more=more))
        done = await auditor("nightly", "-c", str(config), place=tmp_path)
        assert (done.code, done.out, done.stderr) == (0, b"", [])
        lines = gzip.decompress(file.read_bytes()).splitlines()
        assert len(lines) == 2
        here.faults.on("GET", BLOBS, Answer(404), forever=True)
        done = await auditor("nightly", "-c", str(config), place=tmp_path)
    assert done.messages == [f"{file}: 0 SBOMs, 0 packages; 2 could not be fetched"]
    assert b"not_found" in gzip.decompress(file.read_bytes())
