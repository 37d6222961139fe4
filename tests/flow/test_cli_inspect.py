"""`auditor inspect`: one image as a tree, a record, or its manifest's bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import jsonschema
import orjson
import pytest

from auditor.demo.artifact_builder import helm_chart
from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import SigningKey
from auditor.demo.image_builder import BuiltImage, image, index, layer
from auditor.demo.schema1_builder import schema1_image
from auditor.report.report_schema import report_schema
from tests.flow.commands import auditor
from tests.flow.harness import BLOBS, MANIFESTS, lab, simple
from tests.support.attached_images import (
    SLSA,
    attested_index,
    cosign_signature,
    digest_tag,
)
from tests.support.expected import expected_architectures
from tests.support.fault_actions import Answer

pytestmark = pytest.mark.anyio

IMAGES: dict[str, BuiltImage] = {
    "index": index(
        [image("app", platform=one) for one in ("linux/amd64", "linux/arm64/v8")],
        annotations={"org.opencontainers.image.version": "1.4.0"},
        attested=True,
    ),
    "manifest": image("app"),
    "chart": helm_chart("app"),
    "signed": schema1_image("team/app", "signed", keys=[SigningKey.from_seed("1")]),
}


def _content() -> DemoContent:
    content = DemoContent()
    for tag, built in IMAGES.items():
        content.add("team/app", built, tag)
    return content


@pytest.mark.parametrize("tag", IMAGES)
async def test_the_tree_shows_every_platform_and_layer_in_full(tag: str) -> None:
    async with lab(_content()) as here:
        done = await auditor("inspect", here.ref(f"team/app:{tag}"))
    assert (done.code, done.stderr) == (0, [])
    shown = done.out.decode()
    assert shown.startswith(here.ref(f"team/app:{tag}") + "\n")
    content = IMAGES[tag].content
    for digest in [content.digest, *(one.digest for one in content.attachments)]:
        assert digest in shown
    for platform in content.platforms:
        assert platform.digest in shown
        places = [shown.index(layer.digest) for layer in platform.layers or ()]
        assert len(places) == len(platform.layers or ())
    for name in expected_architectures(content):
        assert f" {name}  " in shown
    for key, value in content.annotations.items():
        assert f"{key} = {value}" in shown


async def test_the_tree_shows_what_the_configs_contain() -> None:
    async with lab(_content()) as here:
        done = await auditor("inspect", here.ref("team/app:index"))
        assert here.faults.count("GET", BLOBS) == 2
    shown = done.out.decode()
    assert shown.count("label   org.opencontainers.image.title = app") == 2
    assert shown.count("created 2026-08-05T10:00:00Z") == 2
    assert "3 layers, base first" in shown


@pytest.mark.parametrize("tag", IMAGES)
async def test_the_json_is_the_record_of_a_report(tag: str) -> None:
    async with lab(_content()) as here:
        reference = here.ref(f"team/app:{tag}")
        done = await auditor("inspect", "--format=json", reference)
        audited = await auditor("audit", reference, "--image-config", "always")
    assert (done.code, done.stderr) == (0, [])
    (record,), (line,) = done.lines, audited.lines
    jsonschema.Draft202012Validator(report_schema()).validate(record)
    assert {**record, "audited_at": None} == {**line, "audited_at": None}


@pytest.mark.parametrize("tag", IMAGES)
async def test_raw_prints_the_exact_bytes_of_the_manifest(tag: str) -> None:
    async with lab(_content()) as here:
        done = await auditor("inspect", "--raw", here.ref(f"team/app:{tag}"))
        assert here.faults.count("GET", BLOBS) == 0
    assert (done.code, done.stderr) == (0, [])
    assert done.out == IMAGES[tag].root.raw
    if tag != "signed":
        digest = "sha256:" + hashlib.sha256(done.out).hexdigest()
        assert digest == IMAGES[tag].root.digest


async def test_the_size_of_a_schema_1_image_is_unknown() -> None:
    async with lab(_content()) as here:
        done = await auditor("inspect", here.ref("team/app:signed"))
    assert "├── size    unknown\n" in done.out.decode()


async def test_a_reference_by_digest() -> None:
    digest = IMAGES["manifest"].root.digest
    async with lab(_content()) as here:
        done = await auditor("inspect", f"{here.host}/team/app@{digest}", "--raw")
    assert done.out == IMAGES["manifest"].root.raw


@pytest.mark.parametrize("quiet", [False, True])
async def test_a_retry_is_said(quiet: bool) -> None:
    async with lab(simple(["team/app:1"])) as here:
        here.faults.on("GET", MANIFESTS, Answer(503))
        done = await auditor(
            "inspect",
            here.ref("team/app:1"),
            environment={"AUDITOR_QUIET": str(quiet).lower()},
        )
    assert done.code == 0
    said = [] if quiet else [f"auditor: retrying {here.host} (2 of 3): 503"]
    assert done.stderr == said


@pytest.mark.parametrize("flags", [[], ["--raw"]])
async def test_a_failure_is_a_message_and_exit_1(flags: list[str]) -> None:
    async with lab(_content()) as here:
        done = await auditor("inspect", here.ref("team/app:gone"), *flags)
    assert (done.code, done.out) == (1, b"")
    message, explained = done.messages
    assert explained.startswith("what to do: auditor explain ")
    assert message.startswith(
        here.ref("team/app:gone") + ": not_found: not found, or not visible"
    )


async def test_a_failure_as_json_is_the_failure_record() -> None:
    async with lab(_content()) as here:
        done = await auditor("inspect", here.ref("team/app:gone"), "--format=json")
    assert done.code == 1
    (record,) = done.lines
    assert (record["kind"], record["failure"]) == ("failure", "not_found")


async def test_control_characters_of_a_registry_are_not_printed() -> None:
    content = DemoContent()
    evil = "\x1b]0;owned\x07\u202e\x9b2J"
    content.add("team/app", image("app", annotations={"evil": evil}), "1")
    async with lab(content) as here:
        done = await auditor("inspect", here.ref("team/app:1"))
        record = await auditor("inspect", here.ref("team/app:1"), "--format=json")
    shown = done.out.decode()
    for character in ("\x1b", "\x07", "\u202e", "\x9b"):
        assert character not in shown
    assert "\\x1b" in shown
    assert orjson.loads(record.out)["annotations"]["evil"] == evil


async def test_the_tree_shows_attachments_and_platforms_that_are_not_selected() -> None:
    content = DemoContent()
    zstd = "application/vnd.oci.image.layer.v1.tar+zstd"
    parts = [
        image(
            "app",
            platform=one,
            layers=[layer(one, media_type=zstd)],
            labels={"org.opencontainers.image.base.name": "docker.io/library/alpine:3"},
        )
        for one in ("linux/amd64", "linux/arm64")
    ]
    both = content.add("team/app", attested_index(parts, [SLSA]), "1")
    signature = cosign_signature(both.root)
    content.add("team/app", signature, digest_tag(both.root, ".sig"))
    del content.repository("team/app").layer_sizes[layer("linux/arm64").digest]
    async with lab(content) as here:
        done = await auditor(
            "inspect",
            here.ref("team/app:1"),
            *("--attachments", "all", "--platform", "linux/aarch64", "--verify-blobs"),
        )
    assert done.code == 0
    shown = done.out.decode()
    assert "linux/amd64" not in shown
    assert "1 more platform not selected" in shown
    assert "signed  yes, not verified" in shown
    assert "sbom    no" in shown
    assert "provenance yes, not verified" in shown
    assert "base    docker.io/library/alpine:3" in shown
    assert "1 layer, base first (zstd)" in shown
    assert f"signature {signature.root.digest} of {both.root.digest}" in shown
    assert f"of {parts[1].root.digest}  vnd.in-toto+json, {SLSA}" in shown
    assert "warning blob_missing: " in shown


async def test_an_invalid_platform_is_a_usage_error() -> None:
    done = await auditor("inspect", "registry.example.com/app", "--platform", "amd64")
    assert done.code == 2
    assert any("did you mean linux/amd64?" in line for line in done.stderr)


OWNERS = """reference,team
{host}/team/**:*,web
{host}/team/app:manifest,platform
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: prod}}
spec: {{template: {{spec: {{containers: [{{name: app, image: {image}}}]}}}}}}
"""


async def test_lists_say_who_uses_the_image(tmp_path: Path) -> None:
    async with lab(_content()) as here:
        (tmp_path / "owners.csv").write_text(OWNERS.format(host=here.host))
        image = here.ref("team/app:manifest")
        (tmp_path / "web.yaml").write_text(DEPLOYMENT.format(image=image))
        lists = ("-f", "owners.csv", "-f", "web.yaml")
        done = await auditor("inspect", image, *lists, place=tmp_path)
        as_json = await auditor(
            "inspect", image, *lists, "--format=json", place=tmp_path
        )
        elsewhere = await auditor(
            "inspect", here.ref("team/app:index"), "-f", "web.yaml", place=tmp_path
        )
    assert (done.code, done.stderr) == (0, [])
    shown = done.out.decode()
    assert "used by owners.csv:2" in shown
    assert "used by prod/Deployment/web, container app (web.yaml" in shown
    assert "input   team: platform, web" in shown
    (record,) = as_json.lines
    jsonschema.Draft202012Validator(report_schema()).validate(record)
    assert record["input_labels"] == {"team": ["platform", "web"]}
    assert [one["workload"] for one in record["sources"]] == [
        None, None, "Deployment/web",
    ]  # fmt: skip
    assert "nothing in the list names this reference" in elsewhere.out.decode()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-f", "gone.csv"], "gone.csv: "),
        (["-f", "web.yaml", "--raw"], "--raw prints the manifest alone; remove --list"),
    ],
)
async def test_a_list_that_cannot_be_used(arguments: list[str], sentence: str) -> None:
    async with lab(_content()) as here:
        done = await auditor("inspect", here.ref("team/app:manifest"), *arguments)
        assert here.faults.log == []
    assert (done.code, done.out) == (2, b"")
    assert done.messages[0].startswith(sentence)


async def test_the_tree_says_whether_a_base_has_moved() -> None:
    async with lab(_content()) as here:
        base = image("base now", layers=[layer("base now", size=10)])
        here.content.add("base/os", base, "1")
        prefix = "org.opencontainers.image.base."
        for tag, name, digest in (
            ("stale", here.ref("base/os:1"), f"sha256:{'1' * 64}"),
            ("current", here.ref("base/os:1"), base.root.digest),
            ("unknown", "", f"sha256:{'1' * 64}"),
        ):
            annotations = {f"{prefix}digest": digest}
            if name:
                annotations[f"{prefix}name"] = name
            here.content.add("team/app", image("app", annotations=annotations), tag)
        shown = {
            tag: (
                await auditor("inspect", here.ref(f"team/app:{tag}"), "--check-bases")
            ).out.decode()
            for tag in ("stale", "current", "unknown", "manifest")
        }
        name = here.ref("base/os:1")
    assert f"base    {name} has moved, is now {base.root.digest}" in shown["stale"]
    assert f"base    {name} current" in shown["current"]
    assert "not known whether it has moved: only the digest" in shown["unknown"]
    assert "base    " not in shown["manifest"]
