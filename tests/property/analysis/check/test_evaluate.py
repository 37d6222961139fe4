"""`check` compared with plain Python, and patterns with `fnmatch`."""

from __future__ import annotations

import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

import duckdb
from hypothesis import given
from hypothesis import strategies as st

from auditor.analysis.check.rule_values import PATTERNS
from auditor.model import ImageRecord
from tests.examples import examples
from tests.policies import findings_of
from tests.records import image

REGISTRIES = ("r.io", "h.io:5000")
REPOSITORIES = ("a", "a/b", "ab/c", "b/a")
TAGS = ("1", "v1", "latest")
PIECES = (
    "*",
    "?",
    "a",
    "b",
    "/",
    "r.io",
    "h.io:5000",
    "[ab]",
    "[!a]",
    "[a-c]",
    ":",
    "1",
)

patterns = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
texts = st.text("ab/:.-1rioh50vZ", max_size=12)
some_patterns = st.lists(patterns, min_size=1, max_size=3)
all_or_some = st.just(["*"]) | some_patterns
none_or_some = st.just(["none"]) | some_patterns


@st.composite
def images(draw: st.DrawFn) -> ImageRecord:
    registry = draw(st.sampled_from(REGISTRIES))
    repository = draw(st.sampled_from(REPOSITORIES))
    tag = draw(st.sampled_from(TAGS))
    return image(
        reference=f"{registry}/{repository}:{tag}",
        registry=registry,
        repository=repository,
        tag=tag,
        size=draw(st.integers(0, 5)),
    )


def any_match(candidates: list[str], patterns: list[str]) -> bool:
    return any(fnmatchcase(text, one) for text in candidates for one in patterns)


@examples(300)
@given(text=texts, pattern=patterns)
def test_a_pattern_matches_as_in_fnmatch(text: str, pattern: str) -> None:
    assert PATTERNS.read([pattern], as_text=False) == (pattern,)
    (found,) = duckdb.execute("SELECT $1 GLOB $2", [text, pattern]).fetchone() or ()
    assert found == fnmatchcase(text, pattern)


@examples(30)
@given(
    records=st.lists(images(), max_size=8, unique_by=lambda one: one.reference),
    included=all_or_some,
    excluded=none_or_some,
    tags=all_or_some,
    waived_names=all_or_some | none_or_some,
    limit=st.integers(1, 3),
)
def test_sections_and_waivers_agree_with_a_plain_implementation(
    records: list[ImageRecord],
    included: list[str],
    excluded: list[str],
    tags: list[str],
    waived_names: list[str],
    limit: int,
) -> None:
    expected = set()
    for one in records:
        name = f"{one.registry}/{one.repository}"
        about = (
            any_match([name, one.repository], included)
            and not any_match([name, one.repository], excluded)
            and any_match([one.tag or ""], tags)
        )
        if about and (one.size or 0) > limit:
            short = one.reference.removeprefix(f"{one.registry}/")
            names = [one.reference, short, name, one.repository]
            expected.add((one.reference, any_match(names, waived_names)))
    text = f"""
[rules.a]
repositories = {included}
except = {excluded}
tags = {tags}
max_size = {limit}

[[waivers]]
rules = ["max_size"]
references = {waived_names}
reason = "x"
expires = 2099-12-31
"""
    with (
        tempfile.TemporaryDirectory() as folder,
        findings_of(Path(folder), text, records) as findings,
    ):
        found = {
            (one.reference, one.waiver is not None) for one in findings.violations()
        }
        assert found == expected
        assert findings.passed == (bool(records) and all(w for _, w in expected))
        assert findings.waived == sum(waived for _, waived in expected)
