"""Checks of what an image was built on, and as whom it runs."""

from __future__ import annotations

from auditor.analysis.check.check import IS_IMAGE, Check
from auditor.analysis.check.rule_values import PATTERNS, TRUE

_MATCHES = "len([w FOR w IN $value IF base GLOB w]) > 0"
_ALLOWED = f"len([base FOR base IN p.bases IF {_MATCHES}]) > 0"
_NOT_NAMED = f"""
    CASE WHEN {IS_IMAGE} THEN
      ['the base of ' || p.name FOR p IN parts
       IF len(p.bases) = 0 AND p.layers IS NOT NULL]
    END"""
_HINT = (
    "no annotation or label that was fetched names it;"
    " see org.opencontainers.image.base.name"
)
# What config.md calls User: a name or number, and a group after a colon.
_ROOT = "coalesce(p.user, '') IN ('', '0', 'root') OR p.user GLOB '0:*'"

CHECKS = (
    Check(
        name="forbidden_bases",
        value=PATTERNS,
        summary="No platform says that it was built on one of these base images.",
        sentence="is built on",
        found=f"""
        list_distinct(flatten(
          [[base FOR base IN p.bases IF {_MATCHES}] FOR p IN parts]))""",
        unknown=_NOT_NAMED,
        hint=_HINT,
    ),
    Check(
        name="allowed_bases",
        value=PATTERNS,
        summary="Every platform says that it was built on one of these base images.",
        sentence="is built on something else:",
        found=f"""
        list_distinct(
          [p.bases[1] FOR p IN parts IF len(p.bases) > 0 AND NOT ({_ALLOWED})])""",
        unknown=_NOT_NAMED,
        hint=_HINT,
    ),
    Check(
        name="forbid_root",
        value=TRUE,
        summary="No platform but those of Windows runs as root unless it is told to.",
        sentence="runs as root:",
        found=f"""
        CASE WHEN {IS_IMAGE} THEN
          [p.name FOR p IN parts IF p.configured AND NOT starts_with(p.name, 'windows/')
             AND ({_ROOT} OR p.user GLOB 'root:*')]
        END""",
        unknown=f"""
        CASE WHEN {IS_IMAGE} THEN
          ['the user of ' || p.name FOR p IN parts
           IF NOT p.configured AND p.layers IS NOT NULL
              AND NOT starts_with(p.name, 'windows/')]
        END""",
        hint="audit with --image-config always",
    ),
)
