"""The corpus in registries that others wrote, compared with what crane and regctl say.

What an audit must say and neither program does stands with each entry of the corpus.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditor.config import AttachmentMode, ImageConfigMode
from tests.real.audits import Audited, audit, content
from tests.real.crane_records import expected_record
from tests.real.stocked_registry import StockedRegistry

pytestmark = pytest.mark.real

# What a registry does not take, and how it answers. cuelabs looks for every child of an
# OCI index among its manifests, and for every layer among its blobs (500). distribution
# and olareg know no type of manifest but those of Docker and OCI 1.1.
DRAFTS = ("oci-rc", "oras-draft")
REFUSED = {
    "crane": {},
    "cuelabs": dict.fromkeys(("unknown-child", "foreign"), 500),
    "olareg": dict.fromkeys(DRAFTS, 400),
    "distribution-3": dict.fromkeys(("unknown-child", *DRAFTS), 400),
    "docker-registry-2.8": dict.fromkeys(DRAFTS, 400),
}


def audited(stocked: StockedRegistry, *names: str, **settings: Any) -> Audited:
    return audit(
        stocked.host,
        *(names or stocked.names),
        registry=stocked.running.settings,
        **{
            "image_config": ImageConfigMode.ALWAYS,
            "attachments": AttachmentMode.ALL,
            "verify_blobs": True,
            **settings,
        },
    )


@pytest.fixture(scope="module")
def cold(stocked: StockedRegistry) -> dict[str, dict[str, Any]]:
    """The record of each entry, by its repository."""
    lines = audited(stocked).lines
    assert len(lines) == len(stocked.entries)
    return {
        entry.repository: line
        for entry, line in zip(stocked.entries, lines, strict=True)
    }


def test_each_registry_takes_what_it_is_known_to_take(stocked: StockedRegistry) -> None:
    assert stocked.refused == REFUSED[stocked.product.name]


def test_every_field_agrees_with_crane(
    stocked: StockedRegistry, cold: dict[str, dict[str, Any]]
) -> None:
    for entry in stocked.entries:
        line = cold[entry.repository]
        if entry.failure is not None:
            assert (line["kind"], line["failure"]) == ("failure", entry.failure)
            continue
        assert line["kind"] == "image", line
        traits = {each for one in line["platforms"] for each in one["layer_traits"]}
        warnings = sorted(one["code"] for one in line["warnings"])
        expected = expected_record(stocked.reader, stocked.host, entry)
        assert {key: without_traits(line)[key] for key in expected} == expected
        assert traits == entry.traits, entry.name
        assert alternatives(line) == entry.alternatives, entry.name
        assert warnings == sorted(entry.warnings), line["warnings"]


def alternatives(line: dict[str, Any]) -> set[str]:
    """The digests of platforms in another compression."""
    platforms = line["platforms"]
    return {one["digest"] for each in platforms for one in each["alternatives"]}


def without_traits(line: dict[str, Any]) -> dict[str, Any]:
    """A record without what crane has no word for."""
    platforms = [
        {
            key: platform[key]
            for key in platform
            if key not in {"layer_traits", "alternatives"}
        }
        for platform in line["platforms"]
    ]
    return {**line, "platforms": platforms}


def test_attachments_are_those_that_were_pushed(
    stocked: StockedRegistry, cold: dict[str, dict[str, Any]]
) -> None:
    """With the referrers API and without: the fallback tag says the same."""
    for entry in stocked.entries:
        if entry.failure is not None:
            continue
        line = cold[entry.repository]
        found = {
            (one["kind"], one["digest"], one["subject"] or "")
            for one in line["attachments"]
        }
        assert found == entry.attached, entry.name
        answers = line["signed"], line["has_sbom"], line["has_provenance"]
        assert answers == entry.status, entry.name


@pytest.mark.parametrize("name", ["referred", "forty"])
def test_referrers_are_those_of_regctl(
    stocked: StockedRegistry, cold: dict[str, dict[str, Any]], name: str
) -> None:
    entry = stocked.entry(name)
    found = {
        (one["digest"], one["artifact_type"])
        for one in cold[entry.repository]["attachments"]
    }
    assert found == stocked.reader.attached(entry.name)


def test_a_warm_run_says_the_same_and_asks_less(
    stocked: StockedRegistry, cold: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """What the registry has lost is said in both nights, too."""
    cache = str(tmp_path / "cache")
    nights = [audited(stocked, cache=cache, verify_blobs=False) for _ in range(2)]
    first, second = ([content(one) for one in night.lines] for night in nights)
    assert second == first
    assert second == [content(cold[entry.repository]) for entry in stocked.entries]
    assert nights[1].requests < nights[0].requests
