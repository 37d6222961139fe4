"""Checks of what vouches for an image, and of what the account may do."""

from __future__ import annotations

from auditor.analysis.check.check import IS_IMAGE, Check
from auditor.analysis.check.rule_values import ACTIONS, ANNOTATIONS, ATTACHED

# What is attached counts where it is about the image, or about each of its platforms
# (BuildKit attests platforms, cosign and notation sign what a tag points at).
_COVERED = """
    len([a FOR a IN attached IF list_contains(a.words, {word})
         AND (a.subject IS NULL OR a.subject = digest)]) > 0
    OR len(parts) > 0 AND len([p FOR p IN parts IF NOT list_contains(
         [a.subject FOR a IN attached IF list_contains(a.words, {word})], p.digest
       )]) = 0"""
# An audit that looked everywhere has the answer; else what it saw has to do.
_ANSWER = """
    CASE word WHEN 'signature' THEN signed WHEN 'sbom' THEN has_sbom
              WHEN 'provenance' THEN has_provenance END"""
_MISSING = (
    f"[word FOR word IN $value"
    f" IF NOT coalesce({_ANSWER}, {_COVERED.format(word='word')})]"
)
# An attestation manifest of BuildKit holds provenance, an SBOM or both: which, its
# layers say, and an audit has looked at them or not.
_EITHER = f"""
    (word IN ('sbom', 'provenance') AND ({_ANSWER}) IS NULL
     AND ({_COVERED.format(word="'unclear'")}))"""

CHECKS = (
    Check(
        name="required_annotations",
        value=ANNOTATIONS,
        summary="Every image has these annotations on what its tag points at.",
        sentence="has no annotation, or another value, for",
        found="""
        [wanted.name FOR wanted IN $value IF NOT coalesce(
           map_extract(annotations, wanted.name)[1] GLOB wanted.pattern, false)]""",
    ),
    Check(
        name="required_labels",
        value=ANNOTATIONS,
        summary="Every platform has these labels in its image config.",
        sentence="has no label, or another value, for",
        found=f"""
        CASE WHEN {IS_IMAGE} THEN
          [wanted.name FOR wanted IN $value IF len(
             [p.name FOR p IN parts IF p.labels IS NOT NULL AND NOT coalesce(
                map_extract(p.labels, wanted.name)[1] GLOB wanted.pattern, false)]
           ) > 0]
        END""",
        unknown=f"""
        CASE WHEN {IS_IMAGE} THEN
          ['the labels of ' || p.name FOR p IN parts
           IF p.labels IS NULL AND p.layers IS NOT NULL]
        END""",
        hint="audit with --label for these names",
    ),
    Check(
        name="required_attachments",
        value=ATTACHED,
        summary="Every image, or each of its platforms, has these attached.",
        sentence="the report shows no",
        found=f"""
        [word FOR word IN {_MISSING} IF NOT {_EITHER}]""",
        unknown=f"""
        ['which attestation is ' || CASE word WHEN 'sbom' THEN 'an SBOM' ELSE word END
         FOR word IN {_MISSING} IF {_EITHER}]""",
        hint="audit with --attachments all, or ask for attestation",
    ),
    Check(
        name="allowed_grants",
        value=ACTIONS,
        summary="The token that was used grants nothing but these actions.",
        sentence="is also open to this account for",
        found="""
        [action FOR action IN access.actions IF NOT list_contains($value, action)]""",
        unknown="""
        CASE WHEN access.state = 'unverifiable' THEN ['what the token grants'] END""",
        hint="the token is opaque, or the registry takes Basic",
    ),
)
