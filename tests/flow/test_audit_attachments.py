"""Attachments are found wherever tools store them, with one search per image."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from auditor.config import AttachmentMode, ListerName
from auditor.demo.artifact_builder import artifact
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import BuiltImage, image, index
from auditor.model import Attachment, AttachmentKind, ImageRecord, WarningCode
from tests.flow.harness import BY_DIGEST, MANIFESTS, TAGS, Lab, lab
from tests.support.attached_images import (
    SLSA,
    SPDX,
    attestation,
    attested_index,
    bundle,
    cosign_attestation,
    cosign_sbom,
    cosign_signature,
    digest_tag,
    notation_signature,
    referrers_index,
)
from tests.support.fault_actions import Answer
from tests.support.products import harbor_api
from tests.support.registry import Behaviour

pytestmark = pytest.mark.anyio

REFERRERS = "/v2/*/referrers/*"
ALL = AttachmentMode.ALL
CHILDREN = [image("app", platform=one) for one in ("linux/amd64", "linux/arm64")]
PLAIN = index(CHILDREN)
NO_API = Behaviour(referrers=False)


def of(built: BuiltImage, *tags: str) -> DemoContent:
    content = DemoContent()
    content.add("team/app", built, *(tags or ("1",)))
    return content


def answers(record: ImageRecord) -> tuple[bool | None, bool | None, bool | None]:
    return record.signed, record.has_sbom, record.has_provenance


async def audited(here: Lab, mode: AttachmentMode = ALL) -> ImageRecord:
    return (await here.audit(here.ref("team/app:1"), attachments=mode)).image


@pytest.mark.parametrize("mode", [AttachmentMode.NONE, AttachmentMode.INDEX])
async def test_without_attachments_all_no_extra_request_is_sent(
    mode: AttachmentMode,
) -> None:
    built = attested_index(CHILDREN, [SLSA])
    async with lab(of(built)) as here:
        record = await audited(here, mode)
        assert here.faults.count("*", REFERRERS) == 0
        assert here.faults.count("*", TAGS) == 0
        assert here.faults.count("*", MANIFESTS) == 3
    assert answers(record) == (None, None, None)
    assert record.attachments == (
        () if mode is AttachmentMode.NONE else built.content.attachments
    )


@pytest.mark.parametrize(
    ("predicates", "expected"),
    [
        ([SLSA, SPDX], (False, True, True)),
        ([SLSA], (False, False, True)),
        ([SPDX], (False, True, False)),
        ([], (False, None, None)),  # its statement has no predicate type
    ],
)
async def test_the_manifests_of_attestations_in_an_index_are_read(
    predicates: list[str], expected: tuple[bool, bool, bool]
) -> None:
    async with lab(of(attested_index(CHILDREN, predicates))) as here:
        record = await audited(here)
    assert answers(record) == expected
    assert [one.kind for one in record.attachments] == [AttachmentKind.ATTESTATION] * 2
    assert {one.predicates for one in record.attachments} == {tuple(sorted(predicates))}
    assert record.warnings == ()


async def test_an_sbom_of_only_one_platform_is_not_one_of_the_image() -> None:
    attested = attested_index(CHILDREN[:1], [SPDX])
    async with lab(of(index([attested, CHILDREN[1]]))) as here:
        record = await audited(here)
    assert record.has_sbom is False
    (attachment,) = record.attachments
    assert attachment.predicates == (SPDX,)


@pytest.mark.parametrize("behaviour", [Behaviour(), Behaviour(referrers_page=1)])
async def test_all_pages_of_referrers_are_read(behaviour: Behaviour) -> None:
    content = of(PLAIN)
    root = PLAIN.root
    put = [
        notation_signature(root),
        bundle(root, content="dsse-envelope", predicate=SLSA),
        artifact("sbom", subject=root),
        artifact("report", artifact_type="application/sarif+json", subject=root),
        artifact("of a child", subject=CHILDREN[0].root),
    ]
    for one in put:
        content.add("team/app", one)
    async with lab(content, behaviour=behaviour) as here:
        record = await audited(here)
        pages = 4 + 1 + 1 if behaviour.referrers_page else 3
        assert here.good(REFERRERS) == pages
    assert {(one.digest, one.kind, one.subject) for one in record.attachments} == {
        (put[0].root.digest, AttachmentKind.SIGNATURE, root.digest),
        (put[1].root.digest, AttachmentKind.ATTESTATION, root.digest),
        (put[2].root.digest, AttachmentKind.SBOM, root.digest),
        (put[3].root.digest, AttachmentKind.ARTIFACT, root.digest),
        (put[4].root.digest, AttachmentKind.SBOM, CHILDREN[0].root.digest),
    }
    assert answers(record) == (True, True, True)


async def test_without_the_referrers_api_the_fallback_tag_is_read() -> None:
    content = of(PLAIN)
    signature = notation_signature(PLAIN.root)
    content.add("team/app", signature)
    content.add("team/app", referrers_index([signature.root]), digest_tag(PLAIN.root))
    content.add("team/other", PLAIN, "1")
    async with lab(content, behaviour=NO_API) as here:
        outcome = await here.audit(
            here.ref("team/app:1"),
            here.ref("team/other:1"),
            attachments=ALL,
            workers=1,
        )
        assert here.faults.count("*", TAGS) == 2
        # Asked twice before it is remembered for the namespace.
        asked = f"GET /v2/team/app/referrers/{PLAIN.root.digest}"
        assert here.answered(404) == [asked, asked]
    first, second = outcome.records
    assert isinstance(first, ImageRecord)
    assert isinstance(second, ImageRecord)
    assert first.attachments == (
        Attachment(
            kind=AttachmentKind.SIGNATURE,
            artifact_type="application/vnd.cncf.notary.signature",
            digest=signature.root.digest,
            subject=PLAIN.root.digest,
            predicates=None,
            size=len(signature.root.payload),
            tag=digest_tag(PLAIN.root),
        ),
    )
    assert (first.signed, second.signed) == (True, False)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(303, {"Location": "https://registry.example.com/login"}),
        Answer(200, {"Content-Type": "text/html"}, b"<html>an application</html>"),
        Answer(405),
    ],
)
async def test_a_response_that_is_no_referrers_list_means_no_referrers_api(
    answer: Answer,
) -> None:
    async with lab(of(PLAIN)) as here:
        here.faults.on("GET", REFERRERS, answer, forever=True)
        record = await audited(here)
        assert here.faults.count("*", REFERRERS) == 2
    assert answers(record) == (False, False, False)
    assert record.warnings == ()


async def test_the_referrers_api_is_detected_per_namespace() -> None:
    content = of(PLAIN)
    content.add("team/app", notation_signature(PLAIN.root))
    content.add("old/app", PLAIN, "1", "2")
    content.add("old/web", PLAIN, "1")
    async with lab(content) as here:
        gone = here.faults.on("GET", "/v2/old/*/referrers/*", Answer(404), forever=True)
        outcome = await here.audit(
            here.ref("old/app:*"), here.ref("old/web:1"), here.ref("team/app:1"),
            attachments=ALL, workers=1,
        )  # fmt: skip
        assert gone.matched == 2
    found = [one.signed for one in outcome.records if isinstance(one, ImageRecord)]
    assert found == [False, False, False, True]


async def test_one_400_does_not_mean_that_the_host_has_no_referrers_api() -> None:
    content = of(PLAIN)
    content.add("team/app", notation_signature(PLAIN.root))
    content.add("team/other", PLAIN, "1")
    async with lab(content) as here:
        here.faults.on("GET", "/v2/team/other/referrers/*", Answer(400), forever=True)
        outcome = await here.audit(
            here.ref("team/other:1"), here.ref("team/app:1"), attachments=ALL, workers=1
        )
    found = [one.signed for one in outcome.records if isinstance(one, ImageRecord)]
    assert found == [False, True]


def cosigned() -> DemoContent:
    content = of(PLAIN, "1", "latest")
    content.add(
        "team/app", cosign_signature(PLAIN.root), digest_tag(PLAIN.root, ".sig")
    )
    for child in CHILDREN:
        content.add(
            "team/app", cosign_attestation(child.root), digest_tag(child.root, ".att")
        )
    content.add("team/app", cosign_sbom(CHILDREN[0].root),
                digest_tag(CHILDREN[0].root, ".sbom"))  # fmt: skip
    return content


async def test_cosign_tags_cost_one_listing_and_one_request_per_existing_tag() -> None:
    async with lab(cosigned(), behaviour=NO_API) as here:
        outcome = await here.audit(
            here.ref("team/app:1"), here.ref("team/app:latest"), attachments=ALL
        )
        assert here.faults.count("*", TAGS) == 1
        asked = [path for path in here.targets(MANIFESTS) if "/sha256-" in path]
        assert len(asked) == len(set(asked)) == 4
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert answers(record) == (True, False, True)
        assert [one.kind for one in record.attachments].count(
            AttachmentKind.ATTESTATION
        ) == 2
        assert record.warnings == ()


async def test_known_cosign_tags_are_checked_with_head(
    tmp_path: Path,
) -> None:
    content = cosigned()
    async with lab(content, behaviour=NO_API) as here:
        nights: dict[str, tuple[object, ...]] = {}
        other = cosign_signature(CHILDREN[0].root)
        for night in ("first", "second", "signed again"):
            if night == "signed again":
                content.add("team/app", other, digest_tag(PLAIN.root, ".sig"))
            here.faults.log.clear()
            outcome = await here.audit(
                here.ref("team/app:1"),
                attachments=ALL,
                cache=str(tmp_path / "store"),
                immutable_tags=("sha256-*",),
            )
            asked = [
                f"{one.method} {one.target.rpartition('.')[2]}"
                for one in here.faults.requests("*", "/v2/team/app/manifests/sha256-*")
            ]
            # What HEAD names is requested by its digest.
            by_digest = here.faults.count("GET", f"*/manifests/{other.root.digest}")
            assert by_digest == (night == "signed again")
            record = outcome.image
            assert answers(record) == (True, False, True)
            nights[night] = sorted(asked), record.attachments
    gets = ["GET att", "GET att", "GET sbom", "GET sig"]
    heads = ["HEAD att", "HEAD att", "HEAD sbom", "HEAD sig"]
    assert nights["first"] == (gets, nights["second"][1])
    assert nights["second"][0] == heads
    assert nights["signed again"][0] == heads
    assert nights["signed again"][1] != nights["first"][1]


@pytest.mark.parametrize("answer", [Answer(403), Answer(200, {}, b"no list")])
async def test_without_a_tag_listing_each_attachment_tag_is_requested(
    answer: Answer,
) -> None:
    async with lab(cosigned(), behaviour=NO_API) as here:
        here.faults.on("GET", TAGS, answer)
        record = await audited(here)
        asked = [path for path in here.targets(MANIFESTS) if "/sha256-" in path]
        # .sig, .att, .sbom and the fallback tag of three digests
        assert len(asked) == len(set(asked)) == 12
    assert answers(record) == (True, False, True)
    assert record.warnings == ()


async def test_signatures_hidden_by_the_product_api_are_found() -> None:
    content = cosigned()
    routes = harbor_api(content)
    async with lab(content, behaviour=NO_API, routes=routes) as here:
        outcome = await here.audit(
            here.ref("team/app:*"), attachments=ALL, lister=ListerName.HARBOR
        )
        assert len(here.targets("/api/v2.0/*")) == 1
    assert [record.tag for record in outcome.records] == ["1", "latest"]
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert answers(record) == (True, False, True)


async def test_a_possibly_truncated_listing_does_not_prove_that_a_tag_is_missing() -> (
    None
):
    content = cosigned()
    repository = content.repository("team/app")
    tags = [f"v{number}" for number in range(100 - len(repository.tags))]
    repository.tags.update(dict.fromkeys(tags, PLAIN.root.digest))
    # Like distribution 2.8, it cannot confirm the end of the listing.
    behaviour = replace(NO_API, tags_pages=False)
    async with lab(content, behaviour=behaviour) as here:
        record = await audited(here)
        assert len([p for p in here.targets(MANIFESTS) if "/sha256-" in p]) == 12
    assert record.signed is True


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", REFERRERS, 403), ("GET", "/v2/*/manifests/sha256-*", 403)],
)
async def test_a_failed_attachment_request_is_a_warning_and_the_status_is_unknown(
    method: str, path: str, status: int
) -> None:
    content = of(PLAIN)
    content.add("team/app", cosign_sbom(PLAIN.root), digest_tag(PLAIN.root, ".sbom"))
    async with lab(content) as here:
        here.faults.on(method, path, Answer(status), forever=True)
        record = await audited(here)
    assert {one.code for one in record.warnings} == {WarningCode.ATTACHMENTS_UNKNOWN}
    assert record.signed is None
    assert record.architectures == ("linux/amd64", "linux/arm64")


async def test_referrer_pages_in_a_loop_are_a_warning() -> None:
    content = of(CHILDREN[0])
    for number in range(3):
        content.add("team/app", artifact(f"{number}", subject=CHILDREN[0].root))
    path = f"/v2/team/app/referrers/{CHILDREN[0].root.digest}"
    async with lab(content, behaviour=Behaviour(referrers_page=1)) as here:
        body = referrers_index([PLAIN.root]).root.raw
        here.faults.on(
            "GET",
            path,
            Answer(
                200,
                {
                    "Content-Type": "application/vnd.oci.image.index.v1+json",
                    "Link": f'<{path}>; rel="next"',
                },
                body,
            ),
        )
        record = await audited(here)
    (warning,) = record.warnings
    assert "does not end" in warning.detail


async def test_attachments_of_excluded_platforms_are_left_out() -> None:
    content = of(attested_index(CHILDREN, [SLSA]))
    async with lab(content) as here:
        outcome = await here.audit(
            here.ref("team/app:1"), attachments=ALL, platforms=("linux/arm64",)
        )
        assert here.good(BY_DIGEST) == 2  # the platform and its attestation
        assert here.good(REFERRERS) == 2
    record = outcome.image
    assert [one.subject for one in record.attachments] == [CHILDREN[1].root.digest]
    assert record.has_provenance is True


async def test_the_manifest_of_an_artifact_completes_its_referrers_entry() -> None:
    """go-containerregistry lists the type of the config, which is the empty one."""
    content = of(CHILDREN[0])
    put = artifact("sbom", subject=CHILDREN[0].root)
    root = replace(put.root, artifact_type="application/vnd.oci.empty.v1+json")
    content.add("team/app", replace(put, manifests=(root,)))
    async with lab(content) as here:
        record = await audited(here)
        assert here.good(BY_DIGEST) == 1
    (attachment,) = record.attachments
    assert attachment.kind is AttachmentKind.SBOM
    assert attachment.artifact_type == "application/spdx+json"
    assert record.has_sbom is True


@pytest.mark.parametrize(
    "tagged",
    [CHILDREN[0], PLAIN, CHILDREN[1], index([CHILDREN[1], image("other")])],
    ids=["itself", "its-own-index", "another-image", "another-index"],
)
async def test_an_image_under_a_digest_tag_is_no_attachment(
    tagged: BuiltImage,
) -> None:
    # Only lists of referrers are attachments (distribution-spec, "Referrers Tag
    # Schema"); some tools keep images under such tags.
    content = of(CHILDREN[0])
    repository = content.repository("team/app")
    repository.add(tagged, [digest_tag(CHILDREN[0].root)])
    async with lab(content, behaviour=NO_API) as here:
        record = await audited(here)
    assert record.attachments == ()
    assert answers(record) == (False, False, False)
    assert record.warnings == ()


async def test_the_fallback_tag_of_a_longer_digest_is_cut() -> None:
    # distribution-spec, "Referrers Tag Schema": a tag has at most 128 characters.
    content = of(CHILDREN[0])
    root = CHILDREN[0].root
    subject = replace(root, digest=f"sha512:{hashlib.sha512(root.raw).hexdigest()}")
    content.repository("team/app").manifests[subject.digest] = subject
    signature = notation_signature(subject)
    content.add("team/app", signature)
    tag = digest_tag(subject)[: len("sha512-") + 64]
    content.add("team/app", referrers_index([signature.root]), tag)
    async with lab(content, behaviour=NO_API) as here:
        outcome = await here.audit(
            here.ref(f"team/app@{subject.digest}"), attachments=ALL
        )
    (found,) = outcome.image.attachments
    assert (found.tag, found.subject) == (tag, subject.digest)
    assert answers(outcome.image) == (True, False, False)


@pytest.mark.parametrize("behaviour", [Behaviour(), NO_API])
async def test_a_referrer_with_the_config_of_an_image_is_read(
    behaviour: Behaviour,
) -> None:
    # distribution-spec, "Listing Referrers": without an artifactType the list has the
    # media type of the config, here that of an image (regclient#359).
    content = of(CHILDREN[0])
    subject = CHILDREN[0].root
    built = attestation(subject, [SLSA], refers=True)
    content.add("team/app", built)
    if behaviour is NO_API:
        fallback = referrers_index([built.root])
        content.repository("team/app").add(fallback, [digest_tag(subject)])
    async with lab(content, behaviour=behaviour) as here:
        record = await audited(here)
    (found,) = record.attachments
    assert (found.kind, found.subject) == (AttachmentKind.ATTESTATION, subject.digest)
    assert answers(record) == (False, False, True)
