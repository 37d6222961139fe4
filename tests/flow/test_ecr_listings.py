"""Listings of ECR by boto3 against moto, and pages against a client of the test."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from auditor.config import ListerName, RegistrySettings
from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.oci.descriptor import OCI_INDEX, OCI_MANIFEST
from auditor.registry.auth.clouds.aws_identity import AwsIdentity
from auditor.registry.listing.interface import ListedTag, Page
from auditor.registry.products.ecr import EcrLister
from auditor.report.listing_stats import ListState
from auditor.wire.cloud_hosts import cloud_host
from tests.certificates import Authority
from tests.clock import FakeClock
from tests.flow.cloud_services import aws_services, no_identity
from tests.flow.harness import Lab
from tests.flow.test_cloud_logins import AWS, ECR, at_cloud
from tests.support.registry import Basic

pytestmark = pytest.mark.anyio

HOST = cloud_host(ECR)
D1, D2 = (f"sha256:{digit * 64}" for digit in "12")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    with no_identity(str(tmp_path)) as patch:
        yield patch


@asynccontextmanager
async def listed(patch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Lab]:
    """A registry of ECR, whose API knows the same images as the registry."""
    with aws_services(patch):
        async with at_cloud(Authority(tmp_path), ECR, access=Basic([AWS])) as here:
            here.login = replace(here.login, lister=ListerName.ECR)
            assert HOST is not None
            client = AwsIdentity().client(HOST)
            assert client is not None
            for name, repository in here.content.repositories.items():
                client.create_repository(repositoryName=name)
                for tag, digest in repository.tags.items():
                    client.put_image(
                        repositoryName=name,
                        imageTag=tag,
                        imageDigest=digest,
                        imageManifestMediaType=OCI_MANIFEST,
                        imageManifest=f'{{"schemaVersion":2,"tag":"{tag}"}}',
                    )
            yield here


async def test_a_warm_night_with_ecr_s_api_sends_no_head(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with listed(machine, tmp_path) as here:
        nights = [
            await here.audit(here.ref("team/**:*"), cache=str(tmp_path / "store"))
            for _ in range(2)
        ]
        assert here.faults.count("GET", "/v2/_catalog") == 0
        assert here.faults.count("GET", "/v2/*/tags/list") == 0
    cold, warm = nights
    assert cold.kinds == warm.kinds == ["image", "image"]
    assert cold.summary.requests["manifest"] == 2
    assert warm.summary.requests.get("manifest", 0) == 0
    assert warm.summary.requests.get("head", 0) == 0
    # DescribeRepositories and DescribeImages, which boto3 sends.
    assert cold.summary.requests["list"] == 2
    assert [one.state for one in warm.summary.listings.shown] == [ListState.COMPLETE]


async def test_a_repository_that_ecr_does_not_know_is_not_found(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with listed(machine, tmp_path) as here:
        failure = (await here.audit(here.ref("team/other:*"))).failure
    assert failure.failure is FailureKind.NOT_FOUND
    assert "AWS refused ecr:DescribeImages in eu-central-1" in failure.detail


async def test_requests_to_ecr_s_api_count_for_max_requests(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with listed(machine, tmp_path) as here:
        outcome = await here.audit(here.ref("team/**:*"), max_requests=1)
    assert outcome.failure.failure is FailureKind.INTERRUPTED
    assert "has used its 1 request (max_requests)" in outcome.failure.detail


async def test_without_an_identity_the_listing_is_denied(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with at_cloud(Authority(tmp_path), ECR, access=Basic([AWS])) as here:
        failure = (await here.audit(here.ref("**:*"), lister=ListerName.ECR)).failure
    assert failure.failure is FailureKind.DENIED
    assert failure.detail.startswith("the API of ECR needs an AWS identity")


# -- pages --------------------------------------------------------------------------


class _Identity:
    """An identity whose client answers with these pages, by token."""

    def __init__(
        self,
        pages: dict[str | None, dict[str, Any]],
        errors: Iterable[ProtocolError] = (),
    ) -> None:
        self.pages = pages
        self.errors = deque(errors)  # of the next requests
        self.asked: list[dict[str, Any]] = []

    def client(self, host: object) -> _Identity:
        return self

    def describe_images(self, **parameters: Any) -> dict[str, Any]:
        self.asked.append(dict(parameters))
        if self.errors:
            raise self.errors.popleft()
        return self.pages[parameters.get("nextToken")]

    describe_repositories = describe_images

    def call(self, host: object, method: Any, **parameters: Any) -> Any:
        return method(**parameters)


class _Sender:
    """Counts requests, and the repeated ones."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    async def admit_other(self, kind: str, *, is_retry: bool = False) -> None:
        self.counts[kind] += 1
        self.counts["retries"] += is_retry


def lister(
    identity: _Identity, sender: _Sender | None = None, *, untagged: bool = False
) -> EcrLister:
    assert HOST is not None
    made: Any = identity
    counted: Any = sender or _Sender()
    return EcrLister(
        HOST,
        identity=lambda: made,
        settings=RegistrySettings(page_size=5000),
        sender=counted,
        clock=FakeClock(),
        untagged=untagged,
    )


async def test_images_without_a_tag_are_asked_for_and_have_their_digest_as_name() -> (
    None
):
    images = [{"imageDigest": D1}, {"imageDigest": D2, "imageTags": ["1"]}]
    identity = _Identity({None: {"imageDetails": images}})
    (page,) = [one async for one in lister(identity, untagged=True).tags("team/app")]
    assert isinstance(page, Page)
    assert page.has_untagged
    assert page.entries == (ListedTag(D1, digest=D1), ListedTag("1", digest=D2))
    assert identity.asked[0]["filter"] == {"tagStatus": "ANY"}


async def test_pages_are_read_until_there_is_no_token() -> None:
    pushed = datetime(2026, 8, 5, 10, tzinfo=UTC)
    identity = _Identity(
        {
            None: {
                "imageDetails": [
                    {
                        "imageDigest": D1,
                        "imageTags": ["1", "latest"],
                        "imageSizeInBytes": 7,
                        "imageManifestMediaType": OCI_MANIFEST,
                        "imagePushedAt": pushed,
                        "lastRecordedPullTime": pushed,
                    }
                ],
                "nextToken": "a",
            },
            "a": {
                "imageDetails": [
                    {
                        "imageDigest": D2,
                        "imageTags": ["2"],
                        "imageSizeInBytes": 9,
                        "imageManifestMediaType": OCI_INDEX,
                    }
                ]
            },
        }
    )
    pages = [page async for page in lister(identity).tags("team/app")]
    assert [page.last for page in pages if isinstance(page, Page)] == [False, True]
    assert [
        tag for page in pages if isinstance(page, Page) for tag in page.entries
    ] == [
        ListedTag(
            name,
            digest=D1,
            media_type=OCI_MANIFEST,
            size=7,
            pushed=pushed,
            pulled=pushed,
        )
        for name in ("1", "latest")
    ] + [ListedTag("2", digest=D2, media_type=OCI_INDEX)]
    assert identity.asked[0]["maxResults"] == 1000
    assert identity.asked[0]["registryId"] == "123456789012"
    assert identity.asked[0]["filter"] == {"tagStatus": "TAGGED"}


async def test_a_token_that_comes_again_ends_the_listing_with_a_failure() -> None:
    page = {"repositories": [{"repositoryName": "team/app"}], "nextToken": "a"}
    *pages, failure = [
        page
        async for page in lister(_Identity({None: page, "a": page})).repositories(None)
    ]
    assert len(pages) == 2
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.INCOMPLETE_LISTING


THROTTLED = ProtocolError("AWS refused it", FailureKind.RATE_LIMITED)


async def test_a_throttled_request_is_repeated() -> None:
    identity = _Identity(
        {None: {"repositories": [{"repositoryName": "team/app"}]}}, [THROTTLED] * 5
    )
    sender = _Sender()
    pages = [page async for page in lister(identity, sender).repositories(None)]
    assert [page.entries for page in pages if isinstance(page, Page)] == [("team/app",)]
    assert sender.counts == {"list": 6, "retries": 5}


@pytest.mark.parametrize("kind", [FailureKind.DENIED, FailureKind.RATE_LIMITED])
async def test_a_listing_that_fails_in_the_middle_is_incomplete(
    kind: FailureKind,
) -> None:
    page = {"repositories": [{"repositoryName": "team/app"}], "nextToken": "a"}
    identity = _Identity({None: page})
    pages = lister(identity).repositories(None)
    assert isinstance(await anext(pages), Page)
    identity.errors.extend([ProtocolError("AWS refused it", kind)] * 20)
    failure = await anext(pages)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.INCOMPLETE_LISTING
    assert failure.detail == (
        "repositories: failed after 1 pages: the API of ECR: AWS refused it"
    )
    assert len(identity.asked) == (2 if kind is FailureKind.DENIED else 9)


async def test_ten_thousand_images_are_listed_page_by_page() -> None:
    def page(number: int) -> dict[str, Any]:
        found: dict[str, Any] = {
            "imageDetails": [
                {"imageDigest": D1, "imageTags": [f"{number}-{index}"]}
                for index in range(1000)
            ]
        }
        return found if number == 9 else {**found, "nextToken": str(number + 1)}

    pages = {str(number) if number else None: page(number) for number in range(10)}
    sender = _Sender()
    found = [
        tag
        async for listed in lister(_Identity(pages), sender).tags("team/app")
        if isinstance(listed, Page)
        for tag in listed.entries
    ]
    assert len({tag.name for tag in found}) == 10_000
    assert sender.counts["list"] == 10
