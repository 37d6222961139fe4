"""What a clean-up frees, against a slow calculation on sets of manifests."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

from hypothesis import event, given
from hypothesis import strategies as st

from auditor.analysis.cleanup.inventory import StorageScope
from auditor.analysis.cleanup.plan import Bound, Deletion, Outcome, open_plan
from auditor.analysis.cleanup.protection import Role, open_protection
from auditor.analysis.cleanup.rehearsal import Collects, DeleteBy, Semantics
from auditor.analysis.cleanup.selection import DeletionChoice
from auditor.oci.reference import parse_reference
from tests.cleanup_stores import (
    HOST,
    REPOSITORIES,
    Made,
    Store,
    below,
    cosign_tag,
    digest,
    living,
    records,
)
from tests.examples import examples
from tests.reports import write_report


@st.composite
def stores(draw: st.DrawFn) -> Store:
    """Images, indexes (also nested) and attachments that share blobs."""
    store = Store()
    for repository in REPOSITORIES:
        made = store.manifests[repository]
        images = draw(st.sets(st.sampled_from("abcd"), min_size=1))
        for name in sorted(images):
            layers = draw(st.sets(st.integers(1, 4), max_size=3))
            # The same name is the same manifest in both repositories.
            other = store.manifests[REPOSITORIES[0]].get(name)
            made[name] = other or Made(
                name,
                100 + ord(name),
                ((f"config {name}", 7), *((f"layer {n}", 1000 * n) for n in layers)),
            )
        for name in draw(st.sets(st.sampled_from("xyz"))):
            children = draw(st.sets(st.sampled_from(sorted(images)), min_size=1))
            unique = f"{name} {repository}"
            made[unique] = Made(unique, 50, children=tuple(sorted(children)))
        if draw(st.booleans()) and (indexes := [n for n in made if made[n].children]):
            unique = f"nested {repository}"
            made[unique] = Made(unique, 60, children=(indexes[0],))
        for subject in draw(st.sets(st.sampled_from(sorted(made)))):
            unique = f"sbom of {subject} {repository}"
            blobs = ((f"blob {unique}", 33), ("empty", 2))
            made[unique] = Made(unique, 70, blobs, subject=subject)
            if draw(st.booleans()):
                signature = f"signature of {unique}"
                made[signature] = Made(signature, 71, (("empty", 2),), subject=unique)
        named = draw(
            st.dictionaries(
                st.sampled_from("1234"), st.sampled_from(sorted(made)), min_size=1
            )
        )
        for tag, name in named.items():
            store.tags[repository, tag] = name
        for subject in draw(st.sets(st.sampled_from(sorted(made)), max_size=2)):
            unique = f"cosign of {subject} {repository}"
            made[unique] = Made(unique, 80, ((f"blob {unique}", 44),), about=subject)
            store.tags[repository, cosign_tag(subject)] = unique
    return store


# -- the slow calculation --


def blobs_of(
    store: Store, alive: dict[str, set[str]], *, by_repository: bool
) -> dict[tuple[str, str], int]:
    found = {}
    for repository, names in alive.items():
        place = repository if by_repository else ""
        for name in names:
            made = store.manifests[repository]
            # An index needs the bytes of all that it lists, even of what was deleted.
            for part in (name, *below(made, name)):
                found[place, part] = made[part].size
            found |= {(place, one): size for one, size in made[name].blobs}
    return found


def expected(
    store: Store, doomed: set[tuple[str, str]], semantics: Semantics
) -> tuple[dict[tuple[str, str], int], dict[str, set[str]]]:
    """The blobs that are freed, and what lives in each repository."""
    before: dict[str, set[str]] = {}
    after: dict[str, set[str]] = {}
    for repository, made in store.manifests.items():
        tags = {tag: n for (place, tag), n in store.tags.items() if place == repository}
        gone = {n for tag, n in tags.items() if (repository, tag) in doomed}
        left = {n for tag, n in tags.items() if (repository, tag) not in doomed}
        deleted = {
            DeleteBy.TAG: set(),
            DeleteBy.LAST_TAG: gone - left,
            DeleteBy.DIGEST: gone,
        }[semantics.delete_by]
        if semantics.collects is Collects.DELETED:
            before[repository], after[repository] = set(made), set(made) - deleted
        else:
            before[repository] = living(made, set(tags.values()), set())
            after[repository] = living(made, left, deleted)
    by_repository = semantics.storage is StorageScope.REPOSITORY
    needed = blobs_of(store, after, by_repository=by_repository)
    return (
        {
            key: size
            for key, size in blobs_of(
                store, before, by_repository=by_repository
            ).items()
            if key not in needed
        },
        after,
    )


SEMANTICS = [
    Semantics(delete_by=by, collects=collects, storage=storage)
    for by in DeleteBy
    for collects in Collects
    for storage in StorageScope
]


@examples(40)
@given(
    store=stores(),
    semantics=st.sampled_from(SEMANTICS),
    chance=st.randoms(use_true_random=False),
)
def test_what_a_clean_up_frees_is_what_nothing_needs_any_more(
    store: Store, semantics: Semantics, chance: Random
) -> None:
    doomed = {key for key in store.tags if chance.random() < 0.5}
    doomed = doomed or {next(iter(store.tags))}
    freed, after = expected(store, doomed, semantics)
    event(f"frees {'something' if freed else 'nothing'}")
    selectors = [
        parse_reference(f"{HOST}/{repository}:{tag}") for repository, tag in doomed
    ]
    with tempfile.TemporaryDirectory() as folder:
        report = write_report(Path(folder, "report.jsonl"), records(store))
        with open_plan(
            [report], selection=DeletionChoice(selectors=selectors), semantics=semantics
        ) as plan:
            deletions = {one.reference: one for one in plan.deletions()}
            broken = {(one.digest, one.child) for one in plan.broken_indexes()}
            lost = {one.reference for one in plan.lost_tags()}
            totals = plan.totals
    deleted = {(key[0], store.tags[key]) for key in doomed}
    assert lost == {
        f"{HOST}/{repository}:{tag}"
        for (repository, tag), name in store.tags.items()
        if semantics.delete_by is DeleteBy.DIGEST
        and (repository, tag) not in doomed
        and (repository, name) in deleted
    }
    if totals.unread_left:
        # A nested index stays, and only the record of what was above it has its list.
        assert semantics.collects is Collects.DELETED
        assert totals.freed >= sum(freed.values())
        assert (totals.bound, totals.is_safe) == (Bound.AT_MOST, False)
    else:
        assert totals.freed == sum(freed.values())
        assert totals.blobs == len(freed)
        unlisted = semantics.collects is Collects.DELETED and not totals.untagged
        assert totals.bound is (Bound.AT_MOST if unlisted else Bound.EXACT)
    assert totals.deletions == len(doomed)
    for repository, tag in doomed:
        _check_deletion(
            deletions[f"{HOST}/{repository}:{tag}"], store, (repository, tag), after
        )
    # What a nested index lists is in the record of the index above it.
    recorded = {one.digest for one in records(store)}
    assert broken == {
        (digest(name), digest(child))
        for repository, names in after.items()
        for name in names
        if digest(name) in recorded
        for child in below(store.manifests[repository], name) - names
    }


def _check_deletion(
    found: Deletion,
    store: Store,
    key: tuple[str, str],
    after: dict[str, set[str]],
) -> None:
    name = store.tags[key]
    assert found.digest == digest(name)
    assert (found.outcome is Outcome.REMOVED) == (name not in after[key[0]])
    same = [one for one in store.tags.items() if one[0][0] == key[0] and one[1] == name]
    assert found.only_name == (len(same) == 1)
    assert 0 <= found.freed_alone <= found.freed <= found.size


@examples(20)
@given(store=stores())
def test_what_must_stay_is_what_a_collection_of_untagged_manifests_keeps(
    store: Store,
) -> None:
    expected = {}
    for repository, made in store.manifests.items():
        named = {n for (place, _), n in store.tags.items() if place == repository}
        for name in living(made, named, set()):
            expected[repository, digest(name)] = name in named
    with tempfile.TemporaryDirectory() as folder:
        report = write_report(Path(folder, "report.jsonl"), records(store))
        with open_protection([report]) as protection:
            rows = list(protection.digests())
            totals = protection.totals
    found = {(one.repository, one.digest): one.role is Role.TAG for one in rows}
    assert found == expected
    every = sum(map(len, store.manifests.values()))
    assert totals.digests == len(expected) == every - totals.unprotected
