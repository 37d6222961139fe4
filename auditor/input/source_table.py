"""The sources of the references of a run: where the input names them, and its labels.

A reference may be named again at the end of the input, and a record is written before
that. So the input is read once before the audit (source_scan.py), into a temporary
SQLite table: in memory as far as its page cache reaches, then on disk. A row is one
item of the input; keys are 16 bytes of BLAKE2b, as in seen_references.py.

Patterns are matched when a record is made: with the rows of its repository, and with
those of patterns of repositories at its registry.
"""

from __future__ import annotations

import heapq
import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Self

import orjson

from auditor.errors import OutputError
from auditor.fast_dataclass import dataclass
from auditor.input.input_items import (
    InputItem,
    InputOrigin,
    RejectedEntry,
)
from auditor.input.input_labels import clean_text
from auditor.model import Source
from auditor.oci.reference import Reference, RepositoryPattern, TagPattern
from auditor.util.lru import Lru
from auditor.util.shard import Shard

# Of a record. Twenty workloads are enough to find the owners of an image; a list of all
# that run a sidecar would be longer than the rest of the record.
MAX_SOURCES = 20
MAX_VALUES = 20
MAX_LABELS_BYTES = 4096
# Rows that are read for one record; further ones are only counted. 0.2 s.
MAX_ROWS = 50_000
# Rows that are written together.
_BATCH_ROWS = 4096
# SQLite's page cache: references come nearly in the order of their rows.
_CACHE_KIB = 8 * 1024
# Repositories whose matching patterns are kept: tags of one follow each other.
_MAX_REPOSITORIES = 256
_MAX_REPOSITORIES_BYTES = 8 * 1024 * 1024

_TABLE = f"""
PRAGMA cache_size = -{_CACHE_KIB};
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE items (number INTEGER PRIMARY KEY, key BLOB, use BLOB);
BEGIN
"""
_SELECT = "SELECT number, use FROM items WHERE key = ? ORDER BY number LIMIT ?"


@dataclass(frozen=True, kw_only=True)
class RecordedSources:
    """The fields of a record about its sources, by name; see `ImageRecord`."""

    sources: tuple[Source, ...] = ()
    sources_left_out: int = 0
    input_labels: dict[str, tuple[str, ...]]
    input_labels_left_out: int = 0


@dataclass(frozen=True, slots=True)
class _Row:
    """An item: the sources and labels of its origin, and the pattern that it is."""

    number: int
    sources: Sequence[Sequence[str | None]]
    sources_left_out: int
    labels: Sequence[Sequence[str]]
    labels_left_out: int
    pattern: str | int | None
    tags: str | None

    @classmethod
    def read(cls, number: int, use: bytes) -> Self:
        """The row of these columns."""
        return cls(number, *orjson.loads(use))


class SourceTable:
    """Sources by reference. Use it as a context manager.

    Add every item, then call `finish`. With a `shard`, references of other shards are
    not kept. Raises `OutputError` if there is no temporary space.
    """

    def __init__(self, shard: Shard | None = None) -> None:
        self._shard = shard
        self._batch: list[tuple[bytes, bytes]] = []
        # Rules of skopeo's lists are functions.
        self._rules: list[TagPattern] = []
        self._has_tag_patterns = False
        self._has_repository_patterns = False
        self._patterns: Lru[tuple[str, str], tuple[_Row, ...]] = Lru(
            _MAX_REPOSITORIES, _MAX_REPOSITORIES_BYTES
        )
        with _table_errors():
            # Items are added in a thread.
            self._table = sqlite3.connect(
                "", isolation_level=None, check_same_thread=False
            )
            self._table.executescript(_TABLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._table.close()

    def add(self, list_: str | None, item: InputItem) -> None:
        """Add the next item of the input and the name of its list."""
        if isinstance(item, RejectedEntry):
            self._put(_key(item.text), list_, item)
            return
        selector = item.selector
        if isinstance(selector, Reference):
            if self._shard is None or self._shard.takes(
                selector.registry, selector.repository
            ):
                self._put(_key(str(selector)), list_, item)
            return
        # For failures of its listing, then for the records of its tags.
        self._put(_key(str(selector)), list_, item)
        if isinstance(selector, TagPattern):
            self._has_tag_patterns = True
            pattern: str | int = selector.pattern
            if type(selector) is not TagPattern:
                pattern = len(self._rules)
                self._rules.append(selector)
            key = _repository_key(selector.registry, selector.repository)
            self._put(key, list_, item, pattern)
        else:
            self._has_repository_patterns = True
            key = _registry_key(selector.registry)
            self._put(key, list_, item, selector.repository, selector.pattern)

    def finish(self) -> None:
        """Prepare for look-ups, after the last item."""
        with _table_errors():
            self._write()
            self._table.execute("CREATE INDEX by_key ON items (key)")
            self._table.execute("COMMIT")

    def of_reference(
        self, reference: Reference, *, is_untagged: bool = False
    ) -> RecordedSources:
        """The sources of a reference, also those of the patterns that match it.

        `is_untagged`: it comes from the listing of a repository, without a tag.
        """
        rows, more = self._rows(_key(str(reference)))
        patterns = self._matching_patterns(reference, is_untagged=is_untagged)
        if patterns:
            rows = heapq.merge(rows, patterns, key=lambda row: row.number)
        return merge_rows(rows, more)

    def of_rejected(self, entry: RejectedEntry) -> RecordedSources:
        """The sources of a malformed line, or of a pattern that cannot be listed."""
        rows, more = self._rows(_key(entry.text))
        pattern = entry.pattern
        if isinstance(pattern, TagPattern):  # perhaps of a repository of a catalog
            repositories = (
                row
                for row in self._repository_patterns(pattern)
                if row.tags == pattern.pattern
            )
            rows = heapq.merge(rows, repositories, key=lambda row: row.number)
        return merge_rows(rows, more)

    def _put(
        self,
        key: bytes,
        list_: str | None,
        item: InputItem,
        pattern: str | int | None = None,
        tags: str | None = None,
    ) -> None:
        origin = item.origin
        if origin is not None and origin.sources:
            sources = [_fields(source) for source in origin.sources]
        else:
            place = item.place
            if origin is not None and origin.place is not None:
                place = origin.place
            name = None if list_ is None else clean_text(list_)
            names: Iterable[str | None] = ()
            if origin is not None:
                names = (origin.namespace, origin.workload, origin.container)
            sources = [(name, clean_text(place), *names)]
        origin = origin or _NO_ORIGIN
        use = (
            sources, origin.sources_left_out, origin.labels, origin.labels_left_out,
            pattern, tags,
        )  # fmt: skip
        self._batch.append((key, orjson.dumps(use)))
        if len(self._batch) == _BATCH_ROWS:
            with _table_errors():
                self._write()

    def _write(self) -> None:
        self._table.executemany(
            "INSERT INTO items (key, use) VALUES (?, ?)", self._batch
        )
        self._batch.clear()

    def _rows(self, key: bytes) -> tuple[Iterator[_Row], int]:
        """The first `MAX_ROWS` rows of a key, and the number of the others."""
        with _table_errors():
            found = self._table.execute(_SELECT, (key, MAX_ROWS)).fetchall()
            more = 0
            if len(found) == MAX_ROWS:
                count = "SELECT count(*) FROM items WHERE key = ?"
                more = self._table.execute(count, (key,)).fetchone()[0] - MAX_ROWS
        return itertools.starmap(_Row.read, found), more

    def _matching_patterns(
        self, reference: Reference, *, is_untagged: bool
    ) -> list[_Row]:
        if not (self._has_tag_patterns or self._has_repository_patterns):
            return []
        if is_untagged:
            rows = self._repository_patterns(reference)
            return [row for row in rows if (row.tags or row.pattern) == "*"]
        name = reference.tag
        if reference.digest is not None:
            # What a pattern lists has a tag alone; in a store, perhaps a digest alone.
            if name is not None or not reference.is_store:
                return []
            name = reference.digest
        if name is None:
            return []
        return [
            row
            for row in self._repository_patterns(reference)
            if self._matches(row, reference, name)
        ]

    def _matches(self, row: _Row, reference: Reference, name: str) -> bool:
        pattern = row.pattern if row.tags is None else row.tags
        if isinstance(pattern, int):
            return self._rules[pattern].matches(name)
        return TagPattern(
            registry=reference.registry,
            repository=reference.repository,
            pattern=str(pattern),
        ).matches(name)

    def _repository_patterns(
        self, selector: Reference | TagPattern
    ) -> tuple[_Row, ...]:
        """The patterns of a repository, in input order."""
        repository = (selector.registry, selector.repository)
        cached = self._patterns.get(repository)
        if cached is not None:
            return cached
        found: list[_Row] = []
        if self._has_tag_patterns:
            found += self._rows(_repository_key(*repository))[0]
        if self._has_repository_patterns:
            for row in self._rows(_registry_key(selector.registry))[0]:
                pattern = RepositoryPattern(
                    registry=selector.registry,
                    repository=str(row.pattern),
                    pattern=row.tags or "",
                )
                if pattern.matches_repository(selector.repository):
                    found.append(row)
        rows = tuple(sorted(found, key=lambda row: row.number))
        size = 200 + sum(1000 + 200 * len(row.labels) for row in rows)
        self._patterns.put(repository, rows, size)
        return rows


_NO_ORIGIN = InputOrigin()


def merge_rows(rows: Iterable[_Row], more: int) -> RecordedSources:
    """The sources and labels of rows, the first ones within the limits.

    `more` is the number of rows that are left out.
    """
    sources: list[Source] = []
    identities: set[tuple[str | None, ...]] = set()
    sources_left_out = more
    labels: dict[str, list[str]] = {}
    pairs: set[tuple[str, str]] = set()
    labels_left_out = 0
    left_bytes = MAX_LABELS_BYTES
    for row in rows:
        sources_left_out += row.sources_left_out
        labels_left_out += row.labels_left_out
        for fields in row.sources:
            source = _source(fields)
            identity = source_identity(source)
            if identity in identities:
                continue
            identities.add(identity)
            if len(sources) < MAX_SOURCES:
                sources.append(source)
            else:
                sources_left_out += 1
        for name, value in row.labels:
            if (name, value) in pairs:
                continue
            pairs.add((name, value))
            values = labels.get(name)
            size = len(value.encode()) + (len(name.encode()) if values is None else 0)
            if size > left_bytes or (values is not None and len(values) == MAX_VALUES):
                labels_left_out += 1
                continue
            left_bytes -= size
            labels.setdefault(name, []).append(value)
    return RecordedSources(
        sources=tuple(sources),
        sources_left_out=sources_left_out,
        input_labels={name: tuple(sorted(labels[name])) for name in sorted(labels)},
        input_labels_left_out=labels_left_out,
    )


def source_identity(source: Source) -> tuple[str | None, ...]:
    """What two sources have in common that are the same: the pods of a workload."""
    if source.workload is not None:
        return source.list, source.namespace, source.workload, source.container
    return source.list, source.place


def _source(fields: Sequence[str | None]) -> Source:
    list_, place, *names = fields
    namespace, workload, container = names or (None, None, None)
    return Source(
        list=list_,
        place=place or "",
        namespace=namespace,
        workload=workload,
        container=container,
    )


def _fields(source: Source) -> tuple[str | None, ...]:
    return (
        source.list,
        source.place,
        source.namespace,
        source.workload,
        source.container,
    )


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


# A blank is in no selector.
def _repository_key(registry: str, repository: str) -> bytes:
    return _key(f"tags of {registry}/{repository}")


def _registry_key(registry: str) -> bytes:
    return _key(f"repositories of {registry}")


@contextmanager
def _table_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OutputError(
            f"the sources of the input cannot be written to a temporary file: {error};"
            " set TMPDIR to a folder with free space, or audit with --sources never"
        ) from None
