"""SARIF 2.1.0 (OASIS standard) for code scanning services.

The location of a violation is the rule in the policy file, because these services show
only files of a repository; the reference is the logical location.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import orjson

from auditor.analysis.check.findings import Findings, Violation
from auditor.analysis.check.policy import Policy, Rule
from auditor.util.text import safe_text
from auditor.version import __version__

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/"
    "sarif-schema-2.1.0.json"
)


def render(findings: Findings) -> Iterator[str]:
    """One log with one run. Results are last, so that they can be streamed."""
    run = {
        "tool": {
            "driver": {
                "name": "auditor",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_descriptor(rule) for rule in findings.policy.rules],
            }
        },
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    {"level": "note", "message": {"text": notice}}
                    for notice in findings.notices()
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
    }
    head = _json(run).removesuffix("}")
    yield f'{{"$schema":"{_SCHEMA}","version":"2.1.0","runs":[{head},"results":['
    separator = "\n"
    for violation in findings.violations():
        yield separator + _json(_result(violation, findings.policy))
        separator = ",\n"
    yield "\n]}]}\n"


def _descriptor(rule: Rule) -> dict[str, Any]:
    """A reportingDescriptor (section 3.49)."""
    hint = rule.definition.hint
    text = (
        f"{rule.definition.summary.rstrip('.')}."
        f" Policy: {rule.definition.name} = {rule.limit}."
    )
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.definition.summary},
        "fullDescription": {"text": text},
        "help": {"text": text + (f" If unknown: {hint}." if hint else "")},
        "defaultConfiguration": {"level": rule.section.severity},
    }


def _result(violation: Violation, policy: Policy) -> dict[str, Any]:
    """A result (section 3.27)."""
    rule = violation.rule
    result: dict[str, Any] = {
        "ruleId": rule.id,
        "ruleIndex": policy.rules.index(rule),
        "level": rule.section.severity,
        "message": {"text": f"{violation.safe_reference}: {violation.detail}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(policy.file_name)},
                    "region": {"startLine": rule.line},
                },
                "logicalLocations": [
                    {"fullyQualifiedName": violation.safe_reference, "kind": "resource"}
                ],
            }
        ],
        "partialFingerprints": {"violation/v1": _fingerprint(violation)},
    }
    if violation.waiver is not None:
        result["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": f"{safe_text(violation.waiver.reason)}"
                f" (until {violation.waiver.expires})",
            }
        ]
    return result


def _fingerprint(violation: Violation) -> str:
    """A fingerprint that depends only on the rule and the reference."""
    identity = f"{violation.rule.id}\0{violation.reference}"
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()


def _uri(path: str) -> str:
    """A path as a relative reference, or a file URI (RFC 3986, RFC 8089)."""
    uri = quote(path.removeprefix("./"))
    return f"file://{uri}" if uri.startswith("/") else uri


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
