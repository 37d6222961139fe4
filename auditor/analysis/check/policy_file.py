"""Reading a policy. Every mistake is told at once, each with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from auditor.analysis.check.checks import CHECKS
from auditor.analysis.check.policy import Policy, PolicySection, Rule, Waiver
from auditor.analysis.check.rule_values import DATE, PATTERNS, REASON, SEVERITY, UNKNOWN
from auditor.config import read_toml
from auditor.config.validation_errors import ValidationErrors, toml_key, unknown
from auditor.config.values import ValueType
from auditor.util.text import safe_text

Place = tuple[str | int, ...]

_TOP = ("rules", "waivers")
# What a section may say beside its rules, and what a waiver has to say.
_SCOPE: dict[str, ValueType] = {
    "repositories": PATTERNS,
    "except": PATTERNS,
    "tags": PATTERNS,
    "severity": SEVERITY,
    "unknown": UNKNOWN,
}
_WAIVER: dict[str, ValueType] = {
    "rules": PATTERNS,
    "references": PATTERNS,
    "reason": REASON,
    "expires": DATE,
}
# It becomes part of rule ids, which waivers and SARIF viewers name.
_SECTION = re.compile(r"[A-Za-z0-9_-]+")
# What platform engineers look for by other names.
_ELSEWHERE = {
    "required_signature": 'use required_attachments = ["signature"]',
    "required_sbom": 'use required_attachments = ["sbom"]',
    "required_provenance": 'use required_attachments = ["provenance"]',
}


def load_policy(path: str) -> Policy:
    """The policy of a file, or `ConfigError` with every mistake."""
    file = read_toml(path)
    return read_policy(file.document, file_name=path, lines=file.lines())


def read_policy(
    document: Mapping[str, Any],
    *,
    file_name: str,
    lines: Mapping[tuple[str | int, ...], int],
) -> Policy:
    """The policy that a parsed TOML document says, or `ConfigError`.

    `lines` are the lines of its keys, as `source_lines` gives them.
    """
    reader = _Reader(file_name, lines)
    policy = reader.policy(document)
    reader.mistakes.raise_if_any()
    return policy


class _Reader:
    def __init__(self, file_name: str, lines: Mapping[Place, int]) -> None:
        self.mistakes = ValidationErrors()
        self._file_name = file_name
        self._lines = lines

    def policy(self, document: Mapping[str, Any]) -> Policy:
        for key in document:
            if key not in _TOP:
                self._mistake((key,), unknown("key", key, _TOP))
        rules: list[Rule] = []
        for name, keys in self._table(document, "rules").items():
            rules += self._section(("rules", name), name, keys)
        if not rules:
            self._mistake(("rules",), "no rule: a section [rules.NAME] is wanted")
        given = document.get("waivers", [])
        if not isinstance(given, list):
            self._mistake(("waivers",), "[[waivers]], in double brackets, is wanted")
            given = []
        waivers = [
            waiver
            for number, keys in enumerate(given)
            if (waiver := self._waiver(("waivers", number), keys, rules))
        ]
        return Policy(
            file_name=self._file_name, rules=tuple(rules), waivers=tuple(waivers)
        )

    def _table(self, document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        table = document.get(key, {})
        if isinstance(table, dict):
            return table
        self._mistake((key,), f"sections [{key}.NAME] are wanted")
        return {}

    def _section(self, path: Place, name: str, keys: object) -> list[Rule]:
        if not isinstance(keys, dict):
            self._mistake(path, "this belongs into a section [rules.NAME]")
            return []
        if not _SECTION.fullmatch(name):
            self._mistake(path, "a name of letters, digits, - and _ is wanted")
        checks = {name: check.value for name, check in CHECKS.items()}
        values = self._values(path, keys, _SCOPE | checks, "rule")
        if "tags" in keys and "forbid_latest_only" in keys:
            # which holds for the repository: its other tags are what it is about
            self._mistake((*path, "tags"), "not in one section with forbid_latest_only")
        scope = {key: values.pop(key) for key in _SCOPE if key in values}
        scope["excluded"] = scope.pop("except", ())
        section = PolicySection(name=name, **scope)
        return [
            Rule(
                section=section,
                check=CHECKS[key],
                value=value,
                limit=safe_text(str(keys[key])),
                line=self._line((*path, key)),
            )
            for key, value in values.items()
        ]

    def _waiver(self, path: Place, keys: object, rules: list[Rule]) -> Waiver | None:
        if not isinstance(keys, dict):
            self._mistake(path, "[[waivers]], in double brackets, is wanted")
            return None
        values = self._values(path, keys, _WAIVER, "key")
        for key in _WAIVER:
            if key not in keys:
                self._mistake(path, f"{key} is missing")
        known = {*CHECKS, *(rule.id for rule in rules)}
        for name in values.get("rules", ()):
            if name not in known:
                self._mistake(
                    (*path, "rules"), f"{name}: {unknown('rule', name, known)}"
                )
        if values.keys() != _WAIVER.keys():
            return None
        return Waiver(**values, line=self._line(path))

    def _values(
        self,
        path: Place,
        keys: Mapping[str, object],
        kinds: Mapping[str, ValueType],
        what: str,
    ) -> dict[str, Any]:
        """The values of the keys that are right, in the order of the file."""
        values = {}
        for key, value in keys.items():
            place = (*path, key)
            if key in kinds:
                try:
                    values[key] = kinds[key].read(value, as_text=False)
                except ValueError as error:
                    self._mistake(place, error)
            else:
                self._mistake(place, _ELSEWHERE.get(key) or unknown(what, key, kinds))
        return values

    def _mistake(self, path: Place, sentence: object) -> None:
        """Note a mistake at `file:line: rules.production.max_size`."""
        parts = [toml_key(part) for part in path if isinstance(part, str)]
        place = f"{self._file_name}:{self._line(path)}: {'.'.join(parts)}"
        self.mistakes.add(place, sentence)

    def _line(self, path: Place) -> int:
        """The line of a key, or of what it is in."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)
