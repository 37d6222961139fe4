"""The table that `auditor audit` prints on a terminal.

Rows are printed while the audit runs, so that three references and a million need the
same memory: the first `HEAD_ROWS` rows are held until the widths of the columns are
known, and the next ones are folded into these. Failures follow after the last row, by
registry and kind, with the next step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from auditor.errors import FailureKind
from auditor.fast_dataclass import dataclass
from auditor.model import (
    ContentKind,
    FailureRecord,
    ImageRecord,
    PlatformRecord,
    Record,
)
from auditor.oci.reference_grammar import is_glob
from auditor.util.terminal import (
    ERASE_LINE,
    Screen,
    ScreenColumn,
    TableLayout,
    record_lines,
    short_digest,
    styled,
    wrapped,
)
from auditor.util.text import format_size, safe_text
from auditor.util.time_span import parse_image_time

# About a screen: the references of one list have similar lengths.
HEAD_ROWS = 25
# Failures in memory: groups, and references of each.
MAX_GROUPS = 20
MAX_REFERENCES = 5
# Names of platforms in a cell, below and from 100 columns; the others are counted.
NARROW_PLATFORM_CHARS = 12
PLATFORM_CHARS = 24
_WIDE_SCREEN = 100
# The platforms that most people look for are named first.
_COMMON = ("amd64", "arm64")
# The longest reference has some 500 characters; it must not be truncated.
_REFERENCE_CHARS = 500

_COLUMNS = (
    ScreenColumn(title="reference", is_name=True, style="cyan"),
    ScreenColumn(title="digest", folds=False),
    ScreenColumn(title="platforms"),
    ScreenColumn(title="size", is_number=True, folds=False),
    ScreenColumn(title="created", folds=False),
    ScreenColumn(title="signed", folds=False),
)
_UNKNOWN = "-"

_DOCTOR = "auditor doctor {target}"
_AGAIN = "run the audit again (with -o FILE: --retry-failed)"
_EXPLAIN = "auditor explain {kind}"
_LIST = "auditor ls {repository}"
# A reference without a tag means the tag latest, which few repositories have.
_OTHER_TAGS = f"{_LIST}; every tag: '{{repository}}:*'"
# What to try first; None: the detail says it.
_NEXT_STEPS: dict[FailureKind, str | None] = {
    FailureKind.INVALID_REFERENCE: None,
    **dict.fromkeys(
        (
            FailureKind.DNS,
            FailureKind.CONNECT,
            FailureKind.TLS,
            FailureKind.TIMEOUT,
            FailureKind.REALM_REFUSED,
            FailureKind.REDIRECT_REFUSED,
            FailureKind.TOKEN_REJECTED,
            FailureKind.NO_PULL_GRANT,
            FailureKind.DENIED,
        ),
        _DOCTOR,
    ),
    FailureKind.NOT_FOUND: _LIST,
    FailureKind.VANISHED: _AGAIN,
    FailureKind.RATE_LIMITED: "auditor doctor {registry} (shows the rate limit)",
    FailureKind.SERVER_ERROR: _AGAIN,
    FailureKind.DIGEST_CHANGED: _AGAIN,
    FailureKind.INTERRUPTED: _AGAIN,
    FailureKind.INCOMPLETE_LISTING: _LIST,
}


@dataclass(slots=True)
class _FailureGroup:
    """Failures of one kind at one registry; the first has the detail."""

    first: FailureRecord
    references: list[str]
    count: int = 0


class AuditTable:
    """Turns records into lines of a table; `rest` returns what is still held.

    With `over_progress`, the line of progress is erased before rows are printed.
    """

    def __init__(self, screen: Screen, *, over_progress: bool = False) -> None:
        self._screen = screen
        self._prefix = ERASE_LINE if over_progress else ""
        self._head: list[list[str]] = []
        self._layout: TableLayout | None = None
        self._is_first = True
        self._groups: dict[tuple[str | None, FailureKind], _FailureGroup] = {}
        self._more_failures = 0
        self._shown = tuple(range(len(_COLUMNS)))
        self._known = {"created": 0, "signed": 0}
        self._images = 0
        is_narrow = screen.width is not None and screen.width < _WIDE_SCREEN
        self._platform_chars = NARROW_PLATFORM_CHARS if is_narrow else PLATFORM_CHARS

    def __call__(self, record: Record) -> bytes:
        """The lines that can be printed after this record."""
        if isinstance(record, FailureRecord):
            self._add_failure(record)
            return b""
        if record.content is ContentKind.IMAGE:
            self._images += 1
            self._known["created"] += bool(_creation_time(record))
            self._known["signed"] += record.signed is not None
        self._head.append(_row(record, self._platform_chars))
        if self._layout is None and len(self._head) < HEAD_ROWS:
            return b""
        return self._encoded(self._rows())

    def add_line(self, line: bytes) -> bytes:
        """As a call, for a record of a report of shape image, from its JSON line.

        Only what the table shows becomes objects.
        """
        document = orjson.loads(line)
        if document["kind"] == "failure":
            document["failure"] = FailureKind(document["failure"])
            return self(FailureRecord(**document))
        document["content"] = ContentKind(document["content"])
        document["platforms"] = tuple(
            PlatformRecord(**platform) for platform in document["platforms"]
        )
        return self(ImageRecord(**document))

    def rest(self) -> bytes:
        """The rows that are still held, the failures, and a note on unknown cells."""
        lines = [*self._rows(), *self._notes(), *self._failures()]
        self._groups, self._more_failures, self._images = {}, 0, 0
        return self._encoded(lines)

    def _encoded(self, lines: Sequence[str]) -> bytes:
        if not lines:
            return b""
        text = self._prefix + "".join(f"{line}\n" for line in lines)
        return text.encode("utf-8", "backslashreplace")

    def _rows(self) -> list[str]:
        rows, self._head = self._head, []
        if not rows:
            return []
        if self._layout is None:
            self._layout = self._make_layout(rows)
        columns = [_COLUMNS[number] for number in self._shown]
        cells = [[row[number] for number in self._shown] for row in rows]
        if not self._layout.fits:
            return list(record_lines(columns, cells, self._screen))
        with_header, self._is_first = self._is_first, False
        return list(self._layout.lines(cells, with_header=with_header))

    def _make_layout(self, rows: Sequence[Sequence[str]]) -> TableLayout:
        """The layout for the first rows; a column of unknowns gives way to names."""
        layout = TableLayout(_COLUMNS, rows, self._screen)
        if self._screen.width is None or layout.natural_width <= self._screen.width:
            return layout
        self._shown = tuple(
            number
            for number, column in enumerate(_COLUMNS)
            if self._known.get(column.title) != 0
        )
        columns = [_COLUMNS[number] for number in self._shown]
        cells = [[row[number] for number in self._shown] for row in rows]
        return TableLayout(columns, cells, self._screen)

    def _notes(self) -> Iterator[str]:
        """How to see what is unknown for every image, or has no column."""
        options = {
            "created": "--image-config always",
            "signed": "--attachments all",
        }
        titles = {_COLUMNS[number].title for number in self._shown}
        hidden = [name for name in options if self._known[name] and name not in titles]
        if hidden:
            note = f"{' and '.join(hidden)}: no column, the terminal is too narrow"
            yield styled(note, "dim", self._screen)
        missing = [name for name in options if self._images and not self._known[name]]
        if missing:
            names = " and ".join(missing)
            with_options = " ".join(options[name] for name in missing)
            pronoun = "it" if len(missing) == 1 else "them"
            note = f"{names}: not examined; see {pronoun} with {with_options}"
            for line in wrapped(note, self._screen):
                yield styled(line, "dim", self._screen)

    # -- failures --

    def _add_failure(self, record: FailureRecord) -> None:
        key = record.registry, record.failure
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= MAX_GROUPS:
                self._more_failures += 1
                return
            group = self._groups[key] = _FailureGroup(record, [])
        group.count += 1
        if len(group.references) < MAX_REFERENCES:
            group.references.append(record.reference)

    def _failures(self) -> Iterator[str]:
        screen = self._screen
        if not self._groups:
            return
        count = sum(group.count for group in self._groups.values())
        yield ""
        yield styled(f"failed ({count + self._more_failures:,})", "bold", screen)
        for (_, kind), group in self._groups.items():
            for reference in group.references:
                name = styled(safe_text(reference, _REFERENCE_CHARS), "cyan", screen)
                yield f"  {name}  {styled(str(kind), 'red', screen)}"
            if more := group.count - len(group.references):
                yield f"  and {more:,} more like these"
            detail = f"      {safe_text(group.first.detail, 500)}"
            yield from wrapped(detail, screen, indent=0)
            if step := _next_step(group.first):
                yield from wrapped(f"      next: {step}", screen, indent=6)
        if self._more_failures:
            yield f"  and {self._more_failures:,} others; -o FILE keeps all of them"
        kinds = " ".join(dict.fromkeys(kind for _, kind in self._groups))
        yield from wrapped(f"  what the codes mean: auditor explain {kinds}", screen)


def _next_step(record: FailureRecord) -> str | None:
    step = _NEXT_STEPS.get(record.failure, _EXPLAIN)
    if step is None or record.registry is None:
        return None
    if step == _LIST and record.tag == "latest":
        step = _OTHER_TAGS
    path = record.repository or ""
    if is_glob(path):
        path = ""
    repository = f"{record.registry}/{path}".rstrip("/")
    is_pattern = record.tag is None and record.digest is None
    target = repository if is_pattern else record.reference
    return step.format(
        target=safe_text(target, _REFERENCE_CHARS),
        kind=record.failure,
        registry=safe_text(record.registry),
        repository=safe_text(repository, _REFERENCE_CHARS),
    )


# -- cells --


def _row(record: ImageRecord, platform_chars: int) -> list[str]:
    signed = {True: "yes", False: "no", None: _UNKNOWN}[record.signed]
    if record.verified_by:
        signed = "verified"
    return [
        safe_text(record.reference, _REFERENCE_CHARS),
        short_digest(record.digest),
        _platforms(record, platform_chars),
        _UNKNOWN if record.size is None else format_size(record.size),
        _created(record) or _UNKNOWN,
        signed,
    ]


def _platforms(record: ImageRecord, limit_chars: int) -> str:
    """The first platforms, without `linux/`, and the number of the others."""
    if record.content is not ContentKind.IMAGE:
        return f"({record.content})"
    names = [
        safe_text(name.removeprefix("linux/"), PLATFORM_CHARS)
        for name in record.architectures
    ]
    names.sort(key=lambda name: name not in _COMMON)
    shown: list[str] = []
    for name in names:
        if shown and len(" ".join([*shown, name])) > limit_chars:
            break
        shown.append(name)
    more = len(names) - len(shown)
    return " ".join([*shown, *([f"+{more}"] if more else [])]) or _UNKNOWN


def _created(record: ImageRecord) -> str | None:
    """The date of the newest platform; None if unknown, or a placeholder."""
    time = _creation_time(record)
    return safe_text(time[:10], 10) if parse_image_time(time) else None


def _creation_time(record: ImageRecord) -> str:
    """That of the newest platform, or of the annotation; "" if there is none."""
    times = [one.created for one in record.platforms if one.created]
    return max(times, default=record.annotations.get(_CREATED, ""))


# OCI image-spec annotations.md, "Pre-Defined Annotation Keys".
_CREATED = "org.opencontainers.image.created"
