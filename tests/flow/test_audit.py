"""Whole audits against the demo registry: the records match what it contains."""

from __future__ import annotations

from dataclasses import fields

import jsonschema
import orjson
import pytest

from auditor.config import ImageConfigMode
from auditor.demo.artifact_builder import artifact, helm_chart
from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import SigningKey
from auditor.demo.image_builder import (
    BuiltImage,
    Family,
    ImageContent,
    image,
    index,
    layer,
)
from auditor.demo.schema1_builder import schema1_image
from auditor.model import (
    Access,
    AccessState,
    ContentKind,
    ImageRecord,
    Layer,
    Order,
    Shape,
    WarningCode,
)
from auditor.report.report_schema import report_schema
from auditor.report.shapes import encoder
from tests.clock import STARTED_AT
from tests.flow.harness import BLOBS, BY_DIGEST, MANIFESTS, Lab, lab, simple
from tests.support.expected import (
    expected_architectures,
    expected_size,
    visible_content,
)
from tests.support.fault_actions import Answer, Edit, Gate, Hold

pytestmark = pytest.mark.anyio

PLATFORMS = ("linux/amd64", "linux/arm64/v8", "linux/arm/v7", "windows/amd64")


def _children(name: str, family: Family = Family.OCI) -> list[BuiltImage]:
    return [
        image(
            name,
            platform=one,
            family=family,
            os_version="10.0.20348.2700" if one.startswith("windows") else None,
        )
        for one in PLATFORMS
    ]


def _shared() -> BuiltImage:
    base = layer("shared base")
    return index(
        [
            image("shared", platform=one, layers=[base, layer(f"top of {one}")])
            for one in PLATFORMS
        ]
    )


KINDS: dict[str, BuiltImage] = {
    "oci-manifest": image("one", annotations={"org.example.team": "blue"}),
    "docker-manifest": image("two", family=Family.DOCKER, platform="linux/arm/v7"),
    "oci-index": index(_children("three"), annotations={"a": "b"}),
    "docker-list": index(_children("four", Family.DOCKER), family=Family.DOCKER),
    "attested-index": index(_children("five"), attested=True),
    "nested-index": index(
        [index(_children("six")), image("six", platform="linux/riscv64")]
    ),
    "twice-nested-index": index([index([index(_children("seven"), attested=True)])]),
    "shared-layers": _shared(),
    "no-layers": image("eight", layers=[]),
    "one-layer-twice": image("nine", layers=[layer("a"), layer("b"), layer("a")]),
    "no-creation-time": image("ten", created=None),
    "artifact": artifact("sbom", annotations={"org.example": "x"}),
    "artifact-of-an-image": artifact("sbom of one", subject=image("one").root),
    "helm-chart": helm_chart("api", "1.4.0"),
    "schema1": schema1_image("kinds/all", "schema1"),
    "schema1-signed": schema1_image(
        "kinds/all", "schema1-signed", keys=[SigningKey.from_seed("1")]
    ),
    "schema1-signed-twice": schema1_image(
        "kinds/all",
        "schema1-signed-twice",
        platform="linux/arm64/v8",
        keys=[SigningKey.from_seed("1"), SigningKey.from_seed("2")],
    ),
}
CONTENT = {
    "artifact": ContentKind.ARTIFACT,
    "artifact-of-an-image": ContentKind.ATTACHMENT,
    "helm-chart": ContentKind.ARTIFACT,
}
REPOSITORY = "kinds/all"


def _kinds() -> DemoContent:
    content = DemoContent()
    for tag, built in KINDS.items():
        content.add(REPOSITORY, built, tag)
    return content


ANONYMOUS = Access(
    state=AccessState.ANONYMOUS,
    actions=(),
    subject=None,
    issuer=None,
    verified=False,
    credential=None,
)


def _expected(
    here: Lab, tag: str, content: ImageContent, access: Access = ANONYMOUS
) -> ImageRecord:
    return ImageRecord(
        reference=here.ref(f"{REPOSITORY}:{tag}"),
        registry=here.host,
        repository=REPOSITORY,
        tag=tag,
        digest=content.digest,
        media_type=content.media_type,
        schema_version=content.schema_version,
        artifact_type=content.artifact_type,
        content=CONTENT.get(tag, ContentKind.IMAGE),
        architectures=expected_architectures(content),
        platforms=content.platforms,
        platforms_left_out=0,
        attachments=content.attachments,
        signed=None,
        has_sbom=None,
        has_provenance=None,
        size=expected_size(content),
        annotations=dict(content.annotations),
        access=access,
        subject=content.subject,
        manifest_size=content.manifest_size,
        other_children=content.other_children,
        untagged=False,
        warnings=(),
        audited_at=STARTED_AT,
    )


@pytest.mark.parametrize("mode", ImageConfigMode)
@pytest.mark.parametrize("tag", KINDS)
async def test_every_kind_of_manifest_gives_the_expected_record(
    tag: str, mode: ImageConfigMode
) -> None:
    async with lab(_kinds()) as here:
        outcome = await here.audit(here.ref(f"{REPOSITORY}:{tag}"), image_config=mode)
        content = visible_content(KINDS[tag].content, mode.value)
        expected = _expected(here, tag, content)
    found = outcome.image
    for field in fields(ImageRecord):
        if (name := field.name) != "warnings":
            assert getattr(found, name) == getattr(expected, name), name
    blind = mode is ImageConfigMode.NEVER and content.source == "manifest"
    assert [one.code for one in found.warnings] == (
        [WarningCode.PLATFORM_UNKNOWN] if blind else []
    )


@pytest.mark.parametrize(
    ("mode", "sources"),
    [
        (ImageConfigMode.AUTO, {"manifest"}),
        (ImageConfigMode.ALWAYS, {"manifest", "index"}),
        (ImageConfigMode.NEVER, set()),
    ],
)
async def test_configs_are_fetched_once_each_as_the_image_config_mode_says(
    mode: ImageConfigMode, sources: set[str]
) -> None:
    async with lab(_kinds()) as here:
        await here.audit(here.ref(f"{REPOSITORY}:*"), image_config=mode)
        asked = [target.rpartition("/")[2] for target in here.targets(BLOBS)]
    assert sorted(asked) == sorted(
        {
            platform.config_digest or ""
            for built in KINDS.values()
            for platform in built.content.platforms
            if built.content.source in sources
        }
    )


async def test_a_reference_by_digest_gives_the_same_image() -> None:
    built = KINDS["attested-index"]
    async with lab(_kinds()) as here:
        outcome = await here.audit(f"{here.host}/{REPOSITORY}@{built.root.digest}")
        both = await here.audit(
            here.ref(f"{REPOSITORY}:attested-index@{built.root.digest}")
        )
    assert outcome.image.tag is None
    assert outcome.image.digest == both.image.digest == built.content.digest
    assert outcome.image.platforms == both.image.platforms
    assert both.image.tag == "attested-index"


@pytest.mark.parametrize("mode", [ImageConfigMode.AUTO, ImageConfigMode.ALWAYS])
async def test_concurrent_references_fetch_a_digest_once(
    mode: ImageConfigMode,
) -> None:
    content = DemoContent()
    children = _children("app")
    for number in range(12):
        # Twelve different indexes of the same children, in two repositories.
        built = index(children, annotations={"number": str(number)})
        content.add(f"team/app{number % 2}", built, f"1.{number}")
    gate = Gate()
    async with lab(content) as here:
        here.faults.on("GET", BY_DIGEST, Hold(gate), forever=True)
        references = [here.ref(f"team/app{n % 2}:1.{n}") for n in range(12)]
        async with here.when(lambda: here.good("/v2/*/manifests/1.*") == 12, gate.open):
            outcome = await here.audit(
                *references, image_config=mode, workers=12, requests_at_once=32
            )
        assert outcome.kinds == ["image"] * 12
        assert here.faults.count("GET", BY_DIGEST) == len(children)
        configs = len(children) if mode is ImageConfigMode.ALWAYS else 0
        assert here.faults.count("GET", BLOBS) == configs
    assert outcome.summary.saved["manifests"] == 11 * len(children)


async def test_a_child_missing_in_one_repository_is_fetched_from_another() -> None:
    children = _children("app")
    sparse, whole = (index(children, annotations={"n": str(n)}) for n in range(2))
    content = DemoContent()
    content.add("a/sparse", sparse, "1")
    content.add("b/whole", whole, "1")
    missing = children[2].root.digest
    del content.repository("a/sparse").manifests[missing]
    async with lab(content) as here:
        outcome = await here.audit(
            here.ref("a/sparse:1"), here.ref("b/whole:1"), workers=1
        )
    first, second = outcome.records
    assert isinstance(first, ImageRecord)
    assert isinstance(second, ImageRecord)
    assert [one.code for one in first.warnings] == [WarningCode.CHILD_MISSING]
    lost = first.platforms[2]
    assert (lost.digest, lost.layers, lost.architecture) == (missing, None, "arm")
    assert "linux/arm/v7" not in first.architectures
    assert first.size is None
    assert second.platforms == visible_content(whole.content, "auto").platforms
    assert second.warnings == ()


async def test_a_missing_config_is_a_warning_and_an_unknown_platform() -> None:
    content = simple(["team/app:1"])
    content.repository("team/app").blobs.clear()
    async with lab(content) as here:
        found = (await here.audit(here.ref("team/app:1"))).image
    assert {one.code for one in found.warnings} == {
        WarningCode.CONFIG_MISSING,
        WarningCode.PLATFORM_UNKNOWN,
    }
    assert found.architectures == ()


async def test_a_foreign_layer_is_reported_and_never_fetched() -> None:
    async with lab(simple(["team/app:1"])) as here:

        def with_urls(body: bytes) -> bytes:
            document = orjson.loads(body)
            document["layers"][0]["urls"] = [f"http://{here.host}/v2/x/blobs/y"]
            return orjson.dumps(document)

        here.faults.on(
            "GET",
            MANIFESTS,
            Edit(body=with_urls, headers={"Docker-Content-Digest": None}),
        )
        found = (await here.audit(here.ref("team/app:1"))).image
        assert here.faults.count("GET", BLOBS) == 1
    assert [one.code for one in found.warnings] == [
        WarningCode.NO_DIGEST_HEADER,
        WarningCode.FOREIGN_LAYER,
    ]


async def test_a_wrong_digest_header_is_a_warning_and_the_computed_digest_counts() -> (
    None
):
    built = image("app")
    content = DemoContent()
    content.add("team/app", built, "1")
    wrong = "sha256:" + "0" * 64
    async with lab(content) as here:
        always_wrong = Edit(headers={"Docker-Content-Digest": wrong})
        here.faults.on("GET", MANIFESTS, always_wrong, forever=True)
        found = (await here.audit(here.ref("team/app:1"))).image
    assert found.digest == built.root.digest
    assert [one.code for one in found.warnings] == [WarningCode.DIGEST_HEADER_DIFFERS]
    assert wrong in found.warnings[0].detail


async def _audit_with_the_first_held_back(order: Order) -> list[int]:
    """The order of 20 records when the first reference is answered last."""
    names = [f"team/app:{number}" for number in range(20)]
    gate = Gate()
    async with lab(simple(names)) as here:
        here.faults.on("GET", "/v2/team/app/manifests/0", Hold(gate))
        async with here.when(lambda: here.good(BLOBS) == len(names) - 1, gate.open):
            outcome = await here.audit(*map(here.ref, names), order=order)
    return [int(one.rpartition(":")[2]) for one in outcome.references]


async def test_records_are_in_input_order_whatever_finishes_first() -> None:
    assert await _audit_with_the_first_held_back(Order.INPUT) == list(range(20))


async def test_in_completion_order_a_slow_reference_delays_no_other() -> None:
    found = await _audit_with_the_first_held_back(Order.COMPLETION)
    assert sorted(found) == list(range(20))
    assert found[-1] == 0


async def test_every_shape_conforms_to_the_schema_and_agrees_with_the_records() -> None:
    content = _kinds()
    async with lab(content) as here:
        here.faults.on("GET", f"/v2/{REPOSITORY}/manifests/oci-index", Answer(403))
        outcome = await here.audit(here.ref(f"{REPOSITORY}:*"))
    images = [one for one in outcome.records if isinstance(one, ImageRecord)]
    lines = {
        shape: [
            orjson.loads(line)
            for record in outcome.records
            for line in encoder(shape)(record).splitlines()
        ]
        for shape in Shape
    }
    validator = jsonschema.Draft202012Validator(report_schema())
    for line in (line for shape in Shape for line in lines[shape]):
        validator.validate(line)
    kinds = {shape: [line["kind"] for line in lines[shape]] for shape in Shape}
    assert kinds[Shape.IMAGE].count("image") == len(images) == len(KINDS) - 1
    platforms = [one for record in images for one in record.platforms]
    layers = [one for platform in platforms for one in platform.layers or ()]
    assert kinds[Shape.PLATFORM].count("platform") == len(platforms)
    without_layers = sum(not platform.layers for platform in platforms)
    assert kinds[Shape.LAYER].count("layer") == len(layers) + without_layers
    for shape in Shape:
        assert kinds[shape].count("failure") == 1
    rows = [
        line
        for line in lines[Shape.LAYER]
        if line["kind"] == "layer" and line["position"] is not None
    ]
    assert [
        Layer(
            digest=row["layer_digest"],
            size=row["layer_size"],
            media_type=row["layer_media_type"],
        )
        for row in rows
    ] == layers
