"""Checks with a limit: sizes, layers, age."""

from __future__ import annotations

from auditor.analysis.check.check import Check
from auditor.analysis.check.rule_values import AGE, COUNT, SIZE

_NO_SIZES = "schema 1 and missing manifests give no sizes"

CHECKS = (
    Check(
        name="max_size",
        value=SIZE,
        summary="All platforms of an image together have at most these bytes,"
        " compressed, shared layers counted once.",
        sentence="is larger than {limit}:",
        found="CASE WHEN size > $value THEN [formatReadableDecimalSize(size)] END",
        unknown="CASE WHEN size IS NULL THEN ['its size'] END",
        hint=_NO_SIZES,
    ),
    Check(
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
    Check(
        name="max_layers",
        value=COUNT,
        summary="Each platform of an image has at most this many layers.",
        sentence="has more than {limit} layers:",
        found="""
        [p.name || ' ' || len(p.layers) FOR p IN parts IF len(p.layers) > $value]""",
        unknown="['the layers of ' || p.name FOR p IN parts IF p.layers IS NULL]",
        hint="the registry does not have this platform's manifest",
    ),
    Check(
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
