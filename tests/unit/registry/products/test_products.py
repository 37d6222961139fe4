"""Paths and responses of each product's API, in the shapes that were captured."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from auditor.errors import Failure
from auditor.registry.listing.interface import ListedTag
from auditor.registry.products.acr import AzureRegistry
from auditor.registry.products.artifactory import Artifactory, split_artifactory_url
from auditor.registry.products.dtr import Dtr
from auditor.registry.products.ghcr import GitHub
from auditor.registry.products.gitea import Gitea
from auditor.registry.products.gitlab import GitLab
from auditor.registry.products.google import children, parse_tags
from auditor.registry.products.harbor import Harbor
from auditor.registry.products.hub import Hub
from auditor.registry.products.nexus import Nexus, split_repository_url
from auditor.registry.products.product import Product
from auditor.registry.products.quay import Quay
from auditor.wire.response import Response

D1, D2 = (f"sha256:{digit * 64}" for digit in "12")
URL = "https://registry.example.com/list?page=1&size=2"
TIME = datetime(2026, 8, 5, 10, tzinfo=UTC)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PRODUCTS: list[Product] = [
    Artifactory(None),
    AzureRegistry(),
    Dtr(),
    Gitea(),
    GitHub(),
    GitLab(),
    Harbor(),
    Hub(),
    Nexus("docker"),
    Quay(),
]


def response(body: object, url: str = URL, **headers: str) -> Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        status=200,
        headers=CIMultiDict(fields),
        body=json.dumps(body).encode(),
        url=url,
    )


@pytest.mark.parametrize(
    ("product", "prefix", "path"),
    [
        (Dtr(), None, "/api/v0/repositories?pageSize=50&count=true"),
        (Dtr(), "team/x", "/api/v0/repositories/team?pageSize=50&count=true"),
        (Harbor(), None, "/api/v2.0/repositories?page=1&page_size=50"),
        (Harbor(), "team", "/api/v2.0/projects/team/repositories?page=1&page_size=50"),
        (Hub(), None, None),
        (Hub(), "team", "/v2/namespaces/team/repositories?page_size=50"),
        (Quay(), None, None),
        (Quay(), "team/x", "/api/v1/repository?namespace=team"),
        (GitLab(), None, None),
        (
            GitLab(),
            "a/b",
            "/api/v4/groups/a%2Fb/registry/repositories?page=1&per_page=50",
        ),
        (Gitea(), None, None),
        (Gitea(), "me", "/api/v1/packages/me?type=container&page=1&limit=50"),
    ],
)
def test_the_path_of_the_repositories(
    product: Product, prefix: str | None, path: str | None
) -> None:
    assert product.repositories_path(prefix, 50) == path


@pytest.mark.parametrize(
    ("product", "repository", "path"),
    [
        (Dtr(), "a/b", "/api/v0/repositories/a/b/tags?pageSize=9&count=true"),
        (Dtr(), "a/b/c", None),
        (Dtr(), "a", None),
        (
            Harbor(),
            "a/b/c",
            "/api/v2.0/projects/a/repositories/b%252Fc/artifacts"
            "?page=1&page_size=9&with_tag=true",
        ),
        (Harbor(), "a", None),
        (
            Hub(),
            "library/alpine",
            "/v2/namespaces/library/repositories/alpine/tags?page_size=9",
        ),
        (Hub(), "a/b/c", None),
        (
            Quay(),
            "a/b/c",
            "/api/v1/repository/a/b/c/tag/?limit=9&page=1&onlyActiveTags=true",
        ),
        (GitLab(), "a/b", None),
        (Gitea(), "a/b", None),
        (Artifactory(None), "a/b", None),
        (AzureRegistry(), "a/b/c", "/acr/v1/a/b/c/_tags?n=9"),
        (
            GitHub(),
            "a/b/c",
            "/orgs/a/packages/container/b%2Fc/versions?per_page=9&page=1",
        ),
        (GitHub(), "a", None),
        (
            Nexus("docker"),
            "a/b",
            "/service/rest/v1/search?format=docker&repository=docker&name=a%2Fb",
        ),
    ],
)
def test_the_path_of_a_repository_s_tags(
    product: Product, repository: str, path: str | None
) -> None:
    assert product.tags_path(repository, 9) == path


TAGS: list[tuple[Product, object, dict[str, str], list[ListedTag], int]] = [
    (
        Dtr(),
        [
            {
                "name": "1.0",
                "digest": D1,
                "updatedAt": "2026-08-05T10:00:00Z",
                "manifest": {
                    "mediaType": MANIFEST,
                    "createdAt": "2026-08-05T10:00:00.000Z",
                },
            },
            None,
            {"name": "odd", "digest": "string", "manifest": None, "updatedAt": 7},
            {"digest": D2},
            7,
        ],
        {},
        [
            ListedTag(
                "1.0", digest=D1, media_type=MANIFEST, created=TIME, pushed=TIME
            ),
            ListedTag("odd"),
        ],
        2,
    ),
    (
        Harbor(),
        [
            {
                "digest": D1,
                "media_type": "application/vnd.oci.image.config.v1+json",
                "manifest_media_type": MANIFEST,
                "size": 12,
                "extra_attrs": {"created": "2026-08-05T10:00:00Z"},
                # by digest: the tags were not pulled
                "pull_time": "2026-08-04T10:00:00.000Z",
                "tags": [
                    {
                        "name": "1",
                        "push_time": "2026-08-05T10:00:00Z",
                        "pull_time": "2026-08-05T10:00:00Z",
                    },
                    {
                        "name": "1.0",
                        "push_time": "0001-01-01T00:00:00.000Z",
                        "pull_time": "0001-01-01T00:00:00.000Z",
                    },
                    {"name": None},
                ],
            },
            {"digest": D2, "tags": None},
            {
                "digest": None,
                # later than any time of Python in UTC
                "tags": [{"name": "lost", "push_time": "9999-12-31T23:59:59-12:00"}],
                "size": True,
            },
        ],
        {},
        [
            ListedTag(
                "1",
                digest=D1,
                media_type=MANIFEST,
                size=12,
                created=TIME,
                pushed=TIME,
                pulled=TIME,
            ),
            ListedTag(
                "1.0",
                digest=D1,
                media_type=MANIFEST,
                size=12,
                created=TIME,
                pulled=TIME - timedelta(days=1),
            ),
            ListedTag("lost"),
        ],
        1,
    ),
    (
        Hub(),
        {
            "count": 3,
            "next": None,
            "results": [
                {
                    "name": "1",
                    "digest": D1,
                    "media_type": MANIFEST,
                    "tag_last_pushed": "2026-08-05T10:00:00Z",
                    "tag_last_pulled": "2026-08-06T10:00:00Z",
                    "images": [{"digest": D2, "size": 5}],
                },
                {"name": "old", "digest": None, "images": [{"size": 1}, {"size": 2}]},
                {"name": "older", "images": None},
            ],
        },
        {},
        [
            ListedTag(
                "1",
                digest=D1,
                media_type=MANIFEST,
                size=5,
                pushed=TIME,
                pulled=TIME + timedelta(days=1),
            ),
            ListedTag("old"),
            ListedTag("older"),
        ],
        0,
    ),
    (
        Quay(),
        {
            "page": 1,
            "has_additional": False,
            "tags": [
                {
                    "name": "1",
                    "manifest_digest": D1,
                    "is_manifest_list": False,
                    "size": 5,
                    "start_ts": int(TIME.timestamp()),
                },
                {"name": "2", "manifest_digest": D2, "is_manifest_list": 1, "size": 9},
                {"name": "3", "manifest_digest": "x", "start_ts": 10**18},
                {"name": ""},
            ],
        },
        {},
        [
            ListedTag("1", digest=D1, size=5, pushed=TIME),
            ListedTag("2", digest=D2),
            ListedTag("3"),
        ],
        1,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("product", "body", "headers", "expected", "unreadable"), TAGS)
def test_tags_are_parsed_with_digests_sizes_and_times(
    product: Product,
    body: object,
    headers: dict[str, str],
    expected: list[ListedTag],
    unreadable: int,
) -> None:
    page = product.parse_tags(response(body, **headers))
    assert list(page.entries) == expected
    assert page.unreadable == unreadable
    assert page.next_url is None


REPOSITORIES: list[tuple[Product, object, list[str], int]] = [
    (
        Dtr(),
        {"repositories": [{"namespace": "a", "name": "b"}, {"name": "c"}, None]},
        ["a/b"],
        1,
    ),
    (Harbor(), [{"name": "a/b/c"}, {"name": 1}, None, "x"], ["a/b/c"], 2),
    (
        Hub(),
        {"count": 1, "results": [{"namespace": "a", "name": "b"}, {}]},
        ["a/b"],
        1,
    ),
    (
        Quay(),
        {
            "repositories": [
                {"namespace": "a", "name": "b", "kind": "image"},
                {"namespace": "a", "name": "c", "kind": "application"},
                {"namespace": "a"},
            ]
        },
        ["a/b"],
        1,
    ),
    (GitLab(), [{"id": 1, "path": "g/p/i"}, {"path": ""}], ["g/p/i"], 1),
    (
        Gitea(),
        [
            {"owner": {"login": "Me"}, "name": "a", "version": "1"},
            {"owner": {"login": "Me"}, "name": "a", "version": D1},
            {"owner": None, "name": "a"},
        ],
        ["me/a"],
        1,
    ),
]


@pytest.mark.parametrize(("product", "body", "expected", "unreadable"), REPOSITORIES)
def test_repositories_are_parsed_and_other_entries_counted(
    product: Product, body: object, expected: list[str], unreadable: int
) -> None:
    page = product.parse_repositories(response(body))
    assert (list(page.entries), page.unreadable) == (expected, unreadable)


@pytest.mark.parametrize(
    ("product", "body", "headers", "next_url"),
    [
        (Dtr(), [], {"X_Next_Page_Start": "a b"}, f"{URL}&pageStart=a+b"),
        (Dtr(), [], {"X_Next_Page_Start": ""}, None),
        (
            Harbor(),
            [],
            {"Link": '</list?page=2&size=2>; rel="next"'},
            "https://registry.example.com/list?page=2&size=2",
        ),
        (Hub(), {"results": [], "next": f"{URL}&x"}, {}, f"{URL}&x"),
        (Hub(), {"results": [], "next": 7}, {}, None),
        (
            Quay(),
            {"tags": [], "page": 1, "has_additional": True},
            {},
            URL.replace("page=1", "page=2"),
        ),
        (Quay(), {"tags": [], "has_additional": "yes"}, {}, None),
    ],
)
def test_the_next_page_of_tags(
    product: Product, body: object, headers: dict[str, str], next_url: str | None
) -> None:
    assert product.parse_tags(response(body, **headers)).next_url == next_url


def test_the_next_page_of_repositories_of_gitlab_and_quay() -> None:
    gitlab = GitLab().parse_repositories(response([], x_next_page="2", x_total="3"))
    assert gitlab.next_url == URL.replace("page=1", "page=2")
    assert gitlab.total == 3
    quay = Quay().parse_repositories(response({"repositories": [], "next_page": "g=="}))
    assert quay.next_url == f"{URL}&next_page=g%3D%3D"


@pytest.mark.parametrize(
    "product",
    # the links of the others are no URLs
    [one for one in PRODUCTS if not isinstance(one, Dtr | Nexus | Quay)],
)
def test_a_next_page_on_another_host_is_a_failure(
    product: Product,
) -> None:
    link = '<https://evil.example.com/>; rel="next"'
    body: Any = [{"name": "a/b", "path": "a/b", "owner": {"login": "a"}}]
    if isinstance(product, Hub):
        body = {"results": [], "next": "https://evil.example.com/"}
    if isinstance(product, Artifactory | AzureRegistry):
        body = {"repositories": []}
    page = product.parse_repositories(response(body, Link=link))
    assert isinstance(page.next_url, Failure)
    assert "has its next page at another host" in page.next_url.detail


@pytest.mark.parametrize("count", ["", "-1", "1.0", "x", "٣", "9" * 5000])
def test_a_count_that_is_no_number_is_ignored(count: str) -> None:
    page = Harbor().parse_repositories(response([], X_Total_Count=count))
    assert page.total is None


def test_google_s_manifest_map_gives_each_tag_its_digest() -> None:
    document: dict[str, Any] = {
        "child": ["a", None, 7, "../b", ""],
        "manifest": {
            D1: {
                "imageSizeBytes": "12",
                "mediaType": MANIFEST,
                "tag": ["1", "both", None],
                "timeCreatedMs": "0",
                "timeUploadedMs": str(int(TIME.timestamp()) * 1000),
            },
            D2: {"imageSizeBytes": "many", "tag": ["both", "2"]},
            "sha256:short": {"tag": ["3"]},
            "x": None,
        },
    }
    assert parse_tags(["1", "both", "2", "3", "4"], document) == [
        ListedTag("1", digest=D1, media_type=MANIFEST, size=12, pushed=TIME),
        ListedTag("both"),
        ListedTag("2", digest=D2),
        ListedTag("3"),
        ListedTag("4"),
    ]
    assert children(document, "p/q") == (["p/q/a"], 3)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "https://nexus.example.com/repository/docker-hosted",
            ("https://nexus.example.com", "docker-hosted"),
        ),
        (
            "https://example.com/nexus/repository/docker/",
            ("https://example.com/nexus", "docker"),
        ),
        ("https://nexus.example.com", None),
        ("https://nexus.example.com/repository/", None),
        ("https://nexus.example.com/repository/a/b", None),
    ],
)
def test_the_url_of_a_repository_of_nexus_names_server_and_repository(
    url: str, expected: tuple[str, str] | None
) -> None:
    assert split_repository_url(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example.com", ("https://a.example.com/artifactory", None)),
        (
            "https://a.example.com/artifactory/",
            ("https://a.example.com/artifactory", None),
        ),
        (
            "https://a.example.com/artifactory/docker-local",
            ("https://a.example.com/artifactory", "docker-local"),
        ),
    ],
)
def test_the_url_of_artifactory_may_name_its_repository(
    url: str, expected: tuple[str, str | None]
) -> None:
    assert split_artifactory_url(url) == expected


def test_components_of_other_images_and_without_tag_are_no_tags_in_nexus() -> None:
    items = [
        {"name": "a/b", "version": "1"},
        {"name": "a/bc", "version": "2"},
        {"name": "a/b", "version": D1},
        7,
    ]
    url = "https://registry.example.com/search?name=a%2Fb"
    page = Nexus("docker").parse_tags(
        Response(
            url=url,
            status=200,
            headers=CIMultiDict(),
            body=json.dumps({"items": items, "continuationToken": "x"}).encode(),
        )
    )
    assert [tag.name for tag in page.entries] == ["1"]
    assert page.unreadable == 1
    assert page.next_url == f"{url}&continuationToken=x"


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        (
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1786000000"},
            "GitHub's rate limit for this account is used up until"
            " 2026-08-06T07:06:40Z (403)",
        ),
        (
            {"retry-after": "60"},
            "GitHub's rate limit for this account is used up (403)",
        ),
        ({"x-ratelimit-remaining": "17"}, None),
        ({}, None),
    ],
)
def test_a_403_of_github_may_be_its_rate_limit(
    headers: dict[str, str], detail: str | None
) -> None:
    answer = Response(url=URL, status=403, headers=CIMultiDict(headers), body=b"{}")
    failure = GitHub().refusal(answer)
    assert (None if failure is None else failure.detail) == detail
