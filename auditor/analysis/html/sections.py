"""All references of a report as data for the page's own table.

    {"repositories": [NAME...], "digests": [DIGEST...], "platforms": [[NAME...]...],
     "rows": [[repository, tag, digest, platforms, size, created, failure, known]...]}

A number names an element of its list; -1 is none. `created` is a date, `failure` the
kind of failure or what warnings there are, `known` what is attached, as bits: signed,
not signed, SBOM, none, provenance, none. What repeats stands once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from auditor.analysis.check.evaluate import checked
from auditor.analysis.check.policy import Severity
from auditor.analysis.check.policy_file import load_policy
from auditor.analysis.diff import Change, Difference, State, Totals, compare
from auditor.analysis.html.lines import Cell, Lines, Rows, Source, cell, read_source
from auditor.analysis.html.page import script_json
from auditor.fast_dataclass import dataclass
from auditor.util.text import format_size, safe_text

# What a browser on a phone still sorts at once, and what keeps the page below 5 MB.
MAX_ROWS = 20_000
MAX_DATA_BYTES = 3_000_000
# The longest reference has some 500 characters.
MAX_TEXT_CHARS = 500

# What has to be looked at stays in the page: failures, warnings, then what is large.
_REFERENCES = """
    WITH shown AS (
        SELECT * FROM line
        ORDER BY kind = 'failure' DESC, coalesce(len(warnings), 0) > 0 DESC,
                 size DESC NULLS LAST, reference
        LIMIT {limit})
    SELECT reference, registry, repository, tag, digest, architectures, size,
           strftime(created, '%Y-%m-%d') AS created, kind, failure, warnings,
           signed, has_sbom, has_provenance
    FROM shown"""


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """The data, how many rows are in it, and how many there are in all."""

    data: dict[str, list[Any]]
    shown: int
    total: int

    @property
    def left_out(self) -> int:
        """How many rows are not shown."""
        return self.total - self.shown


def read_references(lines: Lines) -> References:
    """As many rows as the page may hold."""
    repositories, digests, platforms = _Numbers(), _Numbers(), _Numbers()
    rows: list[list[Any]] = []
    room = MAX_DATA_BYTES
    for row in lines.rows(_REFERENCES.format(limit=MAX_ROWS)):
        name, tag = _name(row, many_registries=lines.many_registries)
        one = [
            repositories.number(name),
            tag,
            digests.number(_text(row["digest"])) if row["digest"] else -1,
            platforms.number(tuple(map(_text, row["architectures"] or ()))),
            row["size"],
            row["created"],
            _state(row),
            _attached(row),
        ]
        room -= len(script_json(one)) + 1
        if room < repositories.size + digests.size + platforms.size:
            break
        rows.append(one)
    data = {
        "repositories": list(repositories.known),
        "digests": list(digests.known),
        "platforms": list(platforms.known),
        "rows": rows,
    }
    return References(data=data, shown=len(rows), total=lines.totals.lines)


def _name(row: dict[str, Any], *, many_registries: bool) -> tuple[str, str]:
    """Repository and tag; what could not be read as a reference is all one name."""
    if row["repository"] is None:
        return _text(row["reference"]), ""
    name = row["repository"]
    if many_registries:
        name = f"{row['registry']}/{name}"
    if row["tag"] is None and row["kind"] == "failure":
        # A listing that failed is named by its pattern, a digest by itself.
        prefix = f"{row['registry']}/{row['repository']}"
        return _text(name), _text(row["reference"].removeprefix(prefix).lstrip(":@"))
    return _text(name), _text(row["tag"] or row["digest"] or "")


def _state(row: dict[str, Any]) -> str:
    if row["kind"] == "failure":
        return "failed: " + _text(row["failure"] or "unknown").replace("_", " ")
    return ", ".join(_text(code).replace("_", " ") for code in row["warnings"] or ())


def _attached(row: dict[str, Any]) -> int:
    answers = (row["signed"], row["has_sbom"], row["has_provenance"])
    return sum(
        (1 if answer else 2) << 2 * place
        for place, answer in enumerate(answers)
        if answer is not None
    )


def _text(text: str) -> str:
    return safe_text(text, MAX_TEXT_CHARS)


class _Numbers:
    """Numbers things in the order in which they come. `size` is their JSON's."""

    def __init__(self) -> None:
        self.known: dict[Any, int] = {}
        self.size = 0

    def number(self, thing: Any) -> int:
        if thing not in self.known:
            self.known[thing] = len(self.known)
            self.size += len(script_json(thing)) + 1
        return self.known[thing]


# -- changes --
# What changed since an earlier report, as rows that a person reads.

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
        return f"{_changes_state(one.new)}: {one.new.detail}"
    if one.old is None:
        return _changes_state(one.new)
    if one.new is None:
        return f"was {_changes_state(one.old)}"
    if one.change is Change.ALTERED:
        return _changes_state(one.new)
    return f"{_changes_state(one.old)} \u2192 {_changes_state(one.new)}"


def _changes_state(state: State | None) -> str:
    if state is None:
        return "not there"
    if state.digest is None or state.failure is not None:
        return (state.failure or "unknown").replace("_", " ")
    short = state.digest.rpartition(":")[2][:12]
    return short if state.size is None else f"{short} ({format_size(state.size)})"


# -- trust --
# What vouches for images, and what they say of themselves: labels and bases.
#
# That something is attached is not to say that it is valid: nobody checked it.

MAX_REPOSITORIES = 300
MAX_LABELS = 50
MAX_BASES = 50

# What is asked for, the field that answers, and the word in the search for yes and no.
_QUESTIONS = (
    ("Signature", "signed", "signed", "unsigned"),
    ("SBOM", "has_sbom", "sbom", "no-sbom"),
    ("Provenance", "has_provenance", "provenance", "no-provenance"),
)

_COUNTS = ", ".join(
    f"count(*) FILTER ({field}) AS {field}_yes,"
    f" count(*) FILTER (NOT {field}) AS {field}_no"
    for _, field, _, _ in _QUESTIONS
)
_COVERAGE = f"SELECT {_COUNTS} FROM line WHERE kind = 'image'"  # noqa: S608
# Those that lack most first.
_LACKING = " + ".join(f"{field}_no" for _, field, _, _ in _QUESTIONS)
_REPOSITORIES = f"""
    SELECT registry, repository, count(*) AS images, {_COUNTS},
           count(*) OVER () AS total
    FROM line WHERE kind = 'image' GROUP BY registry, repository
    ORDER BY {_LACKING} DESC, registry, repository LIMIT {{limit}}"""  # noqa: S608
_LABELS = """
    WITH one AS (SELECT label.key AS name, label.value AS value, count(*) AS images
                 FROM (SELECT unnest(labels) AS label FROM line) GROUP BY ALL),
    images AS (SELECT name, count(*) AS images
               FROM (SELECT unnest(list_distinct([l.key FOR l IN labels])) AS name
                     FROM line) GROUP BY name)
    SELECT name, images.images, count(*) AS "values",
           max_by(value, row(one.images, value)) AS most,
           max(one.images) AS most_images, count(*) OVER () AS total
    FROM one JOIN images USING (name) GROUP BY ALL
    ORDER BY images DESC, name LIMIT {limit}"""
_BASES = """
    SELECT coalesce(base.name, base.digest) AS name,
           count(DISTINCT reference) AS images,
           count(DISTINCT (registry, repository)) AS repositories,
           count(DISTINCT base.digest) AS digests, count(*) OVER () AS total
    FROM (SELECT reference, registry, repository, unnest(bases) AS base FROM line)
    WHERE coalesce(base.name, base.digest) IS NOT NULL
    GROUP BY 1 ORDER BY images DESC, 1 LIMIT {limit}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """So many images have it, have not, or were not looked at (`unknown`).

    `has` and `lacks` are what the search knows these images by.
    """

    name: str
    yes: int
    no: int
    unknown: int
    has: str
    lacks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """A repository; its cells stand in the order of the questions.

    A cell is null where no image of the repository was looked at.
    """

    registry: str
    name: str
    images: int
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label, how many values it has, and the most frequent of them."""

    name: str
    images: int
    values: int
    most: str
    most_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBase:
    """A base that images name, with so many digests."""

    name: str
    images: int
    repositories: int
    digests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Everything that is to be said. Without `is_known`, nobody looked."""

    coverage: tuple[Coverage, ...]
    repositories: Rows[Covered]
    labels: Rows[Label]
    bases: Rows[NamedBase]

    @property
    def is_known(self) -> bool:
        """Whether the report says of any image what is attached to it."""
        return any(one.yes or one.no for one in self.coverage)


def read_trust(lines: Lines) -> Trust:
    """Ask the lines of a report."""
    (counts,) = lines.rows(_COVERAGE)
    coverage = tuple(
        Coverage(
            name=name,
            yes=counts[f"{field}_yes"],
            no=counts[f"{field}_no"],
            unknown=lines.totals.images
            - counts[f"{field}_yes"]
            - counts[f"{field}_no"],
            has=has,
            lacks=lacks,
        )
        for name, field, has, lacks in _QUESTIONS
    )
    labels = list(lines.rows(_LABELS.format(limit=MAX_LABELS)))
    bases = list(lines.rows(_BASES.format(limit=MAX_BASES)))
    return Trust(
        coverage=coverage,
        repositories=_repositories(lines),
        labels=Rows.of(
            labels,
            lambda row: Label(
                name=row["name"],
                images=row["images"],
                values=row["values"],
                most=row["most"],
                most_images=row["most_images"],
            ),
        ),
        bases=Rows.of(
            bases,
            lambda row: NamedBase(
                name=row["name"],
                images=row["images"],
                repositories=row["repositories"],
                digests=row["digests"],
            ),
        ),
    )


def _repositories(lines: Lines) -> Rows[Covered]:
    rows = list(lines.rows(_REPOSITORIES.format(limit=MAX_REPOSITORIES)))
    return Rows.of(
        rows,
        lambda row: Covered(
            registry=row["registry"],
            name=row["repository"],
            images=row["images"],
            cells=tuple(
                _answer(row[f"{field}_yes"], row[f"{field}_no"])
                for _, field, _, _ in _QUESTIONS
            ),
        ),
    )


def _answer(yes: int, no: int) -> Cell | None:
    return cell(yes, yes + no) if yes + no else None


# -- violations --
# What a policy finds in the report.

# What a person works through in a day; the rules are counted over all.
MAX_VIOLATIONS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLine:
    """A rule and how often it was broken."""

    id: str
    severity: str
    violations: int
    waived: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationLine:
    """A reference that breaks a rule, without a waiver."""

    rule: str
    severity: str
    reference: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Violations:
    """The answer of a policy. `errors` make `auditor check` fail, `warnings` do not."""

    policy: str
    today: date
    passed: bool
    errors: int
    warnings: int
    waived: int
    rules: tuple[RuleLine, ...]
    rows: Rows[ViolationLine]
    notices: tuple[str, ...]


def read_violations(
    paths: Sequence[str], policy_file: str, *, today: date, earlier: Sequence[str]
) -> Violations:
    """Check a report; raises `ConfigError` and `UsageError` as `auditor check` does."""
    policy = load_policy(policy_file)
    with checked(paths, policy, today=today, earlier=earlier) as findings:
        errors = findings.total(Severity.ERROR)
        warnings = findings.total(Severity.WARNING)
        rows = tuple(
            ViolationLine(
                rule=one.rule.id,
                severity=one.rule.section.severity.value,
                reference=one.reference,
                detail=one.detail,
            )
            for one in findings.violations(waived=False, limit=MAX_VIOLATIONS)
        )
        rules = [
            RuleLine(
                id=count.rule.id,
                severity=count.rule.section.severity.value,
                violations=count.violations,
                waived=count.waived,
            )
            for count in findings.counts
        ]
        return Violations(
            policy=Path(policy_file).name,
            today=today,
            passed=findings.passed,
            errors=errors,
            warnings=warnings,
            waived=findings.waived,
            rules=tuple(sorted(rules, key=lambda rule: -rule.violations)),
            rows=Rows(rows=rows, total=errors + warnings),
            notices=tuple(findings.notices()),
        )
