"""Rules that say which tags a clean-up keeps, read from a TOML file.

    [rules.releases]
    repositories = ["team/*"]      # default: all
    keep_newest = 10               # tags of each repository, by their push
    keep_pulled_within = "90 days"
    keep_tags = ["latest", "stable-*"]

A tag is deleted if a rule covers it and none of the rules that cover it keeps it. Tags
that no rule covers, tags of attachments and references by digest are kept. A time that
the report does not have keeps the tag, unless the rule says `unknown = "delete"`. Ages
are those at the time of the audit, as in policies.
"""

# ruff: noqa: S608  (the SQL is made of constants; values are parameters)

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from auditor.analysis.check.rule_values import AGE, COUNT, PATTERNS, TRUE
from auditor.config.toml_file import KeyPath, read_toml
from auditor.config.validation_errors import ValidationErrors, toml_key, unknown
from auditor.config.value_types import ValueType, member_of
from auditor.fast_dataclass import dataclass
from auditor.oci.attachments import DIGEST_TAG
from auditor.util.text import safe_text

if TYPE_CHECKING:
    import duckdb

# `1.2.3` and `v1.2.3`: a release of Semantic Versioning 2.0.0, no pre-release.
RELEASE = r"v?(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
# Rule names are shown next to each tag that a rule would delete.
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class NewestBy(StrEnum):
    """The time by which tags are ordered."""

    PUSHED = "pushed"
    PULLED = "pulled"
    CREATED = "created"


class UnknownTime(StrEnum):
    """What happens to a tag whose time the report does not have."""

    KEEP = "keep"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRule:
    """One rule. Ages are in seconds before the audit; None: the rule does not ask.

    `repositories` match with or without the registry, as in policies.
    """

    name: str
    repositories: tuple[str, ...] = ("*",)
    excluded: tuple[str, ...] = ()
    tags: tuple[str, ...] = ("*",)
    keep_newest: int | None = None
    newest_by: NewestBy = NewestBy.PUSHED
    keep_pushed_within: int | None = None
    keep_pulled_within: int | None = None
    keep_created_within: int | None = None
    keep_tags: tuple[str, ...] = ()
    keep_releases: bool = False
    unknown: UnknownTime = UnknownTime.KEEP


_SCOPE: dict[str, ValueType] = {
    "repositories": PATTERNS,
    "except": PATTERNS,
    "tags": PATTERNS,
}
_KEEPS: dict[str, ValueType] = {
    "keep_newest": COUNT,
    "keep_pushed_within": AGE,
    "keep_pulled_within": AGE,
    "keep_created_within": AGE,
    "keep_tags": PATTERNS,
    "keep_releases": TRUE,
}
_DETAILS: dict[str, ValueType] = {
    "newest_by": member_of(NewestBy),
    "unknown": member_of(UnknownTime),
}
KEYS = _SCOPE | _KEEPS | _DETAILS


def load_keep_rules(path: str) -> tuple[KeepRule, ...]:
    """Read a file of rules; raises `ConfigError` with all errors."""
    file = read_toml(path)
    return read_keep_rules(file.document, file_name=path, lines=file.lines())


def read_keep_rules(
    document: Mapping[str, Any], *, file_name: str, lines: Mapping[KeyPath, int]
) -> tuple[KeepRule, ...]:
    """The rules in a parsed TOML document; raises `ConfigError` with all errors."""
    reader = _Reader(file_name, lines)
    rules = reader.rules(document)
    reader.errors.raise_if_any()
    return rules


class _Reader:
    def __init__(self, file_name: str, lines: Mapping[KeyPath, int]) -> None:
        self.errors = ValidationErrors()
        self._file_name = file_name
        self._lines = lines

    def rules(self, document: Mapping[str, Any]) -> tuple[KeepRule, ...]:
        for key in document:
            if key != "rules":
                self._error((key,), unknown("key", key, ("rules",)))
        sections = document.get("rules", {})
        if not isinstance(sections, dict) or not sections:
            self._error(("rules",), "no rule; add a section [rules.NAME]")
            return ()
        found = (self._rule(name, keys) for name, keys in sections.items())
        return tuple(rule for rule in found if rule is not None)

    def _rule(self, name: str, keys: object) -> KeepRule | None:
        path: KeyPath = ("rules", name)
        if not isinstance(keys, dict):
            self._error(path, "must be in a section [rules.NAME]")
            return None
        if not _NAME.fullmatch(name):
            self._error(path, "must be a name of letters, digits, - and _")
        values: dict[str, Any] = {}
        for key, value in keys.items():
            if key not in KEYS:
                self._error((*path, key), unknown("key", key, KEYS))
                continue
            try:
                values[key] = KEYS[key].read(value, as_text=False)
            except ValueError as error:
                self._error((*path, key), error)
        if not _KEEPS.keys() & keys.keys():
            self._error(
                path,
                "keeps nothing; add keep_newest or another key keep_..., or name the"
                " tags with --delete",
            )
        if "newest_by" in keys and "keep_newest" not in keys:
            self._error((*path, "newest_by"), "needs keep_newest")
        values["excluded"] = values.pop("except", ())
        return KeepRule(name=name, **values)

    def _error(self, path: KeyPath, sentence: object) -> None:
        """Add an error at `file:line: rules.releases.keep_newest`."""
        at = path
        while at and at not in self._lines:
            at = at[:-1]
        key = ".".join(toml_key(part) for part in path if isinstance(part, str))
        self.errors.add(f"{self._file_name}:{self._lines.get(at, 1)}: {key}", sentence)


def apply_keep_rules(
    connection: duckdb.DuckDBPyConnection, rules: Sequence[KeepRule]
) -> None:
    """Fill `doomed` with the tags that the rules do not keep.

    Makes `ruled`: the covered tags, whether one is `kept`, and whether it is kept for
    an unknown time alone (`kept_unknown`).
    """
    connection.execute(
        "CREATE TABLE ruled (id BIGINT, reference VARCHAR, tag VARCHAR, rule VARCHAR,"
        " kept BOOLEAN, kept_unknown BOOLEAN)"
    )
    for rule in rules:
        query = _RuleQuery(rule)
        connection.execute(f"INSERT INTO ruled {query.sql}", query.parameters)
    connection.execute(_VERDICTS)
    connection.execute(
        """INSERT INTO doomed
           SELECT reference, tag, id, rule FROM verdict WHERE NOT kept"""
    )


def unmatched_patterns(
    connection: duckdb.DuckDBPyConnection, rules: Sequence[KeepRule]
) -> Iterator[str]:
    """A sentence for each pattern that matches nothing: it may be misspelt.

    A misspelt pattern of what is kept, or excepted, deletes that.
    """
    for rule in rules:
        for key, patterns, columns in (
            ("repositories", rule.repositories, _REPOSITORY),
            ("except", rule.excluded, _REPOSITORY),
            ("tags", rule.tags, ("line.tag",)),
            ("keep_tags", rule.keep_tags, ("line.tag",)),
        ):
            for pattern in patterns:
                matches = " OR ".join(f"{column} GLOB $1" for column in columns)
                query = (
                    "SELECT 1 FROM line JOIN tag USING (reference)"
                    f" WHERE {matches} LIMIT 1"
                )
                if connection.execute(query, [pattern]).fetchone() is None:
                    yield (
                        f"rules.{rule.name}.{key}: {safe_text(pattern)} matches nothing"
                        " in the report"
                    )


_REPOSITORY = ("registry || '/' || repository", "repository")


class _RuleQuery:
    """The tags that one rule covers, with its verdict."""

    def __init__(self, rule: KeepRule) -> None:
        self.parameters: dict[str, object] = {}
        covered = (
            f"{self._matches(rule.repositories, _REPOSITORY)}"
            f" AND NOT {self._matches(rule.excluded, _REPOSITORY)}"
            f" AND {self._matches(rule.tags, ('line.tag',))}"
        )
        certain, unknown_times = self._keeps(rule)
        # rank() keeps all tags of the same time.
        self.sql = f"""
            SELECT id, reference, tag, '{rule.name}', coalesce({certain}, false),
                   NOT coalesce({certain}, false) AND coalesce({unknown_times}, false)
            FROM (SELECT id, line.reference, line.tag, pushed, pulled, created,
                         audited,
                         rank() OVER (PARTITION BY registry, repository
                                      ORDER BY {rule.newest_by} DESC NULLS LAST)
                           AS place
                  FROM line JOIN tag USING (reference)
                  WHERE NOT regexp_full_match(line.tag, '{DIGEST_TAG}')
                        AND content <> 'attachment' AND {covered})"""

    def _keeps(self, rule: KeepRule) -> tuple[str, str]:
        """Whether the rule keeps a tag for certain, and whether a time is unknown."""
        keeps, unknown_times = ["false"], ["false"]
        if rule.keep_newest is not None:
            keeps.append(
                f"({rule.newest_by} IS NOT NULL AND place <= {rule.keep_newest:d})"
            )
            unknown_times.append(f"{rule.newest_by} IS NULL")
        ages = {
            "pushed": rule.keep_pushed_within,
            "pulled": rule.keep_pulled_within,
            "created": rule.keep_created_within,
        }
        for column, age_s in ages.items():
            if age_s is None:
                continue
            keeps.append(
                f"(epoch_us(audited) - epoch_us({column})) // 1000000 <= {age_s:d}"
            )
            missing = f"({column} IS NULL OR audited IS NULL)"
            if column == "pulled":
                # Nobody can have pulled it before its push.
                fresh = (
                    f"(epoch_us(audited) - epoch_us(pushed)) // 1000000 <= {age_s:d}"
                )
                keeps.append(f"coalesce({fresh}, false)")
            unknown_times.append(missing)
        if rule.keep_tags:
            keeps.append(self._matches(rule.keep_tags, ("tag",)))
        if rule.keep_releases:
            keeps.append(f"regexp_full_match(tag, '{RELEASE}')")
        if rule.unknown is UnknownTime.DELETE:
            unknown_times = ["false"]
        # A comparison with an unknown time is NULL, and must not hide another reason.
        certain = " OR ".join(f"coalesce({one}, false)" for one in keeps)
        return f"({certain})", f"({' OR '.join(unknown_times)})"

    def _matches(self, patterns: Sequence[str], columns: Sequence[str]) -> str:
        found = ["false"]
        for pattern in patterns:
            name = f"pattern_{len(self.parameters)}"
            self.parameters[name] = pattern
            found += [f"coalesce({column} GLOB ${name}, false)" for column in columns]
        return f"({' OR '.join(found)})"


_VERDICTS = """
    CREATE TABLE verdict AS
    SELECT id, reference, any_value(tag) AS tag, min(rule) AS rule,
           bool_or(kept OR kept_unknown) AS kept,
           bool_or(kept_unknown) AND NOT bool_or(kept) AS kept_unknown
    FROM ruled GROUP BY id, reference"""
