"""The plan of a clean-up: each deletion with what it frees, and what it would break."""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from auditor.analysis.cleanup.inventory import (
    StorageScope,
    digest_of_tag,
    load_inventory,
)
from auditor.analysis.cleanup.keep_rules import KeepRule, apply_keep_rules
from auditor.analysis.cleanup.rehearsal import (
    Collects,
    DeleteBy,
    Semantics,
    rehearse,
)
from auditor.analysis.cleanup.selection import DeletionChoice, create_selection, select
from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.analysis.query import checked_select, lock_reports, query_errors
from auditor.analysis.reports import (
    add_reports,
    check_not_empty,
    open_reports,
    report_paths,
)
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA

if TYPE_CHECKING:
    import duckdb

# The sizes in hostile descriptors can add up to more than 64 bits.
MAX_BYTES = 2**63 - 1
# Names of a row's references that are given; the others are counted.
MAX_NAMES = 5


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

    `kept_by` is another reference that keeps its manifest, `kept_by_count` the number
    of them. `only_name`: no other tag names its digest. `rule` is the keep-rule that
    covers it and does not keep it. The bytes are those of its manifests, configs and
    layers, with what only its index lists: `size` of all, `freed` of those that nothing
    needs afterwards, `freed_alone` of those that no other deleted digest has.
    `shared_with` is a reference that keeps the largest one that stays. `unsized` counts
    freed blobs of unknown size, `unread` manifests whose blobs are unknown.
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
class LeftBehind:
    """An attachment that stays of a manifest that goes, and the bytes of its blobs."""

    schema: int = SCHEMA
    kind: str = "left_behind"
    reference: str
    digest: str
    subject: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningImage:
    """An image that runs and goes: its digest, or the tag that it runs by.

    `deleted` is a deleted reference; `running` is the reference that runs.
    """

    schema: int = SCHEMA
    kind: str = "running"
    deleted: str
    running: str
    digest: str
    loses: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryPlan:
    """What goes from a repository.

    `freed` are the bytes of its blobs that are freed, `freed_alone` of those that no
    other repository of the registry had. `tags_left` are the tags that stay.
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
    unknown; `running_unknown` references of the running report were not audited.
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
    running_unknown: int

    @property
    def is_safe(self) -> bool:
        """Whether nothing breaks, and what was not audited keeps no layers."""
        return not (
            self.failures
            or self.unread_left
            or self.broken_indexes
            or self.running
            or self.missing
        )


class CleanupPlan:
    """The rows of a plan; usable while its connection is open."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, semantics: Semantics
    ) -> None:
        self._connection = connection
        (row,) = stream_rows(connection, _TOTALS)
        bound = _bound(row)
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

    def left_behind(self, *, limit: int = 0) -> Iterator[LeftBehind]:
        """Each attachment that stays without its subject, the largest first."""
        rows = self._rows("left_behind", "size DESC, reference", limit)
        return (LeftBehind(**row) for row in rows)

    def running(self, *, limit: int = 0) -> Iterator[RunningImage]:
        """Each image that runs and goes."""
        rows = self._rows("running_loss", "deleted, running, loses", limit)
        return (RunningImage(**row) for row in rows)

    def repositories(self, *, limit: int = 0) -> Iterator[RepositoryPlan]:
        """Each repository with deletions, the most freed bytes first."""
        order = "freed DESC, deletions DESC, registry, repository"
        return (RepositoryPlan(**row) for row in self._rows("repository", order, limit))

    @property
    def repository_count(self) -> int:
        """The number of repositories with deletions."""
        return self._count("repository")

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


def _bound(row: dict[str, Any]) -> Bound:
    more = row["unsized"] or row["unread"] or row["unexamined"]
    fewer = row["failures"] or row["unread_left"] or row["unread_attachments"]
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
    semantics: Semantics | None = None,
) -> Iterator[CleanupPlan]:
    """Plan the deletion of a selection, or of what the rules do not keep.

    `running` are reports of images that run. Raises `UsageError` for reports that
    cannot be read, and for a selection of nothing.
    """
    semantics = semantics or Semantics()
    with rehearsed(
        paths, selection=selection, rules=rules, running=running, semantics=semantics
    ) as connection:
        for statement in _PLAN_TABLES:
            connection.execute(statement)
        yield CleanupPlan(connection, semantics)


@contextmanager
def rehearsed(
    paths: Sequence[str],
    *,
    selection: DeletionChoice | None = None,
    rules: Sequence[KeepRule] = (),
    running: Sequence[str] = (),
    semantics: Semantics,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the tables of inventory, selection and rehearsal."""
    files, running_files = report_paths(paths), report_paths(running)
    queries = selection.queries if selection else ()
    views = None if queries else ("images",)
    with open_reports(files, schema="report", views=views) as connection:
        check_not_empty(connection, "there is nothing to clean up")
        if running_files:
            add_reports(connection, running_files, schema="running", views=("images",))
            check_not_empty(connection, "no image runs; check --running")
            connection.execute("USE report")
        lock_reports(connection, [*files, *running_files])
        checked = [_checked(connection, query) for query in queries]
        load_inventory(connection, semantics.storage)
        connection.execute(_RUNNING if running_files else _NONE_RUNNING)
        create_selection(connection)
        if selection is not None:
            select(
                connection,
                DeletionChoice(
                    selectors=selection.selectors,
                    queries=checked,
                    with_attachments=selection.with_attachments,
                ),
            )
        else:
            connection.execute("CREATE TABLE wanted_missing (reference VARCHAR)")
        if rules:
            apply_keep_rules(connection, rules)
        else:
            connection.execute("CREATE TABLE verdict (kept_unknown BOOLEAN)")
        rehearse(connection, semantics)
        yield connection


def _checked(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    with query_errors(query):
        return checked_select(connection, query)[0]


# -- SQL --

# Digests that run: of images and of their platforms. A failure may run any image.
_RUNNING = """
    CREATE TABLE running_image AS
    SELECT DISTINCT reference, registry, repository, tag, digest AS image,
           unnest(CASE WHEN kind = 'failure' THEN [digest] ELSE
                  list_concat([digest], [p.digest FOR p IN platforms]) END) AS digest,
           kind = 'failure' AS failed
    FROM running.lines
    WHERE registry IS NOT NULL"""
_NONE_RUNNING = """
    CREATE TABLE running_image (reference VARCHAR, registry VARCHAR,
        repository VARCHAR, tag VARCHAR, image VARCHAR, digest VARCHAR,
        failed BOOLEAN)"""

_BYTES = f"least(coalesce(sum(size), 0), {MAX_BYTES})::BIGINT"

_PLAN_TABLES = (
    # What goes with a deleted digest: what its index lists, and what is attached.
    """CREATE TABLE family AS
       WITH root AS (SELECT DISTINCT id FROM doomed WHERE id IS NOT NULL),
       listed AS (
           SELECT id AS root, id FROM root
           UNION SELECT id, child FROM edge JOIN root ON id = parent
                 WHERE role = 'child')
       FROM listed
       UNION SELECT root, child FROM listed JOIN edge ON id = parent
             WHERE role = 'referrer'""",
    """CREATE TABLE family_blob AS
       SELECT root, scope, blob, freed_blob.blob IS NOT NULL AS is_freed,
              coalesce(freed_blob.size, blob_size.size) AS size
       FROM (SELECT DISTINCT root, scope, manifest_blob.blob
             FROM family JOIN node USING (id) JOIN manifest_blob ON manifest = digest)
            LEFT JOIN freed_blob USING (scope, blob)
            LEFT JOIN blob_size USING (blob)""",
    # A name for each living node: a tag of it or of what needs it.
    """CREATE TABLE living_name AS
       WITH own AS (SELECT id, min(reference) AS name FROM tag_left GROUP BY id),
       above AS (SELECT child AS id, min(name) AS name
                 FROM edge JOIN own ON own.id = parent
                   WHERE role <> 'tagged' GROUP BY child)
       SELECT id, coalesce(own.name, above.name,
                           concat(registry, '/', repository, '@', digest)) AS name,
              own.name IS NOT NULL AS has_tag, above.name IS NOT NULL AS has_parent
       FROM after JOIN node USING (id) LEFT JOIN own USING (id)
            LEFT JOIN above USING (id)""",
    """CREATE TABLE sharer AS
       SELECT root, min(name) AS shared_with
       FROM (SELECT root, max_by(struct_pack(scope := scope, blob := blob),
                                 row(coalesce(size, 0), blob)) AS top
             FROM family_blob WHERE NOT is_freed GROUP BY root)
            JOIN manifest_blob ON manifest_blob.blob = top.blob
            JOIN node ON node.digest = manifest AND node.scope = top.scope
            JOIN living_name ON living_name.id = node.id
       GROUP BY root""",
    f"""CREATE TABLE sums AS
        WITH users AS (
            SELECT scope, blob, count(*) AS users FROM family_blob GROUP BY ALL)
        SELECT root, {_BYTES} AS size,
               least(coalesce(sum(size) FILTER (is_freed), 0), {MAX_BYTES})::BIGINT
                 AS freed,
               least(coalesce(sum(size) FILTER (is_freed AND users = 1), 0),
                     {MAX_BYTES})::BIGINT AS freed_alone,
               count(*) FILTER (is_freed AND size IS NULL) AS unsized
        FROM family_blob JOIN users USING (scope, blob) GROUP BY root""",
    """CREATE TABLE unread_parts AS
       SELECT root, count(*) AS unread
       FROM family SEMI JOIN gone USING (id) JOIN node USING (id)
            ANTI JOIN known_manifest USING (digest)
       GROUP BY root""",
    """CREATE TABLE keeper AS
       WITH tags AS (
           SELECT id, min(reference) AS name, count(*) AS n FROM tag_left GROUP BY id),
       above AS (
           SELECT child AS id, role, min(name) AS name, count(*) AS n
           FROM edge JOIN living_name ON living_name.id = parent GROUP BY ALL)
       SELECT after.id,
              CASE WHEN tags.n > 0 THEN 'kept_by_tag'
                   WHEN lists.n > 0 THEN 'kept_by_index'
                   WHEN subjects.n > 0 THEN 'kept_by_subject'
                   ELSE 'kept_untagged' END AS outcome,
              coalesce(tags.name, lists.name, subjects.name) AS kept_by,
              coalesce(tags.n, lists.n, subjects.n, 0) AS kept_by_count
       FROM after SEMI JOIN doomed USING (id) LEFT JOIN tags USING (id)
            LEFT JOIN (FROM above WHERE role = 'child') AS lists USING (id)
            LEFT JOIN (FROM above WHERE role = 'referrer') AS subjects USING (id)""",
    """CREATE TABLE deletion AS
       WITH names AS (SELECT id, count(*) AS names FROM tag GROUP BY id)
       SELECT doomed.reference, registry, repository, doomed.tag, digest, rule,
              coalesce(keeper.outcome, 'removed') AS outcome, kept_by,
              coalesce(kept_by_count, 0) AS kept_by_count,
              doomed.tag IS NOT NULL AND names = 1 AS only_name, size, freed,
              freed_alone, CASE WHEN size > freed THEN shared_with END AS shared_with,
              unsized, coalesce(unread, 0) AS unread
       FROM doomed JOIN node USING (id) JOIN sums ON sums.root = node.id
            LEFT JOIN names USING (id) LEFT JOIN keeper USING (id)
            LEFT JOIN sharer ON sharer.root = node.id
            LEFT JOIN unread_parts ON unread_parts.root = node.id""",
    """CREATE TABLE broken_index AS
       SELECT living_name.name AS reference, parent.digest, child.digest AS child,
              min(doomed.reference) AS deleted
       FROM edge JOIN deleted_node ON deleted_node.id = edge.child
            JOIN living_name ON living_name.id = edge.parent
            JOIN node AS parent ON parent.id = edge.parent
            JOIN node AS child ON child.id = edge.child
            JOIN doomed ON doomed.id = edge.child
       WHERE role = 'child' GROUP BY ALL""",
    f"""CREATE TABLE left_behind AS
        WITH named AS (
            SELECT tag.id, registry, repository, {digest_of_tag("tag")} AS subject
            FROM tag JOIN node USING (id)),
        about AS (
            SELECT child AS id, node.digest AS subject
            FROM edge JOIN gone ON gone.id = parent JOIN node ON node.id = parent
            WHERE role <> 'child'
            UNION
            SELECT named.id, subject
            FROM named JOIN node ON node.registry = named.registry
                 AND node.repository = named.repository AND node.digest = subject
                 SEMI JOIN gone ON gone.id = node.id)
        SELECT name AS reference, digest, min(subject) AS subject, any_value(bytes)
                 AS size
        FROM about JOIN after USING (id) JOIN node USING (id)
             JOIN living_name USING (id)
             JOIN (SELECT manifest, {_BYTES} AS bytes
                   FROM manifest_blob LEFT JOIN blob_size USING (blob)
                   GROUP BY manifest) ON manifest = digest
        GROUP BY ALL""",
    """CREATE TABLE running_loss AS
       SELECT min(doomed.reference) AS deleted, running_image.reference AS running,
              node.digest, 'digest' AS loses
       FROM running_image
            JOIN node ON node.registry = running_image.registry
                 AND node.repository = running_image.repository
                 AND node.digest = running_image.digest
            SEMI JOIN gone ON gone.id = node.id
            JOIN family ON family.id = node.id JOIN doomed ON doomed.id = family.root
       GROUP BY ALL
       UNION ALL
       SELECT DISTINCT doomed.reference, running_image.reference,
              coalesce(running_image.image, node.digest), 'tag'
       FROM running_image JOIN doomed ON doomed.reference = running_image.reference
            JOIN node USING (id)
       WHERE doomed.tag IS NOT NULL""",
    f"""CREATE TABLE repository AS
        WITH deleted AS (
            SELECT registry, repository, count(*) AS deletions
            FROM doomed JOIN node USING (id) GROUP BY ALL),
        tags AS (
            SELECT registry, repository, count(*) AS tags_left
            FROM tag_left JOIN node USING (id) GROUP BY ALL),
        removed AS (
            SELECT registry, repository, count(*) AS manifests
            FROM gone JOIN node USING (id) GROUP BY ALL),
        blobs AS (
            SELECT DISTINCT registry, repository, scope, blob, size
            FROM gone JOIN node USING (id) JOIN manifest_blob ON manifest = digest
                 JOIN freed_blob USING (scope, blob)),
        owners AS (SELECT scope, blob, count(*) AS owners FROM blobs GROUP BY ALL),
        freed AS (
            SELECT registry, repository, {_BYTES} AS freed,
                   least(coalesce(sum(size) FILTER (owners = 1), 0),
                         {MAX_BYTES})::BIGINT AS freed_alone
            FROM blobs JOIN owners USING (scope, blob) GROUP BY ALL)
        SELECT registry, repository, deletions, coalesce(tags_left, 0) AS tags_left,
               coalesce(manifests, 0) AS manifests, coalesce(freed, 0) AS freed,
               coalesce(freed_alone, 0) AS freed_alone
        FROM deleted LEFT JOIN tags USING (registry, repository)
             LEFT JOIN removed USING (registry, repository)
             LEFT JOIN freed USING (registry, repository)""",
)

# A tag that vanished during the audit is certainly not there.
_FAILED = """
    (FROM line SEMI JOIN (SELECT DISTINCT registry FROM doomed JOIN node USING (id))
                   USING (registry)
     WHERE kind = 'failure' AND failure <> 'vanished')"""

_TOTALS = f"""
    SELECT (SELECT count(*) FROM doomed) AS deletions,
           (SELECT count(*) FROM gone) AS manifests,
           (SELECT count(*) FROM freed_blob) AS blobs,
           (SELECT {_BYTES} FROM freed_blob) AS freed,
           (SELECT count(*) FROM deletion WHERE outcome <> 'removed')
             AS kept_deletions,
           (SELECT count(*) FROM deletion WHERE only_name) AS only_names,
           (SELECT {_BYTES} FROM garbage_blob) AS garbage,
           (SELECT {_BYTES}
            FROM (SELECT DISTINCT scope, blob
                  FROM node JOIN manifest_blob ON manifest = digest)
                 LEFT JOIN blob_size USING (blob)) AS stored,
           (SELECT count(*) FROM broken_index) AS broken_indexes,
           (SELECT count(*) FROM left_behind) AS left_behind,
           (SELECT count(*) FROM running_loss) AS running,
           (SELECT count(*) FROM wanted_missing) AS missing,
           (SELECT count(*) FROM verdict WHERE kept_unknown) AS kept_unknown,
           (SELECT count(*) FROM freed_blob WHERE size IS NULL) AS unsized,
           (SELECT count(*) FROM gone JOIN node USING (id)
                                 ANTI JOIN known_manifest USING (digest)) AS unread,
           (SELECT count(*) FROM after JOIN node USING (id)
                                 ANTI JOIN known_manifest USING (digest)
                                 ANTI JOIN attachment USING (digest))
             AS unread_left,
           (SELECT count(*) FROM after JOIN node USING (id)
                                 ANTI JOIN known_manifest USING (digest)
                                 SEMI JOIN attachment USING (digest))
             AS unread_attachments,
           (SELECT count(*) FROM {_FAILED}) AS failures,
           (SELECT count(*) FROM {_FAILED} WHERE stage = 'list') AS listings,
           (SELECT count(*)
            FROM line JOIN node USING (registry, repository, digest)
                 SEMI JOIN gone USING (id)
            WHERE content = 'image' AND unexamined) AS unexamined,
           (SELECT count(*) FROM pinned) AS hidden_tags,
           (SELECT count(*) FROM line WHERE untagged) AS untagged,
           (SELECT count(*) FROM running_image WHERE failed) AS running_unknown"""
