"""Tag patterns, expanded with the tag listings of real registries."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.report.listing_stats import ListKind
from tests.real.audits import audit, login
from tests.real.filled_registry import FilledRegistry
from tests.real.token_server import PUSHER

pytestmark = pytest.mark.real
TAGS = ["1.0", "1.1", "1.2-rc", "2.0", "latest", "sha-1"]
REPOSITORY = "team/tagged"


@pytest.fixture(scope="session")
def tagged(filled: FilledRegistry) -> FilledRegistry:
    """One image under several tags, two of them in another order of pushing."""
    source = f"docker://{filled.host}/team/oci:1.0"
    for tag in reversed(TAGS):
        filled.skopeo.copy(
            *(source, f"{REPOSITORY}:{tag}", "--src-tls-verify=false"),
            f"--src-authfile={filled.skopeo.authfile}",
        )
    return filled


def pages_of(filled: FilledRegistry, tags: int, size: int) -> int:
    return -(-tags // size) if filled.flavour.pages_tags else 1


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 1000])
def test_a_pattern_expands_to_every_tag_on_any_number_of_pages(
    tagged: FilledRegistry, size: int
) -> None:
    since = tagged.registry.log.mark()
    audited = audit(
        tagged.host, f"{REPOSITORY}:*", registry=login(PUSHER, page_size=size)
    )
    assert sorted(line["tag"] for line in audited.lines) == TAGS
    assert {line["kind"] for line in audited.lines} == {"image"}
    assert len({line["digest"] for line in audited.lines}) == 1
    (listing,) = audited.summary.listings.shown
    pages = pages_of(tagged, len(TAGS), size)
    # A last page that is just full may name a next one, which is empty.
    assert listing.pages in {pages, pages + 1}
    assert (listing.tags, listing.matched, listing.complete) == (6, 6, True)
    logged = tagged.registry.log.auditors(since, at_least=audited.requests)
    lists = [one for one in logged if one.path.endswith("/tags/list")]
    # 2.8 lists tags as its file system does. Where these come in another order than
    # their names, the question whether a list was cut is no page of it.
    assert len(lists) - listing.pages in {0, int(listing.suspicious)}
    assert lists[0].query == f"n={size}"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("1.*", ["1.0", "1.1", "1.2-rc"]),
        ("1.?", ["1.0", "1.1"]),
        ("[12].0", ["1.0", "2.0"]),
        ("latest*", ["latest"]),
    ],
)
def test_a_pattern_selects_tags(
    tagged: FilledRegistry, pattern: str, expected: list[str]
) -> None:
    audited = audit(tagged.host, f"{REPOSITORY}:{pattern}", registry=login(page_size=2))
    assert sorted(line["tag"] for line in audited.lines) == expected


def test_overlapping_patterns_and_references_are_audited_once(
    tagged: FilledRegistry,
) -> None:
    names = (f"{REPOSITORY}:2.0", f"{REPOSITORY}:*", f"{REPOSITORY}:1.*")
    audited = audit(tagged.host, *names)
    assert audited.lines[0]["tag"] == "2.0"
    assert sorted(line["tag"] for line in audited.lines) == TAGS
    assert audited.summary.duplicates == 4


def test_a_pattern_that_matches_nothing_is_a_failure(tagged: FilledRegistry) -> None:
    audited = audit(tagged.host, f"{REPOSITORY}:3.*")
    (line,) = audited.lines
    assert (line["stage"], line["failure"]) == ("list", "not_found")
    assert "none of the 6 tags" in line["detail"]


def test_the_listing_of_an_unknown_repository_is_a_failure(
    tagged: FilledRegistry,
) -> None:
    (line,) = audit(tagged.host, "team/nothing:*").lines
    assert (line["stage"], line["failure"], line["status"]) == (
        "list",
        "not_found",
        404,
    )


def test_the_listing_of_a_repository_without_a_grant_is_not_requested(
    tagged: FilledRegistry,
) -> None:
    since = tagged.registry.log.mark()
    audited = audit(tagged.host, "secret/oci:*")
    (line,) = audited.lines
    assert line["failure"] == "no_pull_grant"
    logged = tagged.registry.log.auditors(since, at_least=audited.requests)
    assert [one.path for one in logged] == ["/v2/"]


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_the_catalog_is_read_with_its_own_token(
    tagged: FilledRegistry, size: int
) -> None:
    since = tagged.registry.log.mark()
    asked = len(tagged.tokens.asked)
    audited = audit(tagged.host, "team/*:1.0", registry=login(PUSHER, page_size=size))
    repositories = {line["repository"] for line in audited.lines}
    assert {REPOSITORY, "team/oci"} <= repositories
    assert {line["kind"] for line in audited.lines} == {"image"}
    logged = tagged.registry.log.auditors(since, at_least=audited.requests)
    catalog = [one for one in logged if one.path == "/v2/_catalog"]
    assert catalog[0].query == f"n={size}"
    # 2.8 ignores the page size for tags and sends the whole listing: as long as
    # the page, they are in doubt and listed here, too.
    (listing,) = (
        one
        for one in audited.summary.listings.shown
        if one.kind is ListKind.REPOSITORIES
    )
    # A last page that is just full may name a next one, which is empty.
    assert len(catalog) == listing.pages
    assert listing.pages in {
        -(-listing.repositories // size) + extra for extra in (0, 1)
    }
    scopes = [scope for _, _, scope in tagged.tokens.asked[asked:]]
    assert scopes.count("registry:catalog:*") == 1


def test_a_skopeo_sync_file_selects_what_skopeo_copies(
    tagged: FilledRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "sync.yaml"
    path.write_text(
        f"{tagged.host}:\n"
        "  tls-verify: false\n"
        "  images:\n"
        f"    {REPOSITORY}: [latest, '2.0']\n"
        "    team/oci: []\n"
        "  images-by-tag-regex:\n"
        f"    {REPOSITORY}: '1[.].'\n"
    )
    audited = audit(tagged.host, lists=(str(path),), registry=login(PUSHER))
    found = sorted(line["reference"] for line in audited.lines)
    assert found == sorted(tagged.skopeo.synced(path))
    assert len(found) > 5
    assert {line["kind"] for line in audited.lines} == {"image"}
