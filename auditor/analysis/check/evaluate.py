"""Asking a policy of a report: one pass over the lines, then over what it found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date

import duckdb

from auditor.analysis.check.check import Subject
from auditor.analysis.check.findings import Findings
from auditor.analysis.check.policy import Policy, PolicySection, Rule, Waiver
from auditor.analysis.reports import (
    add_reports,
    keep_last_lines,
    open_reports,
    platform_name,
)
from auditor.errors import UsageError

# -- subject --
# What rules are asked of: the lines of a report, with what they ask for at hand.

# Docker's first release: what is dated before was given a date to be reproducible
# (1970, 1980 in zip files, year 1), and its age is not known.
FIRST_CREATED = "2013-03-20"

# OCI image-spec, annotations.md: stands in where no config was fetched.
CREATED = "org.opencontainers.image.created"

# A word for each media type under which a thing is attached. Sources: cosign
# specs/SIGNATURE_SPEC.md and BUNDLE_SPEC.md, notation signature-specification.md,
# SPDX and CycloneDX registrations, in-toto attestation spec/v1/bundle.md, SLSA.
_WORDS = """
    list_distinct(list_concat(
      [CASE a.kind WHEN 'artifact' THEN NULL ELSE a.kind END,
       CASE WHEN a.kind = 'attestation' AND len(coalesce(a.predicates, [])) = 0
            THEN 'unclear' END],
      [word.name FOR word IN [
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
       ] IF a.artifact_type GLOB word.pattern],
      flatten([[word.name FOR word IN [
         {'name': 'sbom', 'pattern': '*spdx*'},
         {'name': 'sbom', 'pattern': '*cyclonedx*'},
         {'name': 'sbom', 'pattern': '*syft*'},
         {'name': 'provenance', 'pattern': '*provenance*'}
       ] IF lower(predicate) GLOB word.pattern] FOR predicate IN a.predicates])))"""

# `name` is the repository with its registry. Microseconds since 1970 are `_us`.
SUBJECTS = f"""
SELECT kind, reference, registry, repository, tag, digest, failure, detail,
       coalesce(registry || '/' || repository, reference) AS name,
       artifact_type, architectures, size, annotations, access, audited_at,
       platforms_left_out, signed, has_sbom, has_provenance, warnings,
       list_distinct(flatten([map_keys(p.config.labels) FOR p IN platforms]))
         AS label_names,
       epoch_us(TRY_CAST(audited_at AS TIMESTAMPTZ)) AS audited_us,
       list_distinct(list_concat(
         [media_type],
         [p.media_type FOR p IN platforms],
         flatten([[l.media_type FOR l IN p.layers] FOR p IN platforms])
       )) AS media_types,
       [{{
         'name': coalesce(nullif({platform_name("p")}, ''), 'the artifact'),
         'digest': p.digest,
         'size': p.size,
         'layers': [l.digest FOR l IN p.layers],
         'labels': p.config.labels,
         'bases': [base FOR base IN [p.base.name, p.base.digest] IF base IS NOT NULL],
         'configured': p.config IS NOT NULL,
         'user': p.config.user,
         'created_us': [us FOR us IN
            [epoch_us(TRY_CAST(coalesce(p.created, annotated) AS TIMESTAMPTZ))]
            IF us >= epoch_us(TIMESTAMP '{FIRST_CREATED}')][1]
       }} FOR p IN platforms] AS parts,
       [{{'subject': a.subject, 'words': {_WORDS}}} FOR a IN attachments] AS attached
FROM (SELECT *, map_extract(annotations, '{CREATED}')[1] AS annotated FROM lines)"""  # noqa: S608  (every part is a constant of this file)


# -- questions --
# The SQL of a policy: its rules over every line, in one pass, and what follows.
#
# Values of the policy are parameters of the query, never parts of its text.

_OUTCOME = "STRUCT(rule INTEGER, found VARCHAR[], unknown VARCHAR[])"

# What a waiver may call what it excuses.
_NAMES = (
    "reference",
    "substr(reference, length(registry) + 2)",
    "concat_ws('/', registry, repository)",
    "repository",
)


class PolicyQueries:
    """Builds queries; `parameters` are theirs, all of them, by name."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.parameters: dict[str, object] = {}

    def check_reports(self) -> str:
        """Every line with its outcomes: the only query that reads the report.

        `applies_N` says whether section N is about the line.
        """
        outcomes = ", ".join(
            self._outcome(number, rule)
            for number, rule in enumerate(self._policy.rules)
            if rule.check.subject in {Subject.IMAGE, Subject.FAILURE}
        )
        applies = ", ".join(
            f"{self._applies(section)} AS applies_{number}"
            for number, section in enumerate(self._policy.sections)
        )
        return (
            "SELECT * EXCLUDE (artifact_type, architectures, size, annotations, access,"  # noqa: S608
            " platforms_left_out, signed, has_sbom, has_provenance, warnings,"
            " audited_us, media_types, parts, attached, detail),"
            f" CAST([o FOR o IN [{outcomes}] IF len(o.found) > 0 OR len(o.unknown) > 0]"
            f" AS {_OUTCOME}[]) AS outcomes"
            f" FROM (SELECT *, {applies} FROM ({SUBJECTS}))"
        )

    def of_lines(self) -> str:
        """The outcomes of single lines."""
        return (
            "SELECT o.rule, reference, registry, repository, tag, digest,"
            " o.found, o.unknown FROM (SELECT *, unnest(outcomes) AS o FROM checked)"
        )

    def of_repositories(self, number: int, rule: Rule) -> str:
        """The outcomes of a rule about all lines of a repository."""
        section = self._section(rule)
        return (
            f"SELECT {number}, name, any_value(registry), any_value(repository), NULL,"  # noqa: S608
            f" NULL, {self._asked(number, rule, rule.check.found)} AS found, NULL"
            f" FROM checked WHERE {section} GROUP BY name HAVING len(found) > 0"
        )

    def of_earlier(self, number: int, rule: Rule) -> str:
        """The outcomes of a rule about what the table `earlier` says of a tag."""
        return (
            "SELECT * FROM ("  # noqa: S608
            f" SELECT {number}, reference, registry, repository, tag, digest,"
            f" {self._asked(number, rule, rule.check.found)} AS found, NULL"
            " FROM checked JOIN earlier USING (reference)"
            f" WHERE kind = 'image' AND {self._section(rule)}) WHERE len(found) > 0"
        )

    def waivers(self, waivers: Sequence[tuple[int, Waiver]]) -> str:
        """The number of the first of these waivers that covers an outcome, or null."""
        cases = ""
        for number, waiver in waivers:
            rules = [
                str(n)
                for n, rule in enumerate(self._policy.rules)
                if waiver.covers(rule)
            ]
            if rules:
                matches = self._matches(waiver.references, _NAMES)
                named = ", ".join(rules)
                cases += f" WHEN rule IN ({named}) AND {matches} THEN {number}"
        return f"CASE {cases} END" if cases else "CAST(NULL AS INTEGER)"

    def _outcome(self, number: int, rule: Rule) -> str:
        applies = f"kind = '{rule.check.subject}' AND {self._section(rule)}"
        found = self._asked(number, rule, rule.check.found)
        unknown = self._asked(number, rule, rule.check.unknown or "NULL")
        return (
            f"{{'rule': {number},"
            f" 'found': CASE WHEN {applies} THEN ({found}) END,"
            f" 'unknown': CASE WHEN {applies} THEN ({unknown}) END}}"
        )

    def _section(self, rule: Rule) -> str:
        return f"applies_{self._policy.sections.index(rule.section)}"

    def _asked(self, number: int, rule: Rule, expression: str) -> str:
        if "$value" in expression:
            value = rule.value
            self.parameters[f"value_{number}"] = (
                list(value) if isinstance(value, tuple) else value
            )
        return expression.replace("$value", f"$value_{number}")

    def _applies(self, section: PolicySection) -> str:
        of = ("name", "repository")
        applies = self._matches(section.repositories, of)
        if section.excluded:
            applies += f" AND NOT {self._matches(section.excluded, of)}"
        if section.tags:
            applies += f" AND {self._matches(section.tags, ('tag',))}"
        return f"coalesce({applies}, false)"

    def _matches(self, patterns: Sequence[str], texts: Sequence[str]) -> str:
        """Whether one of the texts matches one of the patterns; a null never does."""
        either = []
        for pattern in patterns:
            name = f"pattern_{len(self.parameters)}"
            self.parameters[name] = pattern
            either += [f"coalesce({text} GLOB ${name}, false)" for text in texts]
        return f"({' OR '.join(either)})"


def by_validity(
    policy: Policy, today: date
) -> tuple[list[tuple[int, Waiver]], list[tuple[int, Waiver]]]:
    """The waivers that hold and those that have expired, with their numbers."""
    numbered = list(enumerate(policy.waivers))
    return (
        [(number, waiver) for number, waiver in numbered if waiver.holds(today)],
        [(number, waiver) for number, waiver in numbered if not waiver.holds(today)],
    )


@contextmanager
def check_reports(
    reports: Sequence[str],
    policy: Policy,
    *,
    today: date,
    earlier: Sequence[str] = (),
) -> Iterator[Findings]:
    """What a policy finds in reports; `earlier` are those of an earlier audit.

    `today` (UTC) decides which waivers hold. Raises `UsageError` where a report
    cannot be read, or a rule needs an earlier one and there is none.
    """
    if (rule := policy.needs_earlier) is not None and not earlier:
        raise UsageError(
            f"{policy.file_name}:{rule.line}: {rule.id} needs an earlier report:"
            " --previous REPORT"
        )
    with open_reports(reports) as connection:
        _ask(connection, policy, earlier)
        _judge(connection, policy, today)
        yield Findings(connection, policy)


def _ask(
    connection: duckdb.DuckDBPyConnection, policy: Policy, earlier: Sequence[str]
) -> None:
    """Make `check_reports`, a row a line, and `outcomes`, a row a rule broken or unknown."""
    questions = PolicyQueries(policy)
    text = questions.check_reports()
    connection.execute(f"CREATE TABLE checked AS {text}", questions.parameters)
    connection.execute(keep_last_lines("checked", "reference"))
    connection.execute(f"CREATE TABLE outcomes AS {questions.of_lines()}")
    for number, rule in enumerate(policy.rules):
        questions = PolicyQueries(policy)
        if rule.check.subject is Subject.REPOSITORY:
            text = questions.of_repositories(number, rule)
        elif rule.check.subject is Subject.EARLIER:
            _remember(connection, earlier)
            text = questions.of_earlier(number, rule)
        else:
            continue
        connection.execute(f"INSERT INTO outcomes {text}", questions.parameters)


def _remember(connection: duckdb.DuckDBPyConnection, earlier: Sequence[str]) -> None:
    """Make `earlier`: the last digest that the earlier reports have for a tag."""
    add_reports(connection, earlier, schema="before")
    connection.execute("USE main")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS earlier AS SELECT reference,"
        " arg_max(digest, audited_at) AS digest_before"
        " FROM before.images WHERE tag IS NOT NULL GROUP BY reference"
    )


def _judge(connection: duckdb.DuckDBPyConnection, policy: Policy, today: date) -> None:
    """Make `judged`: the outcomes with the waiver that holds, or has expired."""
    questions = PolicyQueries(policy)
    holding, over = by_validity(policy, today)
    text = (
        f"SELECT *, coalesce(len(found), 0) > 0 AS known,"  # noqa: S608
        f" {questions.waivers(holding)} AS waiver, {questions.waivers(over)} AS expired"
        " FROM outcomes"
    )
    connection.execute(f"CREATE TABLE judged AS {text}", questions.parameters)
