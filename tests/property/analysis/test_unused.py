"""`unused` against a search with dictionaries, sets and loops."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from auditor.analysis.unused import find_unused
from auditor.errors import FailureKind
from auditor.model import (
    ChildManifest,
    ContentKind,
    FailureRecord,
    ImageRecord,
    Layer,
    Record,
)
from tests.examples import examples
from tests.manifests import OCI_LAYER, digest
from tests.records import failure, image, platform
from tests.reports import write_report

DIGITS = "123456"
TAGS = "xyz"
HOSTS = ("r.example.com", "mirror.example.com")
PLACES = [(host, name) for host in HOSTS for name in ("team/a", "team/b")]
Place = tuple[str, str]
TIMES = ("2026-11-01T02:00:00Z", "2026-11-02T02:00:00Z", "2026-11-03T02:00:00Z")
# Freed bytes of what is unused, the state of each image, and the layers that are freed.
Answer = tuple[dict[str, int], dict[str, str], set[str]]


def name_of(place: Place, tag: str | None, digit: str) -> str:
    return "/".join(place) + (f":{tag}" if tag else f"@{digest(digit)}")


@st.composite
def contents(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """What each digest stands for: always the same, as a digest names its content."""
    found = {}
    manifests = ""  # which are no index, and have layers
    for digit in DIGITS:
        parts = st.sampled_from(DIGITS[: DIGITS.index(digit)] or digit)
        children = draw(st.lists(st.sampled_from(manifests or digit), max_size=2))
        if not children or children == [digit]:
            manifests += digit
        # No digest names itself, also not through others.
        subjects = map(digest, DIGITS[: DIGITS.index(digit)])
        found[digit] = {
            "content": draw(
                st.sampled_from([ContentKind.IMAGE, ContentKind.ATTACHMENT])
            ),
            # Two platforms share each layer.
            "platforms": tuple(
                platform(one, layers=(Layer(
                    digest=digest("def"[int(one) % 3]), size=10,
                    media_type=OCI_LAYER),))
                for one in children or [digit]
            ),
            "other_children": tuple(
                ChildManifest(digest=digest(one), media_type=None, size=1)
                for one in draw(st.lists(parts, max_size=1))
            ),
            "subject": draw(st.sampled_from([None, None, *subjects])),
        }  # fmt: skip
    return found


@st.composite
def one_record(
    draw: st.DrawFn, made: dict[str, dict[str, Any]], *, listed: bool
) -> Record:
    place = draw(st.sampled_from(PLACES[:2] if listed else PLACES))
    digit, tag = draw(st.sampled_from(DIGITS)), draw(st.sampled_from([None, *TAGS]))
    shared: dict[str, Any] = {
        "reference": name_of(place, tag, digit),
        "registry": place[0],
        "repository": place[1],
        "tag": tag,
        "audited_at": draw(st.sampled_from(TIMES)),
    }
    if draw(st.sampled_from([False] * 5 + [True])):
        kinds = [FailureKind.NOT_FOUND, FailureKind.DENIED, FailureKind.VANISHED]
        return failure(
            **shared, digest=None if tag else digest(digit),
            failure=draw(st.sampled_from(kinds)),
        )  # fmt: skip
    return image(
        **shared,
        **made[digit],
        digest=digest(digit),
        untagged=tag is None if listed else None,
    )


@st.composite
def reports(draw: st.DrawFn) -> tuple[list[Record], list[Record]]:
    made = draw(contents())
    return (
        draw(st.lists(one_record(made, listed=True), min_size=1, max_size=12)),
        draw(st.lists(one_record(made, listed=False), min_size=1, max_size=6)),
    )


def children_of(one: ImageRecord) -> set[str]:
    parts = {part.digest for part in one.platforms}
    return (parts | {part.digest for part in one.other_children}) - {one.digest}


def expected(listed: Sequence[Record], ran: Sequence[Record]) -> Answer:
    newest: dict[str, Record] = {}
    for line in listed:
        before = newest.get(line.reference)
        if before is None or before.audited_at <= line.audited_at:
            newest[line.reference] = line
    images = [one for one in newest.values() if isinstance(one, ImageRecord)]
    every = [one for one in listed if isinstance(one, ImageRecord)]
    used_digests = {one.digest for one in ran if one.digest}
    for line in ran:
        if isinstance(line, ImageRecord):
            used_digests |= {part.digest for part in line.platforms}
    used_names = {
        (one.registry, one.repository, one.tag) for one in ran if one.tag is not None
    }
    # Also of lines that later ones replace: what a tag named before can run.
    layers_of = {
        part.digest: {layer.digest for layer in part.layers or ()}
        for one in every
        for part in one.platforms
    }
    state: dict[str, str] = {}
    # Layers of manifests that run or are used, by any name.
    kept = {
        layer.digest
        for one in ran
        if isinstance(one, ImageRecord) and one.registry == HOSTS[0]
        for part in one.platforms
        for layer in part.layers or ()
    }
    for place in PLACES:
        here = [one for one in every if (one.registry, one.repository) == place]
        edges = {(one.digest, part) for one in here for part in children_of(one)}
        edges |= {(one.subject, one.digest) for one in here if one.subject}
        nodes = {one for edge in edges for one in edge} | {one.digest for one in here}
        reached = {one for one in nodes if one in used_digests}
        reached |= {one.digest for one in here if children_of(one) & used_digests}
        reached |= {
            one.digest for one in images
            if (one.registry, one.repository) == place
            and (*place, one.tag) in used_names
        }  # fmt: skip
        while more := {part for one, part in edges if one in reached} - reached:
            reached |= more
        kept |= {layer for one in reached for layer in layers_of.get(one, ())}
        has_gap = any(
            isinstance(one, FailureRecord)
            and (one.registry, one.repository) == place
            and one.failure is FailureKind.DENIED
            for one in newest.values()
        )
        for one in images:
            if (one.registry, one.repository) != place:
                continue
            has_owner = any(part == one.digest for _, part in edges)
            is_lost = one.content is ContentKind.ATTACHMENT and not has_owner
            state[one.reference] = (
                "used" if one.digest in reached
                else "unknown" if has_gap or is_lost else "unused"
            )  # fmt: skip
    uses: dict[str, set[str]] = {}
    for one in images:
        for part in one.platforms:
            for layer in part.layers or ():
                uses.setdefault(layer.digest, set()).add(one.reference)
    layer_states = {
        layer: {state[one] for one in users if one in state}
        for layer, users in uses.items()
    }
    freed = {layer for layer, found in layer_states.items() if found == {"unused"}}
    freed -= kept
    sizes = {
        name: 10 * sum(name in uses[layer] for layer in freed)
        for name, found in state.items()
        if found == "unused"
    }
    return sizes, state, freed


@examples(60)
@given(reports())
def test_what_is_unused_is_what_a_slow_search_finds(
    both: tuple[list[Record], list[Record]],
) -> None:
    listed, ran = both
    with tempfile.TemporaryDirectory() as folder:
        registry = write_report(Path(folder) / "registry.jsonl", listed)
        running = write_report(Path(folder) / "running.jsonl", ran)
        with find_unused([registry], [running]) as usage:
            found = {one.reference: one.freed_size for one in usage.unused()}
            totals = usage.totals
    sizes, state, freed = expected(listed, ran)
    assert found == sizes
    states = list(state.values())
    for name in ("used", "unused", "unknown"):
        assert getattr(totals, name) == states.count(name)
    assert totals.freed_size == 10 * len(freed)
