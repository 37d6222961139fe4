"""A plan and the protected digests as tables, JSON lines, CSV or lists of digests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from auditor.analysis.cleanup.inventory import StorageScope
from auditor.analysis.cleanup.plan import (
    Bound,
    CleanupPlan,
    Deletion,
    Outcome,
    PlanTotals,
    RunningImage,
)
from auditor.analysis.cleanup.protection import (
    ProtectedDigest,
    Protection,
    ProtectionTotals,
)
from auditor.analysis.cleanup.rehearsal import Collects, DeleteBy
from auditor.analysis.csv_lines import csv_rows
from auditor.analysis.text_tables import (
    TitledTable,
    code_column,
    count_column,
    result_lines,
    size_column,
    text_column,
)
from auditor.util.terminal import PIPE, Screen
from auditor.util.text import format_size, pluralize, safe_text

# References that are not in the report, of which examples are printed.
_EXAMPLES = 3


def plan_lines(
    plan: CleanupPlan, form: str, limit: int, screen: Screen = PIPE
) -> Iterator[str]:
    """The lines of `cleanup plan --format table|jsonl|csv|markdown`.

    JSON lines have every row, then the totals; CSV has the deletions. `limit` is the
    maximum number of rows per table in the other formats, 0 for all.
    """
    if form == "csv":
        return csv_rows(Deletion, plan.deletions())
    return result_lines(
        form,
        summary=plan_summary(plan),
        tables=_tables(plan, limit),
        documents=_documents(plan),
        screen=screen,
    )


def protection_lines(
    protection: Protection, form: str, limit: int, screen: Screen = PIPE
) -> Iterator[str]:
    """The lines of `cleanup protect --format table|jsonl|csv|digests`."""
    if form == "digests":
        return (
            safe_text(f"{one.registry}/{one.repository}@{one.digest}", 1000)
            for one in protection.digests()
        )
    if form == "csv":
        return csv_rows(ProtectedDigest, protection.digests())
    totals = protection.totals
    table = TitledTable(
        title="digests that must stay",
        columns=(
            code_column("repository", lambda one: f"{one.registry}/{one.repository}"),
            code_column("digest"),
            text_column("role"),
            code_column("needed by", "needed_by"),
            count_column("and others", "others"),
        ),
        rows=tuple(protection.digests(limit=limit)) if form == "table" else (),
        total=totals.digests,
    )
    return result_lines(
        "text" if form == "table" else form,
        summary=protection_summary(totals),
        tables=[table],
        documents=_protection_documents(protection),
        screen=screen,
    )


def protection_summary(totals: ProtectionTotals) -> Iterator[str]:
    """What is protected, and what is not known."""
    yield (
        f"{_count(totals.digests, 'digest')} of"
        f" {_count(totals.repositories, 'repository', 'repositories')} must stay;"
        f" nothing needs {_count(totals.unprotected, 'manifest')} of the report"
    )
    if totals.failures:
        yield (
            f"incomplete: {_count(totals.failures, 'reference')} could not be audited;"
            " what these need is not protected"
        )
    if totals.unexamined:
        yield (
            f"incomplete: {_count(totals.unexamined, 'image')} were not, or not fully,"
            " searched for attachments, which are not protected; audit with"
            " --attachments all"
        )
    if totals.running_unknown:
        yield (
            f"incomplete: {_count(totals.running_unknown, 'running reference')} could"
            " not be audited; what these run may be missing"
        )
    if totals.unread:
        yield (
            f"incomplete: {_count(totals.unread, 'manifest')} were not read; their"
            " configs and layers are not protected"
        )


def _protection_documents(protection: Protection) -> Iterator[object]:
    yield from protection.digests()
    yield protection.totals


# -- the plan --


def _documents(plan: CleanupPlan) -> Iterator[object]:
    yield from plan.deletions()
    yield from plan.broken_indexes()
    yield from plan.lost_tags()
    yield from plan.running()
    yield from plan.left_behind()
    yield from plan.repositories()
    yield plan.totals


_FREES = {
    Bound.EXACT: "frees {}",
    Bound.AT_LEAST: "frees at least {}",
    Bound.AT_MOST: "frees at most {}",
    Bound.ESTIMATE: "may free about {}",
}


def plan_summary(plan: CleanupPlan) -> Iterator[str]:
    """What is freed, what is assumed, what would break and what is unknown."""
    totals = plan.totals
    frees = _FREES[totals.bound].format(format_size(totals.freed))
    yield (
        f"deleting {_count(totals.deletions, 'reference')} {frees} of"
        f" {format_size(totals.stored)}: {_count(totals.manifests, 'manifest')},"
        f" {_count(totals.blobs, 'blob')}. Nothing was deleted."
    )
    yield f"assumed: {_assumptions(totals)}"
    if totals.garbage:
        fewer = totals.failures or totals.unread_left or totals.unread_attachments
        most = "at most " if fewer else ""
        yield (
            f"a garbage collection also frees {most}{format_size(totals.garbage)} that"
            " nothing needs today"
        )
    yield from _dangers(plan)
    yield from _unknowns(totals)
    yield from _other_unknowns(plan)
    yield from plan.notices


def _assumptions(totals: PlanTotals) -> str:
    deletes = {
        DeleteBy.TAG: "deleting a tag removes the tag alone (--delete-by tag)",
        DeleteBy.LAST_TAG: "deleting the last tag of a manifest removes the manifest"
        " (--delete-by last-tag)",
        DeleteBy.DIGEST: "deleting a tag removes its manifest with all its tags"
        " (--delete-by digest)",
    }
    collects = {
        Collects.UNTAGGED: "garbage collection removes untagged manifests"
        " (--collects untagged)",
        Collects.DELETED: "garbage collection keeps untagged manifests"
        " (--collects deleted)",
    }
    stores = {
        StorageScope.REGISTRY: "a blob is stored once for all repositories"
        " (--storage registry)",
        StorageScope.REPOSITORY: "each repository stores its own blobs"
        " (--storage repository)",
    }
    return (
        f"{deletes[totals.delete_by]}; {collects[totals.collects]};"
        f" {stores[totals.storage]}; the report has every tag of the registry"
    )


def _dangers(plan: CleanupPlan) -> Iterator[str]:
    totals = plan.totals
    if totals.broken_indexes:
        yield (
            f"danger: {_count(totals.broken_indexes, 'child', 'children')} of indexes"
            " that stay would be deleted; these can then not be pulled"
        )
    if totals.lost_tags:
        yield (
            f"danger: {_count(totals.lost_tags, 'tag')} that"
            f" {_is(totals.lost_tags)} not to be deleted would go with"
            f" {_is(totals.lost_tags, 'its', 'their')}"
            f" {pluralize(totals.lost_tags, 'digest')}"
        )
    if totals.running:
        yield f"danger: {_count(totals.running, 'running image')} would go"
    if totals.missing:
        yield (
            f"{_count(totals.missing, 'reference')} to be deleted"
            f" {_is(totals.missing)} not in the report, or could not be audited:"
            f" {_examples(plan.missing(limit=_EXAMPLES), totals.missing)}"
        )
    if totals.left_behind:
        yield (
            f"{_count(totals.left_behind, 'attachment')} (signatures, SBOMs) of what"
            " goes would be left behind; --with-attachments deletes those that have"
            " tags"
        )


def _unknowns(totals: PlanTotals) -> Iterator[str]:
    if totals.failures:
        listings = ""
        if totals.listings:
            listings = f", among them {_count(totals.listings, 'listing')}"
        yield (
            f"at most: {_count(totals.failures, 'reference')} could not be"
            f" audited{listings}; what these need stays"
        )
    if totals.unread_left:
        yield (
            f"at most: the layers of {_count(totals.unread_left, 'manifest')} that"
            f" {_is(totals.unread_left, 'stays', 'stay')} are not in the report"
        )
    if totals.unread_attachments:
        yield (
            f"at most: {_count(totals.unread_attachments, 'attachment')} that"
            f" {_is(totals.unread_attachments, 'stays', 'stay')} were not read; audit"
            " with --attachments all"
        )
    if totals.unread:
        yield (
            f"at least: the layers of {_count(totals.unread, 'manifest')} that"
            f" {_is(totals.unread, 'goes', 'go')} are not in the report"
        )
    if totals.unsized:
        yield f"at least: the size of {_count(totals.unsized, 'blob')} is unknown"
    if totals.unexamined:
        yield (
            f"at least: {_count(totals.unexamined, 'image')} that go were not searched"
            " for attachments; audit with --attachments all"
        )
    if totals.kept_unconfirmed:
        yield (
            f"at least: {_count(totals.kept_unconfirmed, 'attachment')} that stay for"
            " their subject go if the registry does not have the referrers API"
        )


def _other_unknowns(plan: CleanupPlan) -> Iterator[str]:
    """What is unknown besides the bytes."""
    totals = plan.totals
    if totals.hidden_tags:
        yield (
            f"{_count(totals.hidden_tags, 'tag')} of attachments"
            f" {_is(totals.hidden_tags)} not in the report and stay"
        )
    if totals.kept_unknown:
        yield (
            f"{_count(totals.kept_unknown, 'tag')} {_is(totals.kept_unknown)} kept"
            ' because a time is unknown (unknown = "delete" in the rule deletes them)'
        )
    if totals.running_unknown:
        yield (
            f"danger: {_count(totals.running_unknown, 'running reference')} could not"
            " be audited, and may run what goes"
        )
    if totals.running_elsewhere:
        yield (
            f"{_count(totals.running_elsewhere, 'running reference')} that"
            f" {_is(totals.running_elsewhere)} not found or of other registries could"
            " not be audited"
        )
    if totals.running_absent:
        names = _examples(plan.running_absent(limit=_EXAMPLES), totals.running_absent)
        collected = "danger: " if totals.collects is Collects.UNTAGGED else ""
        yield (
            f"{collected}of {_count(totals.running_absent, 'running image')} the"
            " manifest is not in the report: no tag names it any more, or its"
            " repository was not audited"
            f"{', and garbage collection may remove it' if collected else ''}: {names};"
            " auditor cleanup protect --running lists the digests"
        )
    if totals.running_gone:
        yield (
            f"{_count(totals.running_gone, 'running image')}"
            f" {_is(totals.running_gone)} not in the registry any more: the next pull"
            " by digest fails"
        )
    if not totals.untagged:
        stays = totals.collects is Collects.DELETED
        yield (
            f"{'at most: ' if stays else ''}the report has no untagged manifests"
            f"{', which stay with their layers' if stays else ''}: where the registry"
            " lists them, audit with --untagged"
        )


def _examples(names: Sequence[str], total: int) -> str:
    """The first of many references."""
    more = total - len(names)
    shown = ", ".join(map(safe_text, names))
    return shown + (f" and {more:,} more" if more > 0 else "")


def _count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number:,} {pluralize(number, singular, plural)}"


def _is(number: int, singular: str = "is", plural: str = "are") -> str:
    return singular if number == 1 else plural


def _tables(plan: CleanupPlan, limit: int) -> Iterator[TitledTable]:
    totals = plan.totals
    if totals.broken_indexes:
        yield TitledTable(
            title="indexes that lose a child",
            columns=(
                code_column("index", "reference"),
                code_column("child"),
                code_column("deleted as", "deleted"),
            ),
            rows=tuple(plan.broken_indexes(limit=limit)),
            total=totals.broken_indexes,
        )
    if totals.lost_tags:
        yield TitledTable(
            title="tags that go with a digest",
            columns=(
                code_column("tag", "reference"),
                code_column("deleted as", "deleted"),
                code_column("digest"),
            ),
            rows=tuple(plan.lost_tags(limit=limit)),
            total=totals.lost_tags,
        )
    if totals.running:
        yield TitledTable(
            title="running images that go",
            columns=(
                code_column("runs", "running"),
                text_column("loses its", "loses"),
                text_column("used by", _used_by),
                code_column("deleted as", "deleted"),
                code_column("digest"),
            ),
            rows=tuple(plan.running(limit=limit)),
            total=plan.running_count,
        )
    yield TitledTable(
        title="deletions",
        columns=(
            code_column("reference"),
            text_column("manifest", _outcome),
            size_column("frees alone", "freed_alone"),
            size_column("frees", "freed"),
            size_column("size"),
            code_column("the rest stays for", "shared_with"),
        ),
        rows=tuple(plan.deletions(limit=limit)),
        total=totals.deletions,
        note="frees alone: what no other deletion needs; frees: together with others",
    )
    if totals.left_behind:
        yield TitledTable(
            title="attachments left behind",
            columns=(
                code_column("attachment", "reference"),
                code_column("of", "subject"),
                size_column("size"),
            ),
            rows=tuple(plan.left_behind(limit=limit)),
            total=totals.left_behind,
        )
    yield TitledTable(
        title="repositories",
        columns=(
            code_column("repository", lambda one: f"{one.registry}/{one.repository}"),
            size_column("freed"),
            size_column("in no other", "freed_alone"),
            count_column("manifests"),
            count_column("deletions"),
            count_column("tags left", "tags_left"),
        ),
        rows=tuple(plan.repositories(limit=limit)),
        total=plan.repository_count,
    )


def _used_by(image: RunningImage) -> str | None:
    more = image.used_by_count - 1
    return image.used_by and image.used_by + (f" and {more:,} more" if more > 0 else "")


def _outcome(deletion: Deletion) -> str:
    others = f" and {deletion.kept_by_count - 1:,} more"
    more = others if deletion.kept_by_count > 1 else ""
    match deletion.outcome:
        case Outcome.REMOVED:
            return "goes: its only name" if deletion.only_name else "goes"
        case Outcome.KEPT_BY_TAG:
            return f"stays for {deletion.kept_by}{more}"
        case Outcome.KEPT_BY_INDEX:
            return f"stays in the index {deletion.kept_by}{more}"
        case Outcome.KEPT_BY_SUBJECT:
            return f"stays attached to {deletion.kept_by}{more}"
        case Outcome.KEPT_UNTAGGED:
            return "stays, untagged"
