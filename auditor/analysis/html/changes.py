"""What changed since an earlier report, as rows that a person reads."""

from __future__ import annotations

from collections.abc import Sequence

from auditor.analysis.change import Change, Difference, State, Totals
from auditor.analysis.diff import compare
from auditor.analysis.html.source import Source, read_source
from auditor.cli.image_tree import human_size
from auditor.fast_dataclass import dataclass

# Of each class: together they fill a few screens that can be searched.
MAX_OF_EACH = 250

_WORDS = {
    Change.FAILING: "failing now",
    Change.UNREACHED: "not reached",
    Change.REMOVED: "removed",
    Change.UNLISTED: "not listed",
    Change.MOVED: "moved",
    Change.ALTERED: "altered",
    Change.ADDED: "added",
    Change.RELISTED: "there again",
    Change.HEALED: "healed",
    Change.DROPPED: "dropped",
    Change.STILL_FAILING: "still failing",
    Change.UNCHANGED: "unchanged",
}
_MEANINGS = {
    Change.FAILING: "an image or nothing before, a failure now",
    Change.UNREACHED: "the run was ended before it came to it, so nobody knows",
    Change.REMOVED: "an image before, not in this report",
    Change.UNLISTED: "the list of tags failed, so nobody knows",
    Change.MOVED: "the same tag names another digest",
    Change.ALTERED: "the same digest, other architectures or attachments are there",
    Change.ADDED: "an image that was not in the earlier report",
    Change.RELISTED: "the earlier report could not list it, or did not reach it",
    Change.HEALED: "a failure before, an image now",
    Change.DROPPED: "a failure before, not in this report",
    Change.STILL_FAILING: "a failure in both reports",
    Change.UNCHANGED: "the same digest in both reports",
}
_TONES = {
    Change.FAILING: "bad",
    Change.UNREACHED: "warn",
    Change.REMOVED: "bad",
    Change.UNLISTED: "warn",
    Change.MOVED: "accent",
    Change.ALTERED: "warn",
    Change.ADDED: "good",
    Change.RELISTED: "good",
    Change.HEALED: "good",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """A class of changes: its name for programs and for people, and a colour."""

    name: str
    words: str
    meaning: str
    tone: str
    count: int
    shown: int

    @property
    def left_out(self) -> int:
        """How many of its rows are not shown."""
        return self.count - self.shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A reference that is not as it was. `growth` is in bytes, where known.

    `gains` are architectures and attachments, with a plus, or a minus if lost.
    """

    reference: str
    change: Change
    words: str
    tone: str
    what: str
    growth: int | None
    gains: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Everything that is to be said; `quiet` are classes that are no difference."""

    source: Source
    totals: Totals
    classes: tuple[Class, ...]
    quiet: tuple[Class, ...]
    rows: tuple[Changed, ...]


def read_changes(old: Sequence[str], new: Sequence[str]) -> Changes:
    """Compare two reports, each a file, several or globs."""
    source = read_source(old)
    with compare(old, new) as comparison:
        rows = tuple(
            _changed(one)
            for change in Change
            if change.is_difference and comparison.totals.changes[change]
            for one in comparison.differences(change, limit=MAX_OF_EACH)
        )
        totals = comparison.totals
    classes = [_class(change, totals.changes[change]) for change in Change]
    differing = {change.value for change in Change if change.is_difference}
    return Changes(
        source=source,
        totals=totals,
        classes=tuple(c for c in classes if c.name in differing and c.count),
        quiet=tuple(c for c in classes if c.name not in differing and c.count),
        rows=rows,
    )


def _class(change: Change, count: int) -> Class:
    return Class(
        name=change.value,
        words=_WORDS[change],
        meaning=_MEANINGS[change],
        tone=_TONES.get(change, "plain"),
        count=count,
        shown=min(count, MAX_OF_EACH),
    )


def _changed(one: Difference) -> Changed:
    growth = None
    if one.old and one.new and one.old.size is not None and one.new.size is not None:
        growth = one.new.size - one.old.size
    gained = (*one.architectures_gained, *one.attachments_gained)
    lost = (*one.architectures_lost, *one.attachments_lost)
    return Changed(
        reference=one.reference,
        change=one.change,
        words=_WORDS[one.change],
        tone=_TONES.get(one.change, "plain"),
        what=_what(one),
        growth=growth,
        gains=(*(f"+{name}" for name in gained), *(f"\u2212{name}" for name in lost)),
    )


def _what(one: Difference) -> str:
    if one.change is Change.FAILING and one.new is not None:
        return f"{_state(one.new)}: {one.new.detail}"
    if one.old is None:
        return _state(one.new)
    if one.new is None:
        return f"was {_state(one.old)}"
    if one.change is Change.ALTERED:
        return _state(one.new)
    return f"{_state(one.old)} \u2192 {_state(one.new)}"


def _state(state: State | None) -> str:
    if state is None:
        return "not there"
    if state.digest is None or state.failure is not None:
        return (state.failure or "unknown").replace("_", " ")
    short = state.digest.rpartition(":")[2][:12]
    return short if state.size is None else f"{short} ({human_size(state.size)})"
