"""The alert rules and the dashboard use metrics and labels that exist."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor.errors import FailureKind
from auditor.report.metrics import Metric, audit_metrics, check_metrics, night_metrics
from auditor.wire.rate_limit import RateLimit
from tests.records import EVERYTHING
from tests.unit.report.test_metrics import COMPLETE, summary

DEPLOY = Path(__file__).parents[2] / "deploy"
# Labels that Prometheus and the textfile collector add.
ADDED_LABELS = frozenset({"instance", "audit"})
_RUN = replace(
    summary(EVERYTHING, listings=(COMPLETE,)),
    rate_limits=[("docker.io", RateLimit(remaining=7))],
)
_SBOMS = {"written": True, "read": 1, "unreadable": 0, "failed": 0}
METRICS: tuple[Metric, ...] = (
    *audit_metrics(_RUN.to_json() | {"sboms": _SBOMS}),
    *check_metrics(
        violations={"a": 1}, waived={"a": 1}, finished_at="2026-11-24T02:00:00Z"
    ),
    *night_metrics(exit_code=0, finished_s=0, complete=True, changes={"moved": 1}),
)
_SELECTOR = re.compile(r"\b(auditor_[a-z_]+)(?:\{([^}]*)\})?")
# One selector for several metrics, whose matcher of the name comes first.
_NAMES = re.compile(r'\{__name__=~"([^"]*)"')
_MATCHER = re.compile(r'([a-z_]+)(=~|=|!=|!~)"([^"]*)"')
_BY = re.compile(r"\bby \(([^)]*)\)")


def labels_of(metric: Metric) -> dict[str, set[str]]:
    return {
        label: {values[position] for values in metric.values}
        for position, label in enumerate(metric.labels)
    }


KNOWN = {metric.name: labels_of(metric) for metric in METRICS}


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression reads; every name in it must exist."""
    plain = {name for name, _ in _SELECTOR.findall(_NAMES.sub("{", expression))}
    assert plain <= KNOWN.keys()
    found = set(plain)
    for pattern in _NAMES.findall(expression):
        named = {name for name in KNOWN if re.fullmatch(pattern, name)}
        assert len(named) == pattern.count("|") + 1, pattern
        found |= named
    return found


def check_expression(expression: str) -> None:
    assert metrics_of(expression), expression
    selectors = _SELECTOR.findall(_NAMES.sub("{", expression))
    labels = set(ADDED_LABELS)
    for name, matchers in selectors:
        labels |= KNOWN[name].keys()
        for label, operator, value in _MATCHER.findall(matchers):
            if label in ADDED_LABELS:
                continue
            assert label in KNOWN[name], f"{name} has no label {label}"
            for one in value.split("|") if operator == "=~" else [value]:
                assert one in KNOWN[name][label], f"{name}: {label} is never {one}"
    for names in _BY.findall(expression):
        assert set(re.split(r",\s*", names)) <= labels, expression


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((DEPLOY / "alertmanager" / "alerts.yml").read_text())
    (group,) = document["groups"]
    assert group.keys() == {"name", "rules"}
    found: list[dict[str, Any]] = group["rules"]
    return found


DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_uses_existing_metrics_and_labels(rule: dict[str, Any]) -> None:
    check_expression(rule["expr"])
    assert rule["labels"]["severity"] in {"warning", "critical"}
    text = " ".join(rule["annotations"].values())
    kept = {label for names in _BY.findall(rule["expr"]) for label in names.split(", ")}
    for label in re.findall(r"\$labels\.([a-z_]+)", text):
        assert label in (kept or ADDED_LABELS), f"the alert does not keep {label}"


def test_alert_names_are_unique_and_documented() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    page = DEPLOY.parent / "docs" / "how-to" / "monitoring.md"
    assert re.findall(r"^\| `(\w+)` \|", page.read_text(), re.MULTILINE) == names


def targets() -> list[tuple[str, str]]:
    return [
        (panel["title"], target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]


@pytest.mark.parametrize(("title", "expression"), targets())
def test_a_panel_uses_existing_metrics_and_labels(title: str, expression: str) -> None:
    check_expression(expression)


def test_the_dashboard_shows_every_metric_of_a_run() -> None:
    shown = set().union(*(metrics_of(expression) for _, expression in targets()))
    not_shown = KNOWN.keys() - shown
    assert not_shown == {
        "auditor_run_info",
        "auditor_run_started_timestamp_seconds",
    }


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_blame_label_has_every_value() -> None:
    assert {kind.blame.value for kind in FailureKind} == KNOWN["auditor_failures"][
        "blame"
    ]
