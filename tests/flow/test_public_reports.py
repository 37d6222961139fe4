"""What users reported about other clients and registries: the right answer to each.

Each test names the thread as repository#number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.config import AttachmentMode, ListerName
from auditor.demo.artifact_builder import artifact
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import Family, image, index
from auditor.errors import FailureKind
from auditor.model import FailureRecord, ImageRecord, WarningCode
from auditor.report.listing_stats import ListKind, ListState
from tests.flow.harness import (
    MANIFESTS,
    TAGS,
    TOKENS,
    Outcome,
    lab,
    service,
    simple,
)
from tests.support import dialects
from tests.support.attached_images import EMPTY, bundle
from tests.support.fault_actions import Answer, Edit
from tests.support.products import gitea_api
from tests.support.registry import Behaviour

pytestmark = pytest.mark.anyio

PLATFORMS = ("linux/amd64", "linux/arm64")


def _index(name: str) -> Any:
    return index([image(name, platform=one) for one in PLATFORMS])


def _codes(outcome: Outcome) -> set[WarningCode]:
    return {
        warning.code
        for record in outcome.records
        if isinstance(record, ImageRecord)
        for warning in record.warnings
    }


def _tags_state(outcome: Outcome) -> list[ListState]:
    listings = outcome.summary.listings.shown
    return [one.state for one in listings if one.kind is ListKind.TAGS]


# -- referrers and digest tags -----------------------------------------------------


async def test_a_fallback_tag_that_names_the_subject_has_no_referrers() -> None:
    """oras-project/oras-go#1396: GitLab takes `sha256-<hex>` for `sha256:<hex>`."""
    content = DemoContent()
    built = content.add("team/app", _index("app"), "1")
    # The registry answers the fallback tag with the subject itself.
    content.repository("team/app").tags[built.root.digest.replace(":", "-")] = (
        built.root.digest
    )
    async with lab(content, behaviour=Behaviour(referrers=False)) as here:
        outcome = await here.audit(
            here.ref("team/app:1"), attachments=AttachmentMode.ALL
        )
    assert outcome.image.attachments == ()
    assert (outcome.image.signed, outcome.image.has_sbom) == (False, False)
    assert outcome.image.architectures == PLATFORMS


async def test_a_fallback_tag_is_no_image_of_its_own() -> None:
    """project-zot/zot#3969, #1896."""
    content = DemoContent()
    built = content.add("team/app", image("app"), "1")
    sbom = artifact("sbom", subject=built.root)
    content.add("team/app", sbom)
    content.add("team/app", index([sbom]), built.root.digest.replace(":", "-"))
    async with lab(content, behaviour=Behaviour(referrers=False)) as here:
        outcome = await here.audit(here.ref("team/app:*"))
    records = {one.tag: one for one in outcome.records if isinstance(one, ImageRecord)}
    assert records["1"].architectures == ("linux/amd64",)
    (fallback,) = (one for tag, one in records.items() if tag != "1")
    assert fallback.architectures == ()


# -- listings ----------------------------------------------------------------------


async def test_a_next_page_that_is_refused_is_an_incomplete_listing() -> None:
    """sonatype/nexus-public#1011: the Link has a path of another port, which is 400."""
    async with lab(simple(f"team/app:{n}" for n in range(3))) as here:
        link = f"<http://{here.host}/repository/hub/v2/team/app/tags/list?last=2>"
        here.faults.on("GET", TAGS, Edit(headers={"Link": f'{link}; rel="next"'}))
        here.faults.on("GET", "/repository/*", Answer(400), forever=True)
        outcome = await here.audit(here.ref("team/app:*"))
    kinds = outcome.kinds
    assert kinds.count("image") == 3
    assert len(kinds) == 4
    assert _tags_state(outcome) == [ListState.INCOMPLETE]


@pytest.mark.parametrize("empty", [True, False], ids=["empty page", "same page"])
async def test_a_link_after_the_last_page_ends_the_listing(empty: bool) -> None:
    """renovatebot/renovate#15080, microsoft/vscode-docker#4309, craneoperator#52."""
    async with lab(simple(f"team/app:{n}" for n in range(3))) as here:
        again = {"Link": '</v2/team/app/tags/list?last=3&n=3>; rel="next"'}
        body = orjson.dumps({"name": "team/app", "tags": []}) if empty else None
        here.faults.on("GET", TAGS, Edit(headers=again))
        here.faults.on(
            "GET",
            TAGS,
            Edit(headers=again, body=body or (lambda whole: whole)),
            query={"last": "3"},
            forever=True,
        )
        outcome = await here.audit(here.ref("team/app:*"))
        assert here.faults.count("GET", TAGS) < 5
    images = [one for one in outcome.records if isinstance(one, ImageRecord)]
    assert [one.tag for one in images] == ["0", "1", "2"]


async def test_a_full_page_without_a_link_is_never_called_complete() -> None:
    """renovatebot/renovate#18447, nexus-public#209, go-containerregistry#1643."""
    behaviour = Behaviour(links=False, max_page=3, tags_pages=True)
    names = [f"team/app:{n}" for n in range(5)]
    async with lab(simple(names), behaviour=behaviour) as here:
        outcome = await here.audit(here.ref("team/app:*"), page_size=3)
    found = [one for one in outcome.records if isinstance(one, ImageRecord)]
    # Either the rest is found by asking for it, or the listing says what it is.
    assert len(found) == 5 or _tags_state(outcome) != [ListState.COMPLETE]


async def test_a_page_size_that_is_refused_is_left_out() -> None:
    """google/go-containerregistry#2062: 400 PAGINATION_NUMBER_INVALID."""
    names = [f"team/app{n}:1" for n in range(4)]
    async with lab(simple(names), behaviour=Behaviour(max_page=100)) as here:
        outcome = await here.audit(here.ref("**:*"), page_size=1000)
    assert outcome.kinds == ["image"] * 4


async def test_every_page_of_a_catalog_of_hundreds_is_read() -> None:
    """project-zot/zot#2715: only the first 100 repositories were synced."""
    names = [f"team/app{n:03}:1" for n in range(230)]
    async with lab(simple(names), behaviour=Behaviour(max_page=100)) as here:
        outcome = await here.audit(here.ref("**:1"))
    assert outcome.kinds == ["image"] * 230


async def test_the_second_page_may_need_another_token() -> None:
    """pulp/pulp_container#2049: 401 for the token that page 1 accepted."""
    tokens = service()
    names = [f"team/app:{n}" for n in range(4)]
    async with lab(
        simple(names), tokens=tokens, behaviour=Behaviour(max_page=2)
    ) as here:
        challenge = (
            f'Bearer realm="http://{here.host}/token",service="registry",'
            'scope="repository:team/app:pull"'
        )
        here.faults.on(
            "GET",
            TAGS,
            Answer(401, {"WWW-Authenticate": challenge}),
            query={"last": "1"},
        )
        outcome = await here.audit(here.ref("team/app:*"), page_size=2)
    assert outcome.kinds == ["image"] * 4


async def test_a_version_that_only_the_api_knows_is_no_tag() -> None:
    """go-gitea/gitea#20491: the package API lists the internal version `_upload`."""
    content = simple(["team/app:1"])

    def with_upload(body: bytes) -> bytes:
        (entry,) = orjson.loads(body)
        return orjson.dumps([entry, {**entry, "version": "_upload"}])

    async with lab(content, routes=gitea_api(content)) as here:
        edited = Edit(body=with_upload, headers={"X-Total-Count": "2"})
        here.faults.on("GET", "/api/v1/packages/*", edited)
        outcome = await here.audit(here.ref("team/**:*"), lister=ListerName.GITEA)
    assert outcome.kinds == ["image"]
    assert outcome.references == [here.ref("team/app:1")]


# -- logins ------------------------------------------------------------------------


async def test_a_token_service_that_refuses_the_catalog_is_not_a_wrong_password() -> (
    None
):
    """aquasecurity/trivy#8386: 400 {"details":"unknown resource type"}."""
    tokens = service()
    async with lab(simple(["team/app:1"]), tokens=tokens) as here:
        refused = Answer(400, body=b'{"details":"unknown resource type"}')
        here.faults.on(
            "GET", TOKENS, refused, query={"scope": "registry:catalog:*"}, forever=True
        )
        outcome = await here.audit(here.ref("**:*"), here.ref("team/app:1"))
    assert outcome.kinds[-1] == "image"
    failure = outcome.records[0]
    assert isinstance(failure, FailureRecord)
    assert "unknown resource type" in failure.detail
    assert "password" not in failure.detail


async def test_a_catalog_that_is_refused_with_a_granted_token_says_so() -> None:
    """Azure/acr#675: 401 with the wanted action in the error's detail."""
    tokens = service()
    async with lab(simple(["team/app:1"]), tokens=tokens) as here:
        body = orjson.dumps(
            {
                "errors": [
                    {
                        "code": "UNAUTHORIZED",
                        "message": "authentication required",
                        "detail": [
                            {"Type": "registry", "Name": "catalog", "Action": "*"}
                        ],
                    }
                ]
            }
        )
        here.faults.on("GET", dialects.CATALOG, Answer(401, body=body), forever=True)
        outcome = await here.audit(here.ref("**:*"), here.ref("team/app:1"))
        assert here.faults.count("GET", dialects.CATALOG) <= 3
    assert outcome.kinds == ["denied", "image"]


async def test_a_registry_that_refuses_head_of_its_root_is_pinged_with_get() -> None:
    """go-gitea/gitea#37326: HEAD /v2/ is 405, GET is 401 with two challenges."""
    async with lab(simple(["team/app:1"]), tokens=service()) as here:
        here.faults.on("HEAD", "/v2/", Answer(405, {"Allow": "GET"}), forever=True)
        outcome = await here.audit(here.ref("team/app:1"))
    assert outcome.kinds == ["image"]


async def test_an_error_without_the_usual_form_is_quoted() -> None:
    """aquasecurity/trivy#401: quay answers {"error": "Invalid bearer token format"}."""
    async with lab(simple(["team/app:1"])) as here:
        body = b'{"error": "Invalid bearer token format"}'
        here.faults.on("*", MANIFESTS, Answer(401, body=body), forever=True)
        outcome = await here.audit(here.ref("team/app:1"))
    assert outcome.kinds == ["denied"]


async def test_a_cache_that_answers_500_for_a_denial_is_a_server_error() -> None:
    """distribution/distribution-library-image#146: DENIED inside of a 500."""
    async with lab(simple(["team/app:1"])) as here:
        body = orjson.dumps(
            {
                "errors": [
                    {
                        "code": "UNKNOWN",
                        "message": "unknown error",
                        "detail": {
                            "errors": [
                                {"code": "DENIED", "message": "access is denied"}
                            ]
                        },
                    }
                ]
            }
        )
        here.faults.on("*", MANIFESTS, Answer(500, body=body), forever=True)
        outcome = await here.audit(here.ref("team/app:1"))
    assert outcome.failure.failure is FailureKind.SERVER_ERROR
    assert outcome.failure.status == 500


# -- manifests ---------------------------------------------------------------------


async def test_an_index_with_a_lost_child_lists_the_others(tmp_path: Path) -> None:
    """containers/skopeo#2004: GHCR lost the child of the host's platform."""
    content = DemoContent()
    built = content.add("team/app", _index("app"), "1")
    lost = built.manifests[0]
    assert lost.digest != built.root.digest
    del content.repository("team/app").manifests[lost.digest]
    async with lab(content) as here:
        for cache in (tmp_path / "cache", tmp_path / "cache"):
            outcome = await here.audit(here.ref("team/app:1"), cache=str(cache))
            assert outcome.image.architectures == ("linux/arm64",)
            assert WarningCode.CHILD_MISSING in _codes(outcome)


async def test_a_digest_that_only_the_tag_leads_to_is_read_by_the_tag() -> None:
    """goharbor/harbor#20920: HEAD names the index, GET by its digest is 404."""
    content = DemoContent()
    built = content.add("team/app", _index("app"), "1")
    digest = built.root.digest
    async with lab(content) as here:
        here.faults.on(
            "GET", f"/v2/team/app/manifests/{digest}", Answer(404), forever=True
        )
        outcome = await here.audit(here.ref("team/app:1"))
    assert outcome.kinds == ["image"]
    assert outcome.image.digest == digest
    assert outcome.image.architectures == PLATFORMS


async def test_a_missing_tag_of_a_proxy_cache_is_a_failure_with_its_words() -> None:
    """goharbor/harbor#20764: a wrong error for a missing tag."""
    async with lab(simple(["team/app:1"])) as here:
        body = b'{"errors":[{"code":"NOT_FOUND","message":"artifact not found"}]}'
        here.faults.on("*", MANIFESTS, Answer(404, body=body), forever=True)
        outcome = await here.audit(here.ref("team/app:gone"))
    assert outcome.kinds == ["not_found"]
    assert "artifact not found" in outcome.failure.detail


@pytest.mark.parametrize(
    "content_type", ["text/html", Family.DOCKER.manifest, "application/json"]
)
async def test_an_index_is_one_under_any_content_type(content_type: str) -> None:
    """moby/moby#19526 (text/html), distribution/distribution#2076 (manifest.v2)."""
    content = DemoContent()
    built = [image("app", platform=one, family=Family.DOCKER) for one in PLATFORMS]
    content.add("team/app", index(built, family=Family.DOCKER), "1")
    async with lab(content) as here:
        here.faults.on(
            "*",
            "/v2/team/app/manifests/1",
            Edit(headers={"Content-Type": content_type}),
            forever=True,
        )
        outcome = await here.audit(here.ref("team/app:1"))
    assert outcome.image.architectures == PLATFORMS


async def test_a_digest_header_of_another_document_is_not_believed() -> None:
    """distribution/distribution#2310: the list's digest over a rewritten manifest."""
    content = DemoContent()
    built = content.add("team/app", _index("app"), "1")
    child = built.manifests[0]
    async with lab(content) as here:
        here.faults.on(
            "GET",
            MANIFESTS,
            Edit(body=child.raw, headers={"Content-Type": child.media_type}),
            forever=True,
        )
        outcome = await here.audit(here.ref("team/app:1"))
    record = outcome.records[0]
    if isinstance(record, ImageRecord):
        assert record.digest == child.digest
        assert record.warnings
    else:
        assert record.failure is FailureKind.DIGEST_MISMATCH


async def test_platforms_have_the_digests_that_can_be_pinned() -> None:
    """containers/skopeo#1554, #1075: the list's digest beside the platform's layers."""
    content = DemoContent()
    built = content.add("team/app", _index("app"), "1")
    async with lab(content) as here:
        record = (await here.audit(here.ref("team/app:1"))).image
    assert record.digest == built.root.digest
    children = {one.digest for one in built.manifests} - {built.root.digest}
    assert {platform.digest for platform in record.platforms} == children


async def test_types_are_negotiated_so_that_nothing_is_converted() -> None:
    """eclipse-che/che-plugin-registry#2082: quay converts to schema 1 otherwise."""
    content = DemoContent()
    content.add("team/app", _index("app"), "1")
    async with lab(content) as here:
        await here.audit(here.ref("team/app:1"))
        (seen, *_) = here.faults.requests("*", MANIFESTS)
    accepted = seen.headers["Accept"]
    for media_type in (Family.OCI.index, Family.OCI.manifest, Family.DOCKER.index):
        assert media_type in accepted


async def test_a_signature_is_found_whatever_its_descriptor_says() -> None:
    """inspektor-gadget#5441: the list calls the bundle `oci.empty`; there are two."""
    content = DemoContent()
    built = content.add("team/app", image("app"), "1")
    signing = {
        "content": "dsse-envelope",
        "predicate": "https://sigstore.dev/cosign/sign/v1",
    }
    for _ in range(2):
        content.add("team/app", bundle(built.root, **signing))

    def as_empty(body: bytes) -> bytes:
        document = orjson.loads(body)
        for entry in document["manifests"]:
            entry["artifactType"] = EMPTY
            entry.pop("annotations", None)
        return orjson.dumps(document)

    async with lab(content) as here:
        here.faults.on("GET", "/v2/*/referrers/*", Edit(body=as_empty), forever=True)
        record = (
            await here.audit(here.ref("team/app:1"), attachments=AttachmentMode.ALL)
        ).image
    assert record.signed is True


async def test_windows_versions_are_images_of_one_architecture() -> None:
    """tektoncd/pipeline#4566, #4568: versions of Windows are no duplicates."""
    content = DemoContent()
    children = [
        image(f"app {version}", platform="windows/amd64", os_version=version)
        for version in ("10.0.17763.1", "10.0.20348.1", "10.0.26100.1")
    ]
    content.add("team/app", index([*children, children[0]]), "1")
    async with lab(content) as here:
        record = (await here.audit(here.ref("team/app:1"))).image
    assert record.architectures == ("windows/amd64",)
    versions = sorted(one.os_version or "" for one in record.platforms)
    assert versions == ["10.0.17763.1", "10.0.20348.1", "10.0.26100.1"]
    layers = {
        layer.digest: layer.size
        for one in record.platforms
        for layer in one.layers or ()
    }
    assert record.size == sum(size or 0 for size in layers.values())


async def test_levels_of_amd64_are_platforms_of_their_own() -> None:
    """regclient/regclient#685: amd64 has variants, too."""
    content = DemoContent()
    names = ("linux/amd64", "linux/amd64/v3")
    content.add("team/app", index([image(one, platform=one) for one in names]), "1")
    async with lab(content) as here:
        record = (await here.audit(here.ref("team/app:1"))).image
        chosen = await here.audit(here.ref("team/app:1"), platforms=names[1:])
    assert record.architectures == names
    assert chosen.image.architectures == names[1:]


async def test_two_images_of_one_platform_are_both_in_the_record() -> None:
    """opencontainers/image-spec#862: clients take the first one, and may differ."""
    content = DemoContent()
    twins = [image(f"app {n}", platform="linux/amd64") for n in range(2)]
    built = content.add("team/app", index(twins), "1")
    async with lab(content) as here:
        record = (await here.audit(here.ref("team/app:1"))).image
    children = [one.digest for one in built.manifests if one is not built.root]
    assert [one.digest for one in record.platforms] == children
    assert record.architectures == ("linux/amd64",)


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        # apache/flink-kubernetes-operator#238: a number of YAML, unquoted.
        ("ghcr.io/apache/operator:2.417603e+06", "+"),
        # zero-to-jupyterhub-k8s#472.
        ("https://harbor.example.com/release/name:1.1.0", "https://"),
        ("None:None", "lower case"),
        # plutov/clickhouse-helm#6.
        ("gcr.io/google_samples/k8szk:v1:v1", ":"),
        # argocd-image-updater#317, kiali/helm-charts#178.
        ("some/image:sha256:" + "a" * 64, "a digest is written after @"),
        ("quay.io/kiali/kiali@sha256:" + "a" * 64 + ":v1.59.0", "@"),
    ],
)
async def test_a_name_that_no_client_takes_is_explained(
    reference: str, hint: str
) -> None:
    async with lab() as here:
        failure = (await here.audit(reference)).failure
    assert failure.failure is FailureKind.INVALID_REFERENCE
    assert hint in failure.detail
