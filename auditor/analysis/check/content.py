"""Checks of what an image holds: platforms, media types, layers."""

from __future__ import annotations

from auditor.analysis.check.check import IS_IMAGE, Check
from auditor.analysis.check.rule_values import DIGESTS, MEDIA_TYPES, PLATFORMS, WARNINGS

_ABSENT = f"""
        CASE WHEN {IS_IMAGE} THEN
          [wanted FOR wanted IN $value IF len(
             [a FOR a IN architectures
              IF a = wanted OR starts_with(a, wanted || '/') OR a || '/v8' = wanted]
           ) = 0]
        END"""

CHECKS = (
    Check(
        name="required_platforms",
        value=PLATFORMS,
        summary="Every image is there for these platforms.",
        sentence="is not there for",
        # A variant more is fine; arm64 is arm64/v8 (containerd, platforms.Normalize).
        found=f"CASE WHEN coalesce(platforms_left_out, 0) = 0 THEN {_ABSENT} END",
        unknown=f"CASE WHEN platforms_left_out > 0 THEN {_ABSENT} END",
        hint="the audit was told to leave platforms out",
    ),
    Check(
        name="forbidden_media_types",
        value=MEDIA_TYPES,
        summary="No manifest and no layer has one of these media types.",
        sentence="has",
        found="""
        [found FOR found IN media_types
         IF len([p FOR p IN $value IF found GLOB p]) > 0]""",
    ),
    Check(
        name="forbidden_layers",
        value=DIGESTS,
        summary="No image contains one of these layers.",
        sentence="contains",
        found="""
        [layer FOR layer IN list_distinct(flatten([p.layers FOR p IN parts]))
         IF list_contains($value, layer)]""",
        unknown="[p.name FOR p IN parts IF p.layers IS NULL]",
        hint="the registry does not have this platform's manifest",
    ),
    Check(
        name="forbid_warnings",
        value=WARNINGS,
        summary="No image has one of these warnings.",
        sentence="has the warning",
        found="""
        [w.code || ': ' || coalesce(w.detail, '') FOR w IN warnings
         IF list_contains($value, '*') OR list_contains($value, w.code)]""",
    ),
)
