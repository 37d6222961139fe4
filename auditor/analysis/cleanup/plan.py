"""The plan of a clean-up: each deletion with what it frees, and what it would break."""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from auditor.analysis.cleanup.inventory import StorageScope, load_inventory
from auditor.analysis.cleanup.keep_rules import (
    KeepRule,
    apply_keep_rules,
    unmatched_patterns,
)
from auditor.analysis.cleanup.plan_sql import (
    NONE_RUNNING,
    PLAN_TABLES,
    RUNNING_ABSENT,
    RUNNING_IMAGES,
    RUNNING_NODES,
    TOTALS,
)
from auditor.analysis.cleanup.rehearsal import (
    Collects,
    DeleteBy,
    Semantics,
    add_needed,
    rehearse,
)
from auditor.analysis.cleanup.selection import (
    DeletionChoice,
    add_attachment_tags,
    create_selection,
    reference_query,
    select,
)
from auditor.analysis.completeness import check_not_empty, several_days
from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.analysis.query import lock_reports
from auditor.analysis.report_views import (
    add_reports,
    open_reports,
    report_paths,
)
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA

if TYPE_CHECKING:
    import duckdb


# Attachments of attachments that `with_attachments` deletes.
MAX_ATTACHMENT_ROUNDS = 4


class Outcome(StrEnum):
    """What becomes of the manifest that a deleted reference names."""

    REMOVED = "removed"
    KEPT_BY_TAG = "kept_by_tag"
    KEPT_BY_INDEX = "kept_by_index"
    KEPT_BY_SUBJECT = "kept_by_subject"
    KEPT_UNTAGGED = "kept_untagged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A reference that would be deleted.

    - `rule`: the keep-rule that covers it and does not keep it
    - `kept_by`, `kept_by_count`: another reference that keeps its manifest, and their
      number
    - `only_name`: whether no other tag names its digest
    - `size`: bytes of its manifests, configs and layers, with what only its index lists
    - `freed`: bytes of those that nothing needs afterwards
    - `freed_alone`: bytes of those that no other deleted digest has
    - `shared_with`: a reference that keeps the largest one that stays
    - `unsized`: freed blobs of unknown size
    - `unread`: manifests whose blobs are unknown
    """

    schema: int = SCHEMA
    kind: str = "deletion"
    reference: str
    registry: str
    repository: str
    tag: str | None
    digest: str
    rule: str | None
    outcome: Outcome
    kept_by: str | None
    kept_by_count: int
    only_name: bool
    size: int
    freed: int
    freed_alone: int
    shared_with: str | None
    unsized: int
    unread: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenIndex:
    """An index that stays and loses a child. `reference` names the index."""

    schema: int = SCHEMA
    kind: str = "broken_index"
    reference: str
    digest: str
    child: str
    deleted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LostTag:
    """A tag that was not to be deleted, and goes with its digest.

    `deleted` is a deleted reference of the same digest.
    """

    schema: int = SCHEMA
    kind: str = "lost_tag"
    reference: str
    digest: str
    deleted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftBehind:
    """An attachment that stays of a manifest that goes, and the bytes of its blobs."""

    schema: int = SCHEMA
    kind: str = "left_behind"
    reference: str
    digest: str
    subject: str
    size: int


class Loss(StrEnum):
    """What a running image loses.

    `COPY`: its digest, or its repository and tag, runs under the name of another
    registry, which is not in the report: a mirror may get it here.
    """

    DIGEST = "digest"
    TAG = "tag"
    COPY = "copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningImage:
    """An image that runs and goes.

    - `deleted`: a deleted reference; None if no tag names the image any more, so that a
      garbage collection removes it
    - `running`: the reference that runs
    - `loses`: its manifest (`digest`), or the tag that it runs by (`tag`); `copy`: the
      same digest, or repository and tag, runs under the name of another registry
    - `used_by`, `used_by_count`: the first place that the running report knows of, such
      as a namespace and a workload, and their number
    """

    schema: int = SCHEMA
    kind: str = "running"
    deleted: str | None
    running: str
    digest: str
    loses: Loss
    used_by: str | None
    used_by_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPlan:
    """What goes from a repository.

    - `freed`: bytes of its blobs that are freed
    - `freed_alone`: bytes of those that no other repository of the registry had
    - `tags_left`: the tags that stay
    """

    schema: int = SCHEMA
    kind: str = "repository"
    registry: str
    repository: str
    deletions: int
    tags_left: int
    manifests: int
    freed: int
    freed_alone: int


class Bound(StrEnum):
    """How sure the freed bytes are."""

    EXACT = "exact"
    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    ESTIMATE = "estimate"  # they can be more or fewer


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTotals:
    """The last line of `--format jsonl`.

    `freed` bytes, in `blobs` blobs of `manifests` manifests, are freed by the
    deletions and the garbage collection; `bound` says how sure that is. `garbage` are
    the bytes that nothing needed before, which a garbage collection also frees.
    `stored` are the bytes of the whole report. Nothing of the report is deleted.

    Counts of what makes the bytes uncertain: `unsized` freed blobs of unknown size;
    `unread` manifests that go, `unread_left` and `unread_attachments` that stay, whose
    blobs are unknown (an attachment can share no more than its config with what goes);
    `failures` references of these registries that were not audited, `listings` of them
    listings; `unexamined` images that go and were not searched for attachments;
    `hidden_tags` tags of attachments that the report does not have. `missing` were to
    be deleted and are not in the report. `kept_unknown` tags are kept because a time is
    unknown. `kept_unconfirmed` are deletions of what stays for its subject, in
    registries that are not known to have the referrers API: without it, that goes.
    `running_unknown` running references that were not audited may run what goes;
    `running_elsewhere` others are of other registries, or were not found. Of
    `running_absent` running images of these registries the report does not have the
    manifest, which a garbage collection may remove; `running_gone` others were not in
    the registry when its manifests without a tag were listed.
    """

    schema: int = SCHEMA
    kind: str = "totals"
    delete_by: DeleteBy
    collects: Collects
    storage: StorageScope
    deletions: int
    manifests: int
    blobs: int
    freed: int
    bound: Bound
    kept_deletions: int
    only_names: int
    garbage: int
    stored: int
    broken_indexes: int
    lost_tags: int
    left_behind: int
    running: int
    missing: int
    kept_unknown: int
    unsized: int
    unread: int
    unread_left: int
    unread_attachments: int
    failures: int
    listings: int
    unexamined: int
    hidden_tags: int
    untagged: int
    kept_unconfirmed: int
    running_unknown: int
    running_elsewhere: int
    running_absent: int
    running_gone: int

    @property
    def is_safe(self) -> bool:
        """Whether nothing breaks, and what was not audited keeps no layers."""
        return not (
            self.failures
            or self.unread_left
            or self.broken_indexes
            or self.lost_tags
            or self.running
            or self.running_unknown
            or (self.running_absent and self.collects is Collects.UNTAGGED)
            or self.missing
        )


class CleanupPlan:
    """The rows of a plan; usable while its connection is open.

    `notices` are sentences about the rules, safe to print.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        semantics: Semantics,
        notices: Sequence[str] = (),
    ) -> None:
        self._connection = connection
        self.notices = notices
        (row,) = stream_rows(connection, TOTALS)
        if semantics.collects is Collects.DELETED:
            row["kept_unconfirmed"] = 0  # without its subject, it would stay, too
        bound = _bound(row, semantics.collects)
        self.totals = PlanTotals(
            delete_by=semantics.delete_by,
            collects=semantics.collects,
            storage=semantics.storage,
            bound=bound,
            **row,
        )

    def deletions(self, *, limit: int = 0) -> Iterator[Deletion]:
        """Each deleted reference, those that free most bytes alone first."""
        rows = self._rows("deletion", "freed_alone DESC, freed DESC, reference", limit)
        return (Deletion(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows)

    def broken_indexes(self, *, limit: int = 0) -> Iterator[BrokenIndex]:
        """Each living index and child that it loses."""
        rows = self._rows("broken_index", "reference, child", limit)
        return (BrokenIndex(**row) for row in rows)

    def lost_tags(self, *, limit: int = 0) -> Iterator[LostTag]:
        """Each tag that goes with the digest of another one."""
        rows = self._rows("lost_tag", "reference", limit)
        return (LostTag(**row) for row in rows)

    def left_behind(self, *, limit: int = 0) -> Iterator[LeftBehind]:
        """Each attachment that stays without its subject, the largest first."""
        rows = self._rows("left_behind", "size DESC, reference", limit)
        return (LeftBehind(**row) for row in rows)

    def running(self, *, limit: int = 0) -> Iterator[RunningImage]:
        """Each image that runs and goes."""
        rows = self._rows("running_loss", "deleted, running, loses", limit)
        return (RunningImage(**{**row, "loses": Loss(row["loses"])}) for row in rows)

    def repositories(self, *, limit: int = 0) -> Iterator[RepositoryPlan]:
        """Each repository with deletions, the most freed bytes first."""
        order = "freed DESC, deletions DESC, registry, repository"
        return (RepositoryPlan(**row) for row in self._rows("repository", order, limit))

    @property
    def running_count(self) -> int:
        """The number of rows of running images, each with what it loses."""
        return self._count("running_loss")

    @property
    def repository_count(self) -> int:
        """The number of repositories with deletions."""
        return self._count("repository")

    def running_absent(self, *, limit: int = 0) -> list[str]:
        """Running images that may be in the registry and are not in the report."""
        rows = self._rows("(FROM running_absent WHERE NOT is_gone)", "reference", limit)
        return [row["reference"] for row in rows]

    def missing(self, *, limit: int = 0) -> list[str]:
        """What was to be deleted and is not in the report."""
        rows = self._rows("wanted_missing", "reference", limit)
        return [row["reference"] for row in rows]

    def _rows(self, table: str, order: str, limit: int) -> Iterator[dict[str, Any]]:
        return stream_rows(
            self._connection,
            f"SELECT * FROM {table} ORDER BY {order}{limit_clause(limit)}",
        )

    def _count(self, table: str) -> int:
        (row,) = stream_rows(self._connection, f"SELECT count(*) AS n FROM {table}")
        return int(row["n"])


def _bound(row: dict[str, Any], collects: Collects) -> Bound:
    more = any(
        row[name] for name in ("unsized", "unread", "unexamined", "kept_unconfirmed")
    )
    # Untagged manifests that no listing named stay, and can have the same layers.
    unlisted = collects is Collects.DELETED and not row["untagged"]
    fewer = (
        row["failures"] or row["unread_left"] or row["unread_attachments"] or unlisted
    )
    if more and fewer:
        return Bound.ESTIMATE
    if fewer:
        return Bound.AT_MOST
    return Bound.AT_LEAST if more else Bound.EXACT


@contextmanager
def open_plan(
    paths: Sequence[str],
    *,
    selection: DeletionChoice | None = None,
    rules: Sequence[KeepRule] = (),
    running: Sequence[str] = (),
    with_attachments: bool = False,
    semantics: Semantics | None = None,
) -> Iterator[CleanupPlan]:
    """Plan the deletion of a selection, or of what the rules do not keep.

    `running` are reports of images that run. `with_attachments`: also delete the tags
    of attachments of manifests that go (cosign's, and the fallback tags of the
    referrers API). Raises `UsageError` for reports that
    cannot be read, and for a selection of nothing.
    """
    semantics = semantics or Semantics()
    with rehearsed(
        paths,
        selection=selection,
        rules=rules,
        running=running,
        with_attachments=with_attachments,
        semantics=semantics,
    ) as connection:
        yield make_plan(connection, semantics, rules)


def make_plan(
    connection: duckdb.DuckDBPyConnection,
    semantics: Semantics,
    rules: Sequence[KeepRule] = (),
) -> CleanupPlan:
    """The plan, from the tables of inventory, selection and rehearsal."""
    # What goes with a deleted digest.
    add_needed(connection, "family", "SELECT id FROM doomed", by_root=True)
    for statement in PLAN_TABLES:
        connection.execute(statement)
    notices = (*unmatched_patterns(connection, rules), *several_days(connection))
    return CleanupPlan(connection, semantics, notices)


@contextmanager
def rehearsed(
    paths: Sequence[str],
    *,
    selection: DeletionChoice | None = None,
    rules: Sequence[KeepRule] = (),
    running: Sequence[str] = (),
    with_attachments: bool = False,
    semantics: Semantics,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the tables of inventory, selection and rehearsal."""
    files, running_files = report_paths(paths), report_paths(running)
    queries = selection.queries if selection else ()
    views = None if queries else ()
    with open_reports(files, schema="report", views=views) as connection:
        check_not_empty(connection, "there is nothing to clean up")
        if running_files:
            add_reports(connection, running_files, schema="running", views=())
            check_not_empty(connection, "no image runs; check --running")
            connection.execute("USE report")
        lock_reports(connection, [*files, *running_files])
        if selection is not None:
            checked = [reference_query(connection, query) for query in queries]
            selection = DeletionChoice(selectors=selection.selectors, queries=checked)
        load_inventory(connection, semantics.storage)
        connection.execute(RUNNING_IMAGES if running_files else NONE_RUNNING)
        connection.execute(RUNNING_NODES)
        connection.execute(RUNNING_ABSENT)
        rehearse_deletions(
            connection,
            selection=selection,
            rules=rules,
            with_attachments=with_attachments,
            semantics=semantics,
        )
        yield connection


def rehearse_deletions(
    connection: duckdb.DuckDBPyConnection,
    *,
    selection: DeletionChoice | None,
    rules: Sequence[KeepRule],
    with_attachments: bool,
    semantics: Semantics,
) -> None:
    """Make the tables of selection and rehearsal, from those of the inventory."""
    create_selection(connection)
    if selection is not None:
        select(connection, selection)
    else:
        connection.execute("CREATE TABLE wanted_missing (reference VARCHAR)")
    if rules:
        apply_keep_rules(connection, rules)
    else:
        connection.execute("CREATE TABLE verdict (kept_unknown BOOLEAN)")
    rehearse(connection, semantics)
    # A signature can have a signature, and no more rounds than that make sense.
    for _ in range(MAX_ATTACHMENT_ROUNDS if with_attachments else 0):
        if not add_attachment_tags(connection):
            break
        rehearse(connection, semantics)
