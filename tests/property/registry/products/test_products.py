"""Properties of the parsers of product APIs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import Failure, ProtocolError
from auditor.oci.descriptor import is_digest
from auditor.oci.reference import is_repository
from auditor.registry.listing.interface import ListedTag, ParsedPage
from auditor.registry.products.google import children, parse_tags
from auditor.registry.products.product import Product
from tests.examples import examples
from tests.property.random_json import damaged
from tests.unit.registry.products.test_products import (
    D1,
    PRODUCTS,
    REPOSITORIES,
    TAGS,
    response,
)

KEYS = [
    "name", "namespace", "digest", "tags", "results", "repositories", "next", "count",
    "images", "manifest", "mediaType", "tag", "size", "owner", "login", "path",
    "version", "has_additional", "page", "next_page", "start_ts", "manifest_digest",
    "extra_attrs", "created", "push_time", "createdAt", "updatedAt", "kind",
    "timeCreatedMs", "items", "assets", "checksum", "sha256", "metadata", "container",
    "continuationToken", "lastUpdateTime", D1,
]  # fmt: skip
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from([D1, "2026-08-05T10:00:00Z", "../../x", "\x1b[2J", "9" * 30]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=15,
)  # fmt: skip
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Link": st.sampled_from(
            ['<?page=2>; rel="next"', "<", "<//evil/>;rel=next", "<http://[>;rel=next"]
        ),
        "X_Next_Page_Start": st.text("ab &=/%#?", max_size=8),
        "x_next_page": st.sampled_from(["", "2", "x"]),
        "X_Total_Count": st.sampled_from(["", "2", "-2", "1e9", "9" * 40]),
    },
)  # fmt: skip


# A response of each product, with some values replaced by random ones.
REAL = [(product, body) for product, body, *_ in (*REPOSITORIES, *TAGS)]
DAMAGED = st.sampled_from(REAL).flatmap(
    lambda pair: st.tuples(st.just(pair[0]), damaged(pair[1]))
)


def check(page: ParsedPage[Any]) -> None:
    assert page.unreadable >= 0
    if isinstance(page.next_url, str):
        assert page.next_url.startswith("https://registry.example.com/")
    else:
        assert page.next_url is None or isinstance(page.next_url, Failure)
    for entry in page.entries:
        if not isinstance(entry, ListedTag):
            assert isinstance(entry, str)
            continue
        check_tag(entry)


def check_tag(tag: ListedTag) -> None:
    assert tag.name
    assert tag.digest is None or is_digest(tag.digest)
    assert tag.size is None or 0 <= tag.size < 2**63
    for time in (tag.created, tag.pushed):
        assert time is None or (isinstance(time, datetime) and time.tzinfo is not None)


@examples(300)
@given(DAMAGED | st.tuples(st.sampled_from(PRODUCTS), JSON), HEADERS)
def test_any_response_of_an_api_is_a_page_or_a_protocol_error(
    answer: tuple[Product, Any], headers: dict[str, str]
) -> None:
    product, body = answer
    for parse in (product.parse_repositories, product.parse_tags):
        try:
            page: ParsedPage[Any] = parse(response(body, **headers))
        except ProtocolError:
            continue
        check(page)


@examples(200)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "manifest": JSON,
            "child": st.lists(st.sampled_from(["b", "c/d", "B", "", None, 7])) | JSON,
            "tags": JSON,
        },
    ),
    st.lists(st.text(min_size=1, max_size=3), max_size=4),
)
def test_whatever_google_s_listing_contains_no_tag_is_lost_or_invented(
    document: dict[str, Any], names: list[str]
) -> None:
    tags = parse_tags(names, document)
    assert [tag.name for tag in tags] == names
    for tag in tags:
        check_tag(tag)
    paths, unreadable = children(document, "a")
    assert all(is_repository(name) and name.startswith("a/") for name in paths)
    assert unreadable >= 0
