"""Checks of more than one image: failures, lone `latest`, tags that must not move."""

from __future__ import annotations

from auditor.analysis.check.check import Check, Subject
from auditor.analysis.check.rule_values import FAILURES, PATTERNS, TRUE

CHECKS = (
    Check(
        name="forbid_failures",
        value=FAILURES,
        subject=Subject.FAILURE,
        summary="Every reference could be audited.",
        sentence="could not be audited:",
        found="""
        CASE WHEN list_contains($value, '*') OR list_contains($value, failure)
             THEN [failure || ': ' || coalesce(detail, '')] END""",
    ),
    Check(
        name="forbid_latest_only",
        value=TRUE,
        subject=Subject.REPOSITORY,
        summary="No repository has `latest` as its only tag.",
        sentence="has no tag but",
        # A tag that could not be audited is a tag, unless there is none.
        found="""
        CASE WHEN bool_or(kind = 'image' AND tag = 'latest')
              AND NOT bool_or(tag <> 'latest' AND (kind = 'image'
                    OR failure NOT IN ('not_found', 'vanished', 'invalid_reference')))
             THEN ['latest'] END""",
    ),
    Check(
        name="immutable_tags",
        value=PATTERNS,
        subject=Subject.EARLIER,
        summary="These tags point at what they pointed at in the earlier report.",
        sentence="has moved:",
        found="""
        CASE WHEN digest <> digest_before
              AND len([p FOR p IN $value IF tag GLOB p]) > 0
             THEN ['from ' || digest_before || ' to ' || digest] END""",
    ),
)
