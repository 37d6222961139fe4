"""Patterns for which no share has a tag: none of them alone could say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from auditor.input.listings import nothing_matches
from auditor.model import FailureRecord
from auditor.oci.reference import parse_selector
from auditor.oci.reference_grammar import RepositoryPattern
from auditor.report.listing_stats import Listing, ListKind


def unmatched(summary: Mapping[str, Any]) -> Iterator[FailureRecord]:
    """The records of such patterns, from the summary of the whole audit."""
    for found in summary["listings"]:
        listing = Listing.from_json(found)
        if listing.kind is not ListKind.REPOSITORIES or not listing.matches_nothing:
            continue
        pattern = parse_selector(listing.selector)
        assert isinstance(pattern, RepositoryPattern)
        failure = nothing_matches(pattern, listing)
        yield FailureRecord(
            reference=listing.selector,
            registry=pattern.registry,
            repository=pattern.repository,
            tag=None,
            digest=None,
            stage=failure.stage,
            failure=failure.kind,
            status=failure.status,
            detail=failure.detail,
            attempts=failure.attempts,
            audited_at=summary["finished_at"],
        )
