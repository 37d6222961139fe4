"""Repository patterns, expanded with the catalogs of real registries."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.report.listing_stats import ListState
from tests.real.audits import Audited, audit, login
from tests.real.docker_registry import running_registry
from tests.real.filled_registry import FilledRegistry
from tests.real.token_server import AUDITOR, PUSHER

pytestmark = pytest.mark.real

# Other tests put it there, or not yet.
OTHERS = ("team/tagged",)


def expected(filled: FilledRegistry, folder: str) -> list[str]:
    return sorted(name for name in filled.digests if name.startswith(f"{folder}/"))


def names(audited: Audited) -> list[str]:
    return sorted(f"{line['repository']}:{line['tag']}" for line in audited.lines)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_pattern_expands_to_the_repositories_of_the_catalog(
    filled: FilledRegistry, size: int
) -> None:
    since = filled.registry.log.mark()
    audited = audit(
        filled.host,
        "team/**:*",
        registry=login(PUSHER, page_size=size),
        exclude_repositories=OTHERS,
    )
    assert names(audited) == expected(filled, "team")
    assert len(names(audited)) > 5
    catalog = audited.summary.listings.shown[-1]
    assert catalog.state is ListState.COMPLETE
    # Two repositories at least are elsewhere: public/... and secret/...
    assert catalog.repositories >= catalog.chosen + 2
    assert catalog.pages >= catalog.repositories // size
    logged = filled.registry.log.auditors(since, at_least=audited.requests)
    catalogs = [one for one in logged if one.path == "/v2/_catalog"]
    assert len(catalogs) == catalog.pages
    assert catalogs[0].query == f"n={size}"
    asked = [scope for _, user, scope in filled.tokens.asked if user == PUSHER.name]
    assert "registry:catalog:*" in asked


def test_a_page_size_that_the_catalog_rejects_is_reduced(
    filled: FilledRegistry,
) -> None:
    since = filled.registry.log.mark()
    audited = audit(
        filled.host,
        "public/*:*",
        registry=login(PUSHER, page_size=5000),
    )
    assert names(audited) == expected(filled, "public")
    logged = filled.registry.log.auditors(since, at_least=audited.requests)
    queries = [one.query for one in logged if one.path == "/v2/_catalog"]
    assert queries == ["n=5000", "n=1000"]


def test_a_catalog_without_a_grant_is_tried_once(filled: FilledRegistry) -> None:
    since = filled.registry.log.mark()
    audited = audit(filled.host, "team/*:*", registry=login(AUDITOR))
    (line,) = audited.lines
    assert line["failure"] == "no_pull_grant"
    assert "name the repositories in a list" in line["detail"]
    logged = filled.registry.log.auditors(since, at_least=audited.requests)
    assert [one.path for one in logged] == ["/v2/", "/v2/_catalog"]


def test_the_catalog_of_an_open_registry_needs_no_token(
    filled: FilledRegistry, tmp_path: Path
) -> None:
    with running_registry(
        filled.flavour, tmp_path, root=filled.root, tokens=None
    ) as registry:
        audited = audit(
            registry.host,
            "*:*",
            registry=login(None, page_size=2),
            exclude_repositories=OTHERS,
        )
    everything = sorted(filled.digests)
    assert names(audited) == everything
    assert "token" not in audited.summary.requests
