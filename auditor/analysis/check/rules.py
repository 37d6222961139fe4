"""Every rule that a policy can use, as SQL over the lines of a report.

To add a rule: a `RuleDefinition` below (docs: `policy.RuleDefinition`), with a value
type from `rule_values`; an entry in scripts/reference_texts.py; cases in
tests/unit/analysis/check/test_rules.py. The columns are those of `evaluate.SUBJECTS`.
"""

from __future__ import annotations

from auditor.analysis.check import rule_values as values
from auditor.analysis.check.policy import RuleDefinition, Subject

# Rules about platforms and configs are for images: neither a signature nor a Helm chart
# has these (auditor.oci.content_kind).
IS_IMAGE = "content = 'image'"
# Rules about what is published are for everything but attachments: a signature need not
# be signed, and its tag moves with each further signature.
IS_PUBLISHED = "content <> 'attachment'"

# A platform is there if a client of it finds an image: `accepted_platforms`.
_ABSENT = """
        [required.name FOR required IN $value
         IF NOT list_has_any(architectures, required.accepted)]"""
# Platforms that the audit left out, or that have no name; an index of children that
# could not be read may be an image.
_MAY_BE_THERE = """
        (platforms_left_out > 0 OR content = 'unknown' AND size IS NULL
         OR len([p FOR p IN platform_info IF p.present AND (
                   p.name IN ('the artifact', 'the image') OR p.name GLOB '*/unknown*'
                   OR p.name GLOB 'unknown/*')]) > 0)"""

_NO_LAYERS = (
    "the registry does not have the manifest, or its layers are too long for a record"
    " (warning parts_left_out)"
)
_NO_SIZES = "schema 1 manifests and missing manifests have no sizes"

_MATCHES = "len([p FOR p IN $value IF base GLOB p]) > 0"
_ALLOWED = f"len([base FOR base IN p.bases IF {_MATCHES}]) > 0"
_UNDECLARED = f"""
    CASE WHEN {IS_IMAGE} THEN
      ['the base of ' || p.name FOR p IN platform_info
       IF len(p.bases) = 0 AND p.layers IS NOT NULL]
    END"""
_NO_BASE = (
    "no annotation or label that was fetched has it;"
    " see org.opencontainers.image.base.name"
)
# OCI config.md, User: a name or number, optionally a group after a colon.
_ROOT = "coalesce(p.user, '') IN ('', '0', 'root') OR p.user GLOB '0:*'"

# As in `auditor.audit.image_metadata.supply_chain_status`: an attachment counts if its
# subject is the image, or if each platform has one (BuildKit attests platforms, cosign
# and notation sign what the tag points at). One without a subject is about the image,
# or perhaps about one of several platforms.
_PRESENT = "list_distinct(flatten([p.digests FOR p IN platform_info IF p.present]))"
_COVERED = f"""
    len([a FOR a IN {{attached}} IF a.subject IS NULL OR a.subject = digest]) > 0
    OR len({_PRESENT}) > 0
       AND list_has_all([a.subject FOR a IN {{attached}}], {_PRESENT})"""


# A clock can be wrong by hours. A later date is false, and says nothing of the age.
_FALSE_DATE = "coalesce(p.created_us - audited_us > 86400000000, false)"
# What was pushed was built before.
_PUSHED_LONG_AGO = "(audited_us - pushed_us) // 1000000 > $value"
_PUSHED_LATELY = "(audited_us - pushed_us) // 1000000 <= $value"


def _date(microseconds: str) -> str:
    """The date of a time in microseconds since 1970."""
    return f"strftime(make_timestamp({microseconds}), '%Y-%m-%d')"


def _covered(kinds: str, *, certain: bool) -> str:
    condition = f"list_has_any(a.kinds, {kinds})"
    if certain:
        condition += f" AND NOT (a.may_be_of_a_platform AND len({_PRESENT}) > 1)"
    return _COVERED.format(attached=f"[a FOR a IN attached IF {condition}]")


# `signed` etc. are set if the audit looked for all attachments; NULL otherwise.
_RECORDED = """
    CASE required WHEN 'signature' THEN signed WHEN 'sbom' THEN has_sbom
              WHEN 'provenance' THEN has_provenance END"""
_MISSING = (
    f"[required FOR required IN $value"
    f" IF NOT coalesce({_RECORDED}, {_covered('[required]', certain=True)})]"
)
# An attestation manifest of BuildKit has provenance, an SBOM or both; which of them is
# in its layers, which the audit may not have read.
_POSSIBLE = """
    CASE WHEN required IN ('sbom', 'provenance') THEN [required, 'unclear']
         ELSE [required] END"""
_UNCERTAIN = f"(({_RECORDED}) IS NULL AND ({_covered(_POSSIBLE, certain=False)}))"

# What the signatures of an image are, if a key verifies none of them.
_WHY_NOT_SIGNED = """
    CASE WHEN len(signatures) = 0 THEN 'none is attached'
         ELSE array_to_string(list_sort(list_distinct(
                [s.format || ' ' || s.state || coalesce(': ' || s.reason, '')
                 || CASE WHEN len(s.keys) > 0
                         THEN ' by ' || array_to_string(s.keys, ', ') ELSE '' END
                 FOR s IN signatures])[:3]), '; ') END"""

# -- rules --

_DEFINITIONS = (
    # content: platforms, media types, layers
    RuleDefinition(
        name="required_platforms",
        value_type=values.PLATFORMS,
        summary="Every image has these platforms.",
        message="has no image for {found}",
        violations=f"""
        CASE WHEN ({IS_IMAGE} OR content = 'unknown')
              AND NOT coalesce({_MAY_BE_THERE}, false) THEN {_ABSENT} END""",
        unknown=f"""
        CASE WHEN ({IS_IMAGE} OR content = 'unknown') AND {_MAY_BE_THERE}
             THEN {_ABSENT} END""",
        hint="the audit was limited by --platform, or the image does not state its"
        " platform",
    ),
    RuleDefinition(
        name="forbidden_media_types",
        value_type=values.MEDIA_TYPES,
        summary="No manifest or layer has one of these media types.",
        message="has the media type {found}",
        violations="""
        [media_type FOR media_type IN media_types
         IF len([p FOR p IN $value IF media_type GLOB p]) > 0]""",
    ),
    RuleDefinition(
        name="forbidden_layers",
        value_type=values.DIGESTS,
        summary="No image contains one of these layers.",
        message="contains the layer {found}",
        violations="""
        [layer FOR layer IN list_distinct(flatten(
           [list_concat(p.layers, p.other_layers) FOR p IN platform_info]))
         IF list_contains($value, layer)]""",
        unknown="[p.name FOR p IN platform_info IF p.layers IS NULL]",
        hint=_NO_LAYERS,
    ),
    RuleDefinition(
        name="forbidden_packages",
        value_type=values.PACKAGES,
        subject=Subject.PACKAGES,
        summary="No image contains one of these packages, by its SBOMs.",
        message="contains {found}",
        # See `package_outcomes`.
        violations="forbidden",
        unknown="unclear",
        hint="attach an SBOM for each platform when images are built, and audit with"
        " --sbom FILE",
    ),
    RuleDefinition(
        name="forbid_warnings",
        value_type=values.WARNINGS,
        summary="No image has one of these warnings.",
        message="has the warning {found}",
        violations="""
        [w.code || ': ' || coalesce(w.detail, '') FOR w IN warnings
         IF list_contains($value, '*') OR list_contains($value, w.code)]""",
    ),
    # limits: sizes, layers, age
    RuleDefinition(
        name="max_size",
        value_type=values.SIZE,
        summary="All platforms of an image together have at most this compressed size;"
        " shared layers count once.",
        message="is larger than {limit}: {found}",
        violations="CASE WHEN size > $value THEN [formatReadableDecimalSize(size)] END",
        unknown="CASE WHEN size IS NULL THEN ['its size'] END",
        hint=_NO_SIZES,
    ),
    RuleDefinition(
        name="max_platform_size",
        value_type=values.SIZE,
        summary="Each platform of an image (what one machine pulls) has at most this"
        " compressed size.",
        message="is larger than {limit}: {found}",
        violations="""
        [p.name || ' ' || formatReadableDecimalSize(p.size)
         FOR p IN platform_info IF p.size > $value]""",
        unknown="['the size of ' || p.name FOR p IN platform_info IF p.size IS NULL]",
        hint=_NO_SIZES,
    ),
    RuleDefinition(
        name="max_layers",
        value_type=values.COUNT,
        summary="Each platform of an image has at most this many layers.",
        message="has more than {limit} layers: {found}",
        violations="""
        [p.name || ' ' || len(p.layers)
         FOR p IN platform_info IF len(p.layers) > $value]""",
        unknown="""
        ['the layers of ' || p.name FOR p IN platform_info IF p.layers IS NULL]""",
        hint=_NO_LAYERS,
    ),
    RuleDefinition(
        name="max_age",
        value_type=values.AGE,
        summary="Each platform was created at most this long before the audit.",
        message="is older than {limit}: {found}",
        violations=f"""
        CASE WHEN {IS_PUBLISHED} THEN
          list_concat(
            [p.name || ' of ' || {_date("p.created_us")}
             FOR p IN platform_info IF (audited_us - p.created_us) // 1000000 > $value],
            [p.name || ' pushed on ' || {_date("pushed_us")}
             FOR p IN platform_info
             IF (p.created_us IS NULL OR {_FALSE_DATE}) AND {_PUSHED_LONG_AGO}])
        END""",
        unknown=f"""
        CASE WHEN {IS_PUBLISHED} AND NOT coalesce({_PUSHED_LONG_AGO}, false) THEN
          [concat('the age of ', p.name,
                  CASE WHEN {_FALSE_DATE} THEN
                       concat(' (created in the future: ', {_date("p.created_us")}, ')')
                  END)
           FOR p IN platform_info IF p.created_us IS NULL OR {_FALSE_DATE}]
        END""",
        hint="audit with --image-config always; for reproducible builds, which can have"
        " no date, use max_pushed_age",
    ),
    RuleDefinition(
        name="max_pushed_age",
        value_type=values.AGE,
        summary="Each tag was pushed at most this long before the audit.",
        message="was pushed longer than {limit} ago: {found}",
        violations=f"""
        CASE WHEN {IS_PUBLISHED} AND {_PUSHED_LONG_AGO}
             THEN ['on ' || {_date("pushed_us")}] END""",
        unknown=f"""
        CASE WHEN {IS_PUBLISHED} AND pushed_us IS NULL
             THEN ['when it was pushed'] END""",
        hint="only the listings of some products have it: audit HOST/REPOSITORY:* with"
        " the lister of the product",
    ),
    RuleDefinition(
        name="max_unpulled",
        value_type=values.AGE,
        summary="Each tag was pulled or pushed at most this long before the audit.",
        message="was not pulled for longer than {limit}: {found}",
        violations=f"""
        CASE WHEN {IS_PUBLISHED} AND NOT coalesce({_PUSHED_LATELY}, false)
                  AND (audited_us - pulled_us) // 1000000 > $value
             THEN ['since ' || {_date("pulled_us")}] END""",
        unknown=f"""
        CASE WHEN {IS_PUBLISHED} AND NOT coalesce({_PUSHED_LATELY}, false)
                  AND pulled_us IS NULL
             THEN [concat('when it was last pulled',
                          ' (pushed on ' || {_date("pushed_us")} || ')')] END""",
        hint="either it was never pulled, or the listing has no such time: only those"
        " of Harbor, Docker Hub, ECR and Nexus do",
    ),
    # origin: base images, users
    RuleDefinition(
        name="forbidden_bases",
        value_type=values.PATTERNS,
        summary="No platform declares one of these base images.",
        message="is built on {found}",
        violations=f"""
        list_distinct(flatten(
          [[base FOR base IN p.bases IF {_MATCHES}] FOR p IN platform_info]))""",
        unknown=_UNDECLARED,
        hint=_NO_BASE,
    ),
    RuleDefinition(
        name="allowed_bases",
        value_type=values.PATTERNS,
        summary="Every platform declares one of these base images.",
        message="is built on {found}, which is not allowed",
        violations=f"""
        list_distinct(
          [p.bases[1] FOR p IN platform_info
           IF len(p.bases) > 0 AND NOT ({_ALLOWED})])""",
        unknown=_UNDECLARED,
        hint=_NO_BASE,
    ),
    RuleDefinition(
        name="forbid_stale_base",
        value_type=values.TRUE,
        summary="No platform is built on a base image that has moved since.",
        message="is built on an old version of its base: {found}",
        violations=f"""
        CASE WHEN {IS_IMAGE} THEN
          list_distinct([concat(coalesce(b.reference, b.name), ' is now ',
                                b.current_digest, ' (' || b.detail || ')')
                         FOR b IN base_checks IF b.is_stale])
        END""",
        unknown=f"""
        CASE WHEN {IS_IMAGE} THEN
          CASE WHEN base_checks IS NULL THEN ['whether its base has moved']
          ELSE list_concat(
            [concat('whether ', coalesce(b.reference, b.name, b.digest), ' has moved: ',
                    b.detail) FOR b IN base_checks IF b.is_stale IS NULL],
            ['the base of ' || p.name FOR p IN platform_info
             IF len(p.bases) = 0 AND p.layers IS NOT NULL AND NOT list_contains(
               flatten([b.platforms FOR b IN base_checks]), p.name)],
            CASE WHEN bases_left_out > 0
                 THEN [bases_left_out || ' more base images'] END)
          END
        END""",
        hint="audit with --check-bases; labels need --image-config always; for a base"
        " that is named by its digest, audit its tags, too",
    ),
    RuleDefinition(
        name="forbid_end_of_life",
        value_type=values.GRACE,
        subject=Subject.END_OF_LIFE,
        summary="The support of no image has ended, or not longer ago than a grace"
        " period.",
        message="reached its end of life {found}",
        violations="""
        CASE WHEN date_diff('day', ends, audited_on) > $value
             THEN ['on ' || ends || ', by ' || source] END""",
        unknown="CASE WHEN NOT is_known THEN ['the end of its support'] END",
        hint="it names no base, nothing attached has a date (audit --attachments all),"
        " and [end_of_life] of the policy has no pattern for it",
    ),
    RuleDefinition(
        name="forbid_root",
        value_type=values.TRUE,
        summary="No platform runs as root by default (Windows is exempt).",
        message="runs as root: {found}",
        violations=f"""
        CASE WHEN {IS_IMAGE} THEN
          [p.name FOR p IN platform_info
           IF p.configured AND NOT starts_with(p.name, 'windows/')
             AND ({_ROOT} OR p.user GLOB 'root:*')]
        END""",
        unknown=f"""
        CASE WHEN {IS_IMAGE} THEN
          ['the user of ' || p.name FOR p IN platform_info
           IF NOT p.configured AND p.layers IS NOT NULL
              AND NOT starts_with(p.name, 'windows/')]
        END""",
        hint="audit with --image-config always",
    ),
    # trust: annotations, labels, attachments, token grants
    RuleDefinition(
        name="required_annotations",
        value_type=values.ANNOTATIONS,
        summary="What the tag points at has these annotations.",
        message="lacks the annotation {found}, or has another value",
        violations=f"""
        CASE WHEN {IS_PUBLISHED} THEN
          [required.name FOR required IN $value IF NOT coalesce(
             map_extract(annotations, required.name)[1] GLOB required.pattern, false)]
        END""",
    ),
    RuleDefinition(
        name="required_labels",
        value_type=values.ANNOTATIONS,
        summary="Every platform has these labels in its image config.",
        message="lacks the label {found}, or has another value",
        violations=f"""
        CASE WHEN {IS_IMAGE} THEN
          [required.name FOR required IN $value IF len(
             [p.name FOR p IN platform_info IF p.labels IS NOT NULL AND NOT coalesce(
                map_extract(p.labels, required.name)[1] GLOB required.pattern, false)]
           ) > 0]
        END""",
        unknown=f"""
        CASE WHEN {IS_IMAGE} THEN
          ['the labels of ' || p.name FOR p IN platform_info
           IF p.labels IS NULL AND p.layers IS NOT NULL]
        END""",
        hint="audit with --label for these names",
    ),
    RuleDefinition(
        name="required_attachments",
        value_type=values.ATTACHED,
        summary="Every image, or each of its platforms, has these attached.",
        message="has no {found} attached",
        violations=f"""
        CASE WHEN {IS_PUBLISHED} THEN
          [required FOR required IN {_MISSING} IF NOT {_UNCERTAIN}]
        END""",
        unknown=f"""
        CASE WHEN {IS_PUBLISHED} THEN
          [CASE WHEN {_covered("[required]", certain=False)}
                THEN 'of which platform an attachment is: ' || required
                WHEN required = 'sbom' THEN 'whether an attestation is an SBOM'
                ELSE 'whether an attestation is ' || required END
           FOR required IN {_MISSING} IF {_UNCERTAIN}]
        END""",
        hint="audit with --attachments all, or require attestation",
    ),
    RuleDefinition(
        name="required_signature",
        value_type=values.KEYS,
        summary="Every image has signatures that these keys of the signature policy"
        " verify.",
        message="has no verified signature of {found}",
        violations=f"""
        CASE WHEN {IS_PUBLISHED} THEN
          [key || ' (' || {_WHY_NOT_SIGNED} || ')' FOR key IN $value
           IF list_contains(not_verified_by, key)]
        END""",
        unknown=f"""
        CASE WHEN {IS_PUBLISHED} THEN
          ['whether it is signed by ' || key FOR key IN $value
           IF NOT list_contains(coalesce(list_concat(verified_by, not_verified_by),
                                         []), key)]
        END""",
        hint="audit with --verify-signatures POLICY, whose keys have these names",
    ),
    RuleDefinition(
        name="allowed_grants",
        value_type=values.ACTIONS,
        summary="The token of the audit grants only these actions.",
        message="grants this account {found}",
        violations="""
        [action FOR action IN access.actions IF NOT list_contains($value, action)]""",
        unknown="""
        CASE WHEN access.state = 'unverifiable' THEN ['the grants of the token'] END""",
        hint="the token is opaque, or the registry uses Basic authentication",
    ),
    # repositories: failures, a lone `latest`, immutable tags
    RuleDefinition(
        name="forbid_failures",
        value_type=values.FAILURES,
        subject=Subject.FAILURE,
        summary="Every reference could be audited.",
        message="could not be audited: {found}",
        violations="""
        CASE WHEN list_contains($value, '*') OR list_contains($value, failure)
             THEN [failure || ': ' || coalesce(detail, '')] END""",
    ),
    RuleDefinition(
        name="forbid_latest_only",
        value_type=values.TRUE,
        subject=Subject.REPOSITORY,
        summary="No repository has `latest` as its only tag.",
        message="has no tag except {found}",
        # A tag that could not be audited counts unless it does not exist.
        violations=f"""
        CASE WHEN bool_or(kind = 'image' AND tag = 'latest')
              AND NOT bool_or(tag <> 'latest' AND ({IS_PUBLISHED}
                    OR failure NOT IN ('not_found', 'vanished', 'invalid_reference')))
             THEN ['latest'] END""",
    ),
    RuleDefinition(
        name="immutable_tags",
        value_type=values.PATTERNS,
        subject=Subject.EARLIER,
        summary="These tags point at the same digest as in the earlier report.",
        message="has moved {found}",
        violations=f"""
        CASE WHEN digest <> digest_before AND {IS_PUBLISHED}
              AND len([p FOR p IN $value IF tag GLOB p]) > 0
             THEN ['from ' || digest_before || ' to ' || digest] END""",
    ),
)

RULES: dict[str, RuleDefinition] = {rule.name: rule for rule in _DEFINITIONS}
