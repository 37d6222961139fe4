"""Evaluates a policy in SQL: one pass over the lines of the report, then the waivers.

Rules about the end of life, packages and stale bases read the lines once more each.
The table `checked` has a row per reference with the `outcomes` of rules about single
lines, `outcomes` a row per violated or unknown rule, and `judged` these with the waiver
that applies. Values of the policy are parameters of the queries, never part of their
text.
"""

# ruff: noqa: S608  (the SQL is made of constants, numbers and named parameters)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, cast

import duckdb

from auditor.analysis.check.findings import Findings
from auditor.analysis.check.newer_platforms import create_newer_platforms
from auditor.analysis.check.package_outcomes import create_package_outcomes
from auditor.analysis.check.policy import Policy, PolicySection, Rule, Subject
from auditor.analysis.completeness import check_not_empty
from auditor.analysis.end_of_life import create_end_of_life
from auditor.analysis.file_kind import FileKind
from auditor.analysis.package_types import AbsentType
from auditor.analysis.package_uses import PackageCondition
from auditor.analysis.pinned_bases import resolve_pinned_bases
from auditor.analysis.platform_sql import platform_name
from auditor.analysis.report_views import (
    add_reports,
    creation_time,
    keep_last_lines,
    open_reports,
    report_paths,
)
from auditor.errors import UsageError
from auditor.model import SCHEMA1_TYPES


@contextmanager
def check_reports(
    reports: Sequence[str],
    policy: Policy,
    *,
    today: date,
    earlier: Sequence[str] = (),
    sboms: Sequence[str] | None = None,
) -> Iterator[Findings]:
    """Check reports, given as files or globs.

    `earlier` are the reports of an earlier audit, `sboms` the files of `audit --sbom`;
    none of these means that what is in the SBOMs is unknown. `today` (UTC) decides
    which waivers apply. Raises `UsageError` if a file cannot be read, if a
    report is that of an unfinished audit, if a rule needs
    an earlier report and `earlier` names none or an empty one, if a rule needs
    SBOMs and `sboms` is None, or if it names a type of packages that does not exist.
    """
    for rule in policy.rules:
        if rule.definition.subject is Subject.EARLIER and not earlier:
            raise UsageError(
                f"{policy.file_name}:{rule.line}: {rule.id} needs an earlier report;"
                " give one with --previous REPORT"
            )
        if rule.definition.subject is Subject.PACKAGES and sboms is None:
            raise UsageError(
                f"{policy.file_name}:{rule.line}: {rule.id} needs the packages of the"
                " SBOMs; give the file of audit --sbom with --sbom FILE"
            )
    sbom_files = report_paths(sboms or (), kind=FileKind.SBOMS)
    with open_reports(reports, views=()) as connection:
        absent = _create_outcomes(connection, policy, earlier, sbom_files)
        _create_newer(connection, policy)
        _create_judged(connection, policy, today)
        yield Findings(connection, policy, absent_types=absent)


def _create_outcomes(
    connection: duckdb.DuckDBPyConnection,
    policy: Policy,
    earlier: Sequence[str],
    sbom_files: Sequence[str],
) -> list[AbsentType]:
    """Create `checked` and `outcomes`; returns the types that no package has."""
    queries = PolicyQueries(policy)
    lines = "lines"
    if any(rule.definition.name == "forbid_stale_base" for rule in policy.rules):
        lines = resolve_pinned_bases(connection, lines=lines)
    text = queries.of_report(lines)
    connection.execute(f"CREATE TABLE checked AS {text}", queries.parameters)
    connection.execute(keep_last_lines("checked", "reference"))
    connection.execute(f"CREATE TABLE outcomes AS {_LINE_OUTCOMES}")
    if any(rule.definition.subject is Subject.EARLIER for rule in policy.rules):
        add_reports(connection, earlier, schema="before", views=("images",))
        check_not_empty(connection, "--previous has no tags to compare with")
        connection.execute("USE main")
        connection.execute(_EARLIER)
    if any(rule.definition.subject is Subject.END_OF_LIFE for rule in policy.rules):
        create_end_of_life(connection, policy.end_of_life, lines="lines")
    conditions = {
        number: cast("tuple[PackageCondition, ...]", rule.value)
        for number, rule in enumerate(policy.rules)
        if rule.definition.subject is Subject.PACKAGES
    }
    absent = []
    if conditions:
        absent = create_package_outcomes(connection, conditions, sbom_files)
        _check_types(policy, absent)
    for number, rule in enumerate(policy.rules):
        queries = PolicyQueries(policy)
        if rule.definition.subject is Subject.REPOSITORY:
            text = queries.of_repositories(number, rule)
        elif rule.definition.subject is Subject.EARLIER:
            text = queries.of_earlier(number, rule)
        elif rule.definition.subject is Subject.END_OF_LIFE:
            text = queries.of_table(number, rule, "end_of_life")
        elif rule.definition.subject is Subject.PACKAGES:
            text = queries.of_table(
                number, rule, f"(FROM package_outcomes WHERE rule = {number})"
            )
        else:
            continue
        connection.execute(f"INSERT INTO outcomes {text}", queries.parameters)
    return absent


class PackageTypeError(UsageError):
    """A rule names a type of packages that does not exist: only SBOMs can show that."""


def _check_types(policy: Policy, absent: Sequence[AbsentType]) -> None:
    """Raise `PackageTypeError` for a type of packages that does not exist."""
    for each in absent:
        if not each.is_known:
            rule = policy.rules[each.condition]
            raise PackageTypeError(
                f"{policy.file_name}:{rule.line}: {rule.id}: type {each.text}"
            )


def _create_newer(connection: duckdb.DuckDBPyConnection, policy: Policy) -> None:
    """Create `newer_platforms` for the rules about platforms."""
    accepted = {
        number: {
            value["name"]: value["accepted"]
            for value in cast("tuple[dict[str, Any], ...]", rule.value)
        }
        for number, rule in enumerate(policy.rules)
        if rule.definition.name == "required_platforms"
    }
    create_newer_platforms(connection, accepted)


def _create_judged(
    connection: duckdb.DuckDBPyConnection, policy: Policy, today: date
) -> None:
    """Create `judged`: outcomes with the number of the waiver, valid or expired."""
    queries = PolicyQueries(policy)
    text = (
        "SELECT *, coalesce(len(found), 0) > 0 AS known,"
        f" {queries.waiver_number(today, expired=False)} AS waiver,"
        f" {queries.waiver_number(today, expired=True)} AS expired FROM outcomes"
    )
    connection.execute(f"CREATE TABLE judged AS {text}", queries.parameters)


# -- the rows that rules apply to --

# The kinds of an attachment, by the media type under which it is attached. Sources:
# cosign specs/SIGNATURE_SPEC.md and BUNDLE_SPEC.md, notation
# signature-specification.md, SPDX and CycloneDX registrations, in-toto attestation
# spec/v1/bundle.md, SLSA.
_KINDS = """
    list_distinct(list_concat(
      [CASE a.kind WHEN 'artifact' THEN NULL ELSE a.kind END,
       CASE WHEN a.kind = 'attestation' AND len(coalesce(a.predicates, [])) = 0
            THEN 'unclear' END],
      [k.name FOR k IN [
         {'name': 'signature', 'pattern': '*cncf.notary.signature*'},
         {'name': 'signature', 'pattern': '*dev.cosign.simplesigning*'},
         {'name': 'signature', 'pattern': '*dev.cosign.artifact.sig*'},
         {'name': 'signature', 'pattern': '*dev.sigstore.bundle*'},
         {'name': 'attestation', 'pattern': '*dev.sigstore.bundle*'},
         {'name': 'sbom', 'pattern': '*spdx*'},
         {'name': 'sbom', 'pattern': '*cyclonedx*'},
         {'name': 'sbom', 'pattern': '*syft*'},
         {'name': 'attestation', 'pattern': '*in-toto*'},
         {'name': 'provenance', 'pattern': '*slsa*'},
         {'name': 'provenance', 'pattern': '*provenance*'}
       ] IF a.artifact_type GLOB k.pattern],
      flatten([[k.name FOR k IN [
         {'name': 'sbom', 'pattern': '*spdx*'},
         {'name': 'sbom', 'pattern': '*cyclonedx*'},
         {'name': 'sbom', 'pattern': '*syft*'},
         {'name': 'provenance', 'pattern': '*provenance*'}
       ] IF lower(predicate) GLOB k.pattern] FOR predicate IN a.predicates])))"""

# What people recognise as theirs: workloads, and labels of the input.
_USED_BY = """
    list_sort(list_distinct(list_concat(
      [concat(s.namespace || '/', s.workload) FOR s IN sources
       IF s.workload IS NOT NULL],
      [entry.key || ': ' || array_to_string(entry.value, ', ')
       FOR entry IN map_entries(input_labels)])))"""

# `name` is the repository with its registry; `_us` are microseconds since 1970.
SUBJECTS = f"""
SELECT kind, reference, registry, repository, tag, digest, failure, detail,
       coalesce(registry || '/' || repository, reference) AS name,
       content, untagged, architectures, size, annotations, access, audited_at,
       platforms_left_out, signed, has_sbom, has_provenance, warnings,
       bases AS base_checks, bases_left_out,
       {_USED_BY} AS used_by,
       verified_by, not_verified_by, signatures,
       list_distinct(flatten([map_keys(p.config.labels) FOR p IN platforms]))
         AS label_names,
       epoch_us(TRY_CAST(audited_at AS TIMESTAMPTZ)) AS audited_us,
       epoch_us(TRY_CAST(pushed_at AS TIMESTAMPTZ)) AS pushed_us,
       epoch_us(TRY_CAST(pulled_at AS TIMESTAMPTZ)) AS pulled_us,
       list_distinct(list_concat(
         [media_type],
         [p.media_type FOR p IN platforms],
         flatten([[l.media_type FOR l IN p.layers] FOR p IN platforms])
       )) AS media_types,
       [{{
         'name': coalesce(nullif({platform_name("p")}, ''),
                          CASE content WHEN 'image' THEN 'the image'
                               ELSE 'the artifact' END),
         'present': p.layers IS NOT NULL OR p.config_digest IS NOT NULL
             OR starts_with(p.media_type, '{SCHEMA1_TYPES}'),
         'digests': list_concat([p.digest], [x.digest FOR x IN p.alternatives]),
         'size': p.size,
         'layers': [l.digest FOR l IN p.layers],
         'other_layers': flatten([[l.digest FOR l IN x.layers]
                                  FOR x IN p.alternatives]),
         'labels': p.config.labels,
         'bases': [base FOR base IN [p.base.name, p.base.digest] IF base IS NOT NULL],
         'configured': p.config IS NOT NULL,
         'user': p.config.user,
         'created_us': epoch_us({creation_time("p")})
       }} FOR p IN platforms] AS platform_info,
       [{{'subject': a.subject,
         'may_be_of_a_platform':
           a.subject IS NULL AND (a.predicates IS NULL OR a.kind = 'attestation'),
         'kinds': {_KINDS}}} FOR a IN attachments] AS attached
FROM $lines"""


# -- queries --

_OUTCOME = "STRUCT(rule INTEGER, found VARCHAR[], unknown VARCHAR[])"

# The last digest of each tag in the earlier reports.
_EARLIER = """
    CREATE TABLE earlier AS
    SELECT reference, arg_max(digest, audited_at) AS digest_before
    FROM before.images WHERE tag IS NOT NULL GROUP BY reference"""

# Outcomes of rules about single lines.
_LINE_OUTCOMES = """
    SELECT o.rule, reference, registry, repository, tag, digest, used_by, o.found,
           o.unknown
    FROM (SELECT *, unnest(outcomes) AS o FROM checked)"""

# What the pattern of a waiver can match.
_WAIVER_TARGETS = (
    "reference",
    "substr(reference, length(registry) + 2)",
    "concat_ws('/', registry, repository)",
    "repository",
)


class PolicyQueries:
    """Builds queries; `parameters` collects the named parameters of all of them."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.parameters: dict[str, object] = {}

    def of_report(self, lines: str) -> str:
        """Every line of a view with its outcomes.

        `applies_N` is whether section N applies to the line.
        """
        outcomes = ", ".join(
            self._outcome(number, rule)
            for number, rule in enumerate(self._policy.rules)
            if rule.definition.subject in {Subject.IMAGE, Subject.FAILURE}
        )
        applies = ", ".join(
            f"{self._section_applies(section)} AS applies_{number}"
            for number, section in enumerate(self._policy.sections)
        )
        return (
            "SELECT * EXCLUDE (size, annotations, access,"
            " platforms_left_out, signed, has_sbom, has_provenance, warnings,"
            " verified_by, not_verified_by, signatures, base_checks,"
            " bases_left_out, audited_us, pushed_us, pulled_us,"
            " media_types, platform_info, attached, detail),"
            " coalesce(pushed_us, list_max([p.created_us FOR p IN platform_info]))"
            " AS moved_us,"
            f" CAST([o FOR o IN [{outcomes}] IF len(o.found) > 0 OR len(o.unknown) > 0]"
            f" AS {_OUTCOME}[]) AS outcomes"
            f" FROM (SELECT *, {applies} FROM ({SUBJECTS.replace('$lines', lines)}))"
        )

    def of_repositories(self, number: int, rule: Rule) -> str:
        """Outcomes of a rule about all lines of a repository."""
        violations = self._expression(number, rule, rule.definition.violations)
        return (
            f"SELECT {number}, name, any_value(registry), any_value(repository), NULL,"
            f" NULL, NULL, {violations} AS found, NULL FROM checked"
            f" WHERE {self._applies(rule)} GROUP BY name HAVING len(found) > 0"
        )

    def of_earlier(self, number: int, rule: Rule) -> str:
        """Outcomes of a rule that compares tags with the table `earlier`."""
        violations = self._expression(number, rule, rule.definition.violations)
        return (
            "SELECT * FROM ("
            f" SELECT {number}, reference, registry, repository, tag, digest, used_by,"
            f" {violations} AS found, NULL"
            " FROM checked JOIN earlier USING (reference)"
            f" WHERE kind = 'image' AND {self._applies(rule)}) WHERE len(found) > 0"
        )

    def of_table(self, number: int, rule: Rule, table: str) -> str:
        """Outcomes of a rule about a table that has rows by `reference`."""
        found = self._expression(number, rule, rule.definition.violations)
        unknown = self._expression(number, rule, rule.definition.unknown or "NULL")
        return (
            "SELECT * FROM ("
            f" SELECT {number}, reference, registry, repository, tag, digest, used_by,"
            f" {found} AS found, {unknown} AS unknown"
            f" FROM checked JOIN {table} USING (reference)"
            f" WHERE kind = 'image' AND {self._applies(rule)})"
            " WHERE len(found) > 0 OR len(unknown) > 0"
        )

    def waiver_number(self, today: date, *, expired: bool) -> str:
        """The number of the first such waiver that covers an outcome, or NULL."""
        cases = ""
        for number, waiver in enumerate(self._policy.waivers):
            rules = ", ".join(
                str(rule_number)
                for rule_number, rule in enumerate(self._policy.rules)
                if waiver.covers(rule)
            )
            if rules and waiver.is_valid(today) is not expired:
                matches = self._matches(waiver.references, _WAIVER_TARGETS)
                cases += f" WHEN rule IN ({rules}) AND {matches} THEN {number}"
        return f"CASE {cases} END" if cases else "CAST(NULL AS INTEGER)"

    def _outcome(self, number: int, rule: Rule) -> str:
        definition = rule.definition
        applies = f"kind = '{definition.subject}' AND {self._applies(rule)}"
        found = self._expression(number, rule, definition.violations)
        unknown = self._expression(number, rule, definition.unknown or "NULL")
        return (
            f"{{'rule': {number},"
            f" 'found': CASE WHEN {applies} THEN ({found}) END,"
            f" 'unknown': CASE WHEN {applies} THEN ({unknown}) END}}"
        )

    def _applies(self, rule: Rule) -> str:
        return f"applies_{self._policy.sections.index(rule.section)}"

    def _expression(self, number: int, rule: Rule, expression: str) -> str:
        if "$value" in expression:
            value = rule.value
            self.parameters[f"value_{number}"] = (
                list(value) if isinstance(value, tuple) else value
            )
        return expression.replace("$value", f"$value_{number}")

    def _section_applies(self, section: PolicySection) -> str:
        columns = ("name", "repository")
        applies = self._matches(section.repositories, columns)
        if section.excluded:
            applies += f" AND NOT {self._matches(section.excluded, columns)}"
        if section.tags:
            applies += f" AND {self._matches(section.tags, ('tag',))}"
        # Nobody pulls by a name what has no tag: a policy is about what has one.
        return f"coalesce({applies}, false) AND untagged IS NOT TRUE"

    def _matches(self, patterns: Sequence[str], columns: Sequence[str]) -> str:
        """Whether a column matches one of the patterns; NULL never does."""
        alternatives = []
        for pattern in patterns:
            name = f"pattern_{len(self.parameters)}"
            self.parameters[name] = pattern
            alternatives += [f"coalesce({c} GLOB ${name}, false)" for c in columns]
        return f"({' OR '.join(alternatives)})"
