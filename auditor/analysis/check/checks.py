"""Everything that a policy can ask for: one row each, from the files beside this."""

from __future__ import annotations

from auditor.analysis.check.check import IS_IMAGE, RuleDefinition, Subject
from auditor.analysis.check.rule_values import (
    ACTIONS,
    AGE,
    ANNOTATIONS,
    ATTACHED,
    COUNT,
    DIGESTS,
    FAILURES,
    MEDIA_TYPES,
    PATTERNS,
    PLATFORMS,
    SIZE,
    TRUE,
    WARNINGS,
)

# -- content --
# Checks of what an image holds: platforms, media types, layers.

_ABSENT = f"""
        CASE WHEN {IS_IMAGE} THEN
          [wanted FOR wanted IN $value IF len(
             [a FOR a IN architectures
              IF a = wanted OR starts_with(a, wanted || '/') OR a || '/v8' = wanted]
           ) = 0]
        END"""

CONTENT_CHECKS = (
    RuleDefinition(
        name="required_platforms",
        value=PLATFORMS,
        summary="Every image is there for these platforms.",
        sentence="is not there for",
        # A variant more is fine; arm64 is arm64/v8 (containerd, platforms.Normalize).
        found=f"CASE WHEN coalesce(platforms_left_out, 0) = 0 THEN {_ABSENT} END",
        unknown=f"CASE WHEN platforms_left_out > 0 THEN {_ABSENT} END",
        hint="the audit was told to leave platforms out",
    ),
    RuleDefinition(
        name="forbidden_media_types",
        value=MEDIA_TYPES,
        summary="No manifest and no layer has one of these media types.",
        sentence="has",
        found="""
        [found FOR found IN media_types
         IF len([p FOR p IN $value IF found GLOB p]) > 0]""",
    ),
    RuleDefinition(
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
    RuleDefinition(
        name="forbid_warnings",
        value=WARNINGS,
        summary="No image has one of these warnings.",
        sentence="has the warning",
        found="""
        [w.code || ': ' || coalesce(w.detail, '') FOR w IN warnings
         IF list_contains($value, '*') OR list_contains($value, w.code)]""",
    ),
)


# -- limits --
# Checks with a limit: sizes, layers, age.

_NO_SIZES = "schema 1 and missing manifests give no sizes"

LIMITS_CHECKS = (
    RuleDefinition(
        name="max_size",
        value=SIZE,
        summary="All platforms of an image together have at most these bytes,"
        " compressed, shared layers counted once.",
        sentence="is larger than {limit}:",
        found="CASE WHEN size > $value THEN [formatReadableDecimalSize(size)] END",
        unknown="CASE WHEN size IS NULL THEN ['its size'] END",
        hint=_NO_SIZES,
    ),
    RuleDefinition(
        name="max_platform_size",
        value=SIZE,
        summary="Each platform of an image, what one machine pulls, has at most these"
        " bytes, compressed.",
        sentence="is larger than {limit}:",
        found="""
        [p.name || ' ' || formatReadableDecimalSize(p.size)
         FOR p IN parts IF p.size > $value]""",
        unknown="['the size of ' || p.name FOR p IN parts IF p.size IS NULL]",
        hint=_NO_SIZES,
    ),
    RuleDefinition(
        name="max_layers",
        value=COUNT,
        summary="Each platform of an image has at most this many layers.",
        sentence="has more than {limit} layers:",
        found="""
        [p.name || ' ' || len(p.layers) FOR p IN parts IF len(p.layers) > $value]""",
        unknown="['the layers of ' || p.name FOR p IN parts IF p.layers IS NULL]",
        hint="the registry does not have this platform's manifest",
    ),
    RuleDefinition(
        name="max_age",
        value=AGE,
        summary="Each platform was created at most this long before the audit.",
        sentence="is older than {limit}:",
        found="""
        [p.name || ' of ' || strftime(make_timestamp(p.created_us), '%Y-%m-%d')
         FOR p IN parts IF (audited_us - p.created_us) // 1000000 > $value]""",
        unknown="""
        ['the age of ' || p.name FOR p IN parts IF p.created_us IS NULL]""",
        hint="audit with --image-config always; builds that are reproducible to the"
        " byte may carry no date at all",
    ),
)


# -- origin --
# Checks of what an image was built on, and as whom it runs.

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

ORIGIN_CHECKS = (
    RuleDefinition(
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
    RuleDefinition(
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
    RuleDefinition(
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


# -- repositories --
# Checks of more than one image: failures, lone `latest`, tags that must not move.

REPOSITORIES_CHECKS = (
    RuleDefinition(
        name="forbid_failures",
        value=FAILURES,
        subject=Subject.FAILURE,
        summary="Every reference could be audited.",
        sentence="could not be audited:",
        found="""
        CASE WHEN list_contains($value, '*') OR list_contains($value, failure)
             THEN [failure || ': ' || coalesce(detail, '')] END""",
    ),
    RuleDefinition(
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
    RuleDefinition(
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


# -- trust --
# Checks of what vouches for an image, and of what the account may do.

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

TRUST_CHECKS = (
    RuleDefinition(
        name="required_annotations",
        value=ANNOTATIONS,
        summary="Every image has these annotations on what its tag points at.",
        sentence="has no annotation, or another value, for",
        found="""
        [wanted.name FOR wanted IN $value IF NOT coalesce(
           map_extract(annotations, wanted.name)[1] GLOB wanted.pattern, false)]""",
    ),
    RuleDefinition(
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
    RuleDefinition(
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
    RuleDefinition(
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


CHECKS: dict[str, RuleDefinition] = {
    check.name: check
    for check in (
        *CONTENT_CHECKS,
        *LIMITS_CHECKS,
        *ORIGIN_CHECKS,
        *TRUST_CHECKS,
        *REPOSITORIES_CHECKS,
    )
}
