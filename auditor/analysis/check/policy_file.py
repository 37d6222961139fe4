"""Reads a policy file. All errors are reported at once, each with its line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from auditor.analysis.check.policy import Policy, PolicySection, Rule, Waiver
from auditor.analysis.check.rule_values import (
    DATE,
    PATTERN,
    PATTERNS,
    REASON,
    SEVERITY,
    UNKNOWN,
)
from auditor.analysis.check.rules import RULES
from auditor.config.toml_file import KeyPath, read_toml
from auditor.config.validation_errors import ValidationErrors, toml_key, unknown
from auditor.config.value_types import ValueType
from auditor.util.text import safe_text

_TOP_KEYS = ("rules", "waivers", "end_of_life")
# The keys of a section that are not rules.
_SECTION_KEYS: dict[str, ValueType] = {
    "repositories": PATTERNS,
    "except": PATTERNS,
    "tags": PATTERNS,
    "severity": SEVERITY,
    "unknown": UNKNOWN,
}
# The keys of a waiver; all are required.
_WAIVER_KEYS: dict[str, ValueType] = {
    "rules": PATTERNS,
    "references": PATTERNS,
    "reason": REASON,
    "expires": DATE,
}
# Section names are part of rule ids, which waivers and SARIF viewers use.
_SECTION_NAME = re.compile(r"[A-Za-z0-9_-]+")
# Rules that do not exist under these names.
_OTHER_NAMES = {
    "forbid_package": 'use forbidden_packages = ["NAME"]',
    "forbid_packages": 'use forbidden_packages = ["NAME"]',
    "required_sbom": 'use required_attachments = ["sbom"]',
    "stale_base": "use forbid_stale_base = true",
    "required_provenance": 'use required_attachments = ["provenance"]',
}


def load_policy(path: str) -> Policy:
    """Read a policy file; raises `ConfigError` with all errors."""
    file = read_toml(path)
    return read_policy(file.document, file_name=path, lines=file.lines())


def read_policy(
    document: Mapping[str, Any], *, file_name: str, lines: Mapping[KeyPath, int]
) -> Policy:
    """The policy in a parsed TOML document; raises `ConfigError` with all errors.

    `lines` are the line numbers of the keys, as `source_lines` gives them.
    """
    reader = _Reader(file_name, lines)
    policy = reader.policy(document)
    reader.errors.raise_if_any()
    return policy


class _Reader:
    def __init__(self, file_name: str, lines: Mapping[KeyPath, int]) -> None:
        self.errors = ValidationErrors()
        self._file_name = file_name
        self._lines = lines

    def policy(self, document: Mapping[str, Any]) -> Policy:
        for key in document:
            if key not in _TOP_KEYS:
                self._error((key,), unknown("key", key, _TOP_KEYS))
        sections = document.get("rules", {})
        if not isinstance(sections, dict):
            self._error(("rules",), "must be sections [rules.NAME]")
            sections = {}
        rules = [
            rule
            for name, keys in sections.items()
            for rule in self._section(("rules", name), name, keys)
        ]
        if not sections:
            self._error(("rules",), "no rule; add a section [rules.NAME]")
        tables = document.get("waivers", [])
        if not isinstance(tables, list):
            self._error(("waivers",), "must be [[waivers]], in double brackets")
            tables = []
        waivers = [
            waiver
            for number, keys in enumerate(tables)
            if (waiver := self._waiver(("waivers", number), keys, rules))
        ]
        ends = document.get("end_of_life", {})
        if not isinstance(ends, dict):
            self._error(("end_of_life",), "must be a section of patterns and dates")
            ends = {}
        return Policy(
            file_name=self._file_name,
            rules=tuple(rules),
            waivers=tuple(waivers),
            end_of_life=self._end_of_life(ends),
        )

    def _end_of_life(self, ends: Mapping[str, object]) -> dict[str, date]:
        """The last day of support by pattern."""
        path: KeyPath = ("end_of_life",)
        found: dict[str, Any] = {}
        for pattern, day in ends.items():
            try:
                PATTERN.read(pattern, as_text=False)
                found[pattern] = DATE.read(day, as_text=False)
            except ValueError as error:
                self._error((*path, pattern), error)
        return found

    def _section(self, path: KeyPath, name: str, keys: object) -> list[Rule]:
        if not isinstance(keys, dict):
            self._error(path, "must be in a section [rules.NAME]")
            return []
        if not _SECTION_NAME.fullmatch(name):
            self._error(path, "must be a name of letters, digits, - and _")
        rule_types = {name: rule.value_type for name, rule in RULES.items()}
        values = self._values(path, keys, _SECTION_KEYS | rule_types, "rule")
        if "tags" in keys and "forbid_latest_only" in keys:
            # That rule needs all tags of a repository.
            self._error(
                (*path, "tags"), "must not be in one section with forbid_latest_only"
            )
        fields = {key: values.pop(key) for key in _SECTION_KEYS if key in values}
        fields["excluded"] = fields.pop("except", ())
        section = PolicySection(name=name, **fields)
        return [
            Rule(
                section=section,
                definition=RULES[key],
                value=value,
                limit=safe_text(str(keys[key])),
                line=self._line((*path, key)),
            )
            for key, value in values.items()
        ]

    def _waiver(self, path: KeyPath, keys: object, rules: list[Rule]) -> Waiver | None:
        if not isinstance(keys, dict):
            self._error(path, "must be [[waivers]], in double brackets")
            return None
        values = self._values(path, keys, _WAIVER_KEYS, "key")
        for key in _WAIVER_KEYS:
            if key not in keys:
                self._error(path, f"{key} is missing")
        names = {*RULES, *(rule.id for rule in rules)}
        for name in values.get("rules", ()):
            if name not in names:
                self._error((*path, "rules"), f"{name}: {unknown('rule', name, names)}")
        if values.keys() != _WAIVER_KEYS.keys():
            return None
        return Waiver(**values, line=self._line(path))

    def _values(
        self,
        path: KeyPath,
        keys: Mapping[str, object],
        types: Mapping[str, ValueType],
        what: str,
    ) -> dict[str, Any]:
        """The valid values, in the order of the file."""
        values = {}
        for key, value in keys.items():
            if key not in types:
                reason = _OTHER_NAMES.get(key) or unknown(what, key, types)
                self._error((*path, key), reason)
                continue
            try:
                values[key] = types[key].read(value, as_text=False)
            except ValueError as error:
                self._error((*path, key), error)
        return values

    def _error(self, path: KeyPath, sentence: object) -> None:
        """Add an error at `file:line: rules.production.max_size`."""
        key = ".".join(toml_key(part) for part in path if isinstance(part, str))
        self.errors.add(f"{self._file_name}:{self._line(path)}: {key}", sentence)

    def _line(self, path: KeyPath) -> int:
        """The line of a key, or of the table that contains it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)
