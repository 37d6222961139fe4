"""What rules are asked of: the lines of a report, with what they ask for at hand."""

from __future__ import annotations

from auditor.analysis.expressions import platform_name

# Docker's first release: what is dated before was given a date to be reproducible
# (1970, 1980 in zip files, year 1), and its age is not known.
FIRST_CREATED = "2013-03-20"

# OCI image-spec, annotations.md: stands in where no config was fetched.
CREATED = "org.opencontainers.image.created"

# A word for each media type under which a thing is attached. Sources: cosign
# specs/SIGNATURE_SPEC.md and BUNDLE_SPEC.md, notation signature-specification.md,
# SPDX and CycloneDX registrations, in-toto attestation spec/v1/bundle.md, SLSA.
_WORDS = """
    list_distinct(list_concat(
      [CASE a.kind WHEN 'artifact' THEN NULL ELSE a.kind END,
       CASE WHEN a.kind = 'attestation' AND len(coalesce(a.predicates, [])) = 0
            THEN 'unclear' END],
      [word.name FOR word IN [
         {'name': 'signature', 'pattern': '*cncf.notary.signature*'},
         {'name': 'signature', 'pattern': '*dev.cosign.simplesigning*'},
         {'name': 'signature', 'pattern': '*dev.cosign.artifact.sig*'},
         {'name': 'signature', 'pattern': '*dev.sigstore.bundle*'},
         {'name': 'attestation', 'pattern': '*dev.sigstore.bundle*'},
         {'name': 'sbom', 'pattern': '*spdx*'},
         {'name': 'sbom', 'pattern': '*cyclonedx*'},
         {'name': 'sbom', 'pattern': '*syft*'},
         {'name': 'attestation', 'pattern': '*in-toto*'},
         {'name': 'provenance', 'pattern': '*slsa*'},
         {'name': 'provenance', 'pattern': '*provenance*'}
       ] IF a.artifact_type GLOB word.pattern],
      flatten([[word.name FOR word IN [
         {'name': 'sbom', 'pattern': '*spdx*'},
         {'name': 'sbom', 'pattern': '*cyclonedx*'},
         {'name': 'sbom', 'pattern': '*syft*'},
         {'name': 'provenance', 'pattern': '*provenance*'}
       ] IF lower(predicate) GLOB word.pattern] FOR predicate IN a.predicates])))"""

# `name` is the repository with its registry. Microseconds since 1970 are `_us`.
SUBJECTS = f"""
SELECT kind, reference, registry, repository, tag, digest, failure, detail,
       coalesce(registry || '/' || repository, reference) AS name,
       artifact_type, architectures, size, annotations, access, audited_at,
       platforms_left_out, signed, has_sbom, has_provenance, warnings,
       list_distinct(flatten([map_keys(p.config.labels) FOR p IN platforms]))
         AS label_names,
       epoch_us(TRY_CAST(audited_at AS TIMESTAMPTZ)) AS audited_us,
       list_distinct(list_concat(
         [media_type],
         [p.media_type FOR p IN platforms],
         flatten([[l.media_type FOR l IN p.layers] FOR p IN platforms])
       )) AS media_types,
       [{{
         'name': coalesce(nullif({platform_name("p")}, ''), 'the artifact'),
         'digest': p.digest,
         'size': p.size,
         'layers': [l.digest FOR l IN p.layers],
         'labels': p.config.labels,
         'bases': [base FOR base IN [p.base.name, p.base.digest] IF base IS NOT NULL],
         'configured': p.config IS NOT NULL,
         'user': p.config.user,
         'created_us': [us FOR us IN
            [epoch_us(TRY_CAST(coalesce(p.created, annotated) AS TIMESTAMPTZ))]
            IF us >= epoch_us(TIMESTAMP '{FIRST_CREATED}')][1]
       }} FOR p IN platforms] AS parts,
       [{{'subject': a.subject, 'words': {_WORDS}}} FOR a IN attachments] AS attached
FROM (SELECT *, map_extract(annotations, '{CREATED}')[1] AS annotated FROM lines)"""  # noqa: S608  (every part is a constant of this file)
