"""Each product's answers, in the shapes that were captured of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from multidict import CIMultiDict

from auditor.errors import Failure
from auditor.registry.listing.paging import ListedTag
from auditor.registry.products import Product
from auditor.registry.products.dtr import Dtr
from auditor.registry.products.gitea import Gitea
from auditor.registry.products.gitlab import GitLab
from auditor.registry.products.google import children, has_tags, listed_tags
from auditor.registry.products.harbor import Harbor
from auditor.registry.products.hub import Hub
from auditor.registry.products.quay import Quay
from auditor.registry.products.recognise import recognised
from auditor.wire.response import Response

D1, D2 = (f"sha256:{digit * 64}" for digit in "12")
URL = "https://registry.example.com/list?page=1&size=2"
TIME = datetime(2026, 8, 5, 10, tzinfo=UTC)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PRODUCTS: list[Product] = [Dtr(), Gitea(), GitLab(), Harbor(), Hub(), Quay()]


def answer(body: object, url: str = URL, **headers: str) -> Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        status=200,
        headers=CIMultiDict(fields),
        body=json.dumps(body).encode(),
        url=url,
    )


@pytest.mark.parametrize(
    ("product", "below", "path"),
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
def test_where_a_list_of_repositories_begins(
    product: Product, below: str | None, path: str | None
) -> None:
    assert product.repositories_path(below, 50) == path


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
    ],
)
def test_where_a_list_of_tags_begins(
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
                "tags": [
                    {"name": "1", "push_time": "2026-08-05T10:00:00Z"},
                    {"name": "1.0", "push_time": "0001-01-01T00:00:00.000Z"},
                    {"name": None},
                ],
            },
            {"digest": D2, "tags": None},
            {"digest": None, "tags": [{"name": "lost"}], "size": True},
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
            ),
            ListedTag("1.0", digest=D1, media_type=MANIFEST, size=12, created=TIME),
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
                    "images": [{"digest": D2, "size": 5}],
                },
                {"name": "old", "digest": None, "images": [{"size": 1}, {"size": 2}]},
                {"name": "older", "images": None},
            ],
        },
        {},
        [
            ListedTag("1", digest=D1, media_type=MANIFEST, size=5, pushed=TIME),
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
def test_tags_with_what_is_known_of_them(
    product: Product,
    body: object,
    headers: dict[str, str],
    expected: list[ListedTag],
    unreadable: int,
) -> None:
    found = product.read_tags(answer(body, **headers))
    assert list(found.entries) == expected
    assert found.unreadable == unreadable
    assert found.following is None


@pytest.mark.parametrize(
    ("product", "body", "expected", "unreadable"),
    [
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
    ],
)
def test_repositories_and_what_is_none(
    product: Product, body: object, expected: list[str], unreadable: int
) -> None:
    found = product.read_repositories(answer(body))
    assert (list(found.entries), found.unreadable) == (expected, unreadable)


@pytest.mark.parametrize(
    ("product", "body", "headers", "following"),
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
def test_where_a_list_goes_on(
    product: Product, body: object, headers: dict[str, str], following: str | None
) -> None:
    assert product.read_tags(answer(body, **headers)).following == following


def test_gitlab_and_quay_link_their_repositories_each_in_its_way() -> None:
    gitlab = GitLab().read_repositories(answer([], x_next_page="2", x_total="3"))
    assert gitlab.following == URL.replace("page=1", "page=2")
    assert gitlab.total == 3
    quay = Quay().read_repositories(answer({"repositories": [], "next_page": "g=="}))
    assert quay.following == f"{URL}&next_page=g%3D%3D"


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_next_page_elsewhere_is_a_failure_beside_what_was_read(
    product: Product,
) -> None:
    link = '<https://evil.example.com/>; rel="next"'
    body: Any = [{"name": "a/b", "path": "a/b", "owner": {"login": "a"}}]
    if isinstance(product, Hub):
        body = {"results": [], "next": "https://evil.example.com/"}
    if isinstance(product, Dtr | Quay):
        return  # neither ever names a URL
    found = product.read_repositories(answer(body, Link=link))
    assert isinstance(found.following, Failure)
    assert "has its next page elsewhere" in found.following.detail


@pytest.mark.parametrize("count", ["", "-1", "1.0", "x", "٣", "9" * 5000])
def test_a_count_that_is_no_number_counts_nothing(count: str) -> None:
    found = Harbor().read_repositories(answer([], X_Total_Count=count))
    assert found.total is None


def test_googles_map_of_manifests_tells_of_each_tag() -> None:
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
    assert listed_tags(["1", "both", "2", "3", "4"], document) == [
        ListedTag("1", digest=D1, media_type=MANIFEST, size=12, pushed=TIME),
        ListedTag("both"),
        ListedTag("2", digest=D2),
        ListedTag("3"),
        ListedTag("4"),
    ]
    assert children(document, "p/q") == (["p/q/a"], 3)
    assert not has_tags(document)
    assert has_tags({"tags": ["1"]})


@pytest.mark.parametrize(
    ("realm", "service", "name", "api"),
    [
        ("https://h.example.com/service/token", "harbor-registry", "Harbor", "h"),
        ("https://gl.example.com/jwt/auth", "container_registry", "GitLab", "gl"),
        ("https://gl.example.com/jwt/auth?x", "container_registry", "GitLab", "gl"),
        ("https://h.example.com/auth/v2/token/", "h.example.com", "DTR", "h"),
        ("https://h.example.com/auth/token", None, "DTR", "h"),
        ("https://other.example.com/auth/token", None, None, ""),
        ("https://gitea.example.com/v2/token", "container_registry", None, ""),
        ("https://h.example.com/token", "h.example.com", None, ""),
        ("https://h.example.com/token", None, None, ""),
        (None, "harbor-registry", None, ""),
    ],
)
def test_products_that_show_in_their_challenge(
    realm: str | None, service: str | None, name: str | None, api: str
) -> None:
    found = recognised(realm, service, base_url="https://h.example.com")
    if name is None:
        assert found is None
        return
    assert found is not None
    assert (found[0].name, found[1]) == (name, f"https://{api}.example.com")
