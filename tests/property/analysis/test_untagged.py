"""The view `untagged` against a slow search from every record that is needed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from auditor.analysis.layers import open_layer_inventory
from auditor.analysis.report_views import open_reports
from auditor.errors import FailureKind
from auditor.model import (
    Attachment,
    AttachmentKind,
    ChildManifest,
    ContentKind,
    FailureRecord,
    ImageRecord,
    Record,
    Warn,
    WarningCode,
)
from tests.examples import examples
from tests.manifests import digest
from tests.records import failure, image, layer, platform
from tests.reports import write_report

DIGITS = "123456"
PARTS = Warn(code=WarningCode.PARTS_LEFT_OUT, detail="a part is left out")
REPOSITORIES = ("team/a", "team/b")


def record(
    repository: str,
    digit: str,
    *,
    tag: str | None,
    children: Sequence[str],
    attached: Sequence[str],
    nested: Sequence[str],
    subject: str | None,
    content: ContentKind,
    left_out: bool,
) -> ImageRecord:
    name = f"r.example.com/{repository}"
    return image(
        reference=f"{name}:{tag}" if tag else f"{name}@{digest(digit)}",
        repository=repository,
        tag=tag,
        digest=digest(digit),
        untagged=tag is None,
        content=content,
        platforms=tuple(
            platform(one, layers=(layer(one, 10),)) for one in children or [digit]
        ),
        other_children=tuple(
            ChildManifest(digest=digest(one), media_type=None, size=1) for one in nested
        ),
        subject=subject and digest(subject),
        warnings=(PARTS,) * left_out,
        attachments=tuple(
            Attachment(
                kind=AttachmentKind.SBOM,
                artifact_type=None,
                digest=digest(one),
                subject=digest(digit),
                predicates=None,
            )
            for one in attached
        ),
    )


@st.composite
def reports(draw: st.DrawFn) -> list[Record]:
    """Records of two repositories; what a manifest needs has a smaller digit."""
    found: list[Record] = []
    for repository in REPOSITORIES:
        for number, digit in enumerate(DIGITS):
            if not draw(st.booleans()):
                continue
            before = st.lists(st.sampled_from(DIGITS[: number or 1]), max_size=2)
            found.append(
                record(
                    repository,
                    digit,
                    tag=draw(st.sampled_from([None, None, f"tag-{digit}"])),
                    children=draw(before) if number else [],
                    attached=draw(before) if number else [],
                    content=draw(
                        st.sampled_from([ContentKind.IMAGE, ContentKind.ATTACHMENT])
                    ),
                    nested=draw(before) if number else [],
                    subject=draw(st.sampled_from([None, None, *DIGITS])),
                    left_out=draw(st.sampled_from([False] * 9 + [True])),
                )
            )
    places = [*REPOSITORIES, "team/*", "team/b*", "other/**"]
    for place in draw(st.lists(st.sampled_from(places), max_size=1)):
        kinds = [FailureKind.DENIED, FailureKind.VANISHED, FailureKind.NOT_FOUND]
        kind = draw(st.sampled_from(kinds))
        found.append(failure(repository=place, failure=kind))
    return draw(st.permutations(found))


def expected(found: Sequence[Record]) -> dict[str, bool | None]:
    """Whether each untagged manifest is unused, by a search without SQL."""
    answers: dict[str, bool | None] = {}
    for repository in REPOSITORIES:
        here = [
            one
            for one in found
            if isinstance(one, ImageRecord) and one.repository == repository
        ]
        needs = [(one.digest, part) for one in here for part in parts_of(one)]
        needs += [(one.subject, one.digest) for one in here if one.subject]
        needed = {one.digest for one in here if not one.untagged}
        while more := {part for one, part in needs if one in needed} - needed:
            needed |= more
        has_gap = any(one.warnings for one in here) or any(
            isinstance(one, FailureRecord)
            and one.failure is FailureKind.DENIED
            and one.repository is not None
            and fnmatchcase(repository, one.repository)
            for one in found
        )
        for one in here:
            is_lost = one.content is ContentKind.ATTACHMENT and one.digest not in {
                part for _, part in needs
            }
            if one.untagged and one.digest in needed:
                answers[one.reference] = False
            elif one.untagged:
                answers[one.reference] = None if has_gap or is_lost else True
    return answers


def parts_of(one: ImageRecord) -> set[str]:
    parts = {part.digest for part in one.platforms}
    parts |= {part.digest for part in one.attachments}
    parts |= {part.digest for part in one.other_children}
    return parts - {one.digest}


@examples(40)
@given(reports())
def test_a_manifest_is_unused_only_if_no_tag_leads_to_it(found: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = write_report(Path(folder) / "r.jsonl", [*found, image()])
        with open_reports([report], views=("untagged",)) as connection:
            rows = connection.execute("SELECT reference, unused FROM untagged")
            assert dict(rows.fetchall()) == expected(found)
        with open_layer_inventory([report]) as inventory:
            totals = inventory.totals
    unused = expected(found)
    assert totals.untagged == len(unused)
    assert totals.untagged_unused == list(unused.values()).count(True)
    assert totals.untagged_unknown == list(unused.values()).count(None)
    # The layers of the image that is in every report.
    layers = {True: set[str](), False: {digest("1"), digest("2")}}
    for one in found:
        if isinstance(one, ImageRecord):
            is_unused = unused.get(one.reference) is True
            layers[is_unused] |= {part.digest for part in one.platforms}
    assert totals.untagged_size == 10 * len(layers[True] - layers[False])
