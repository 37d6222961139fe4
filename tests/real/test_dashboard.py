"""The dashboard of deploy/grafana, as Prometheus' own `promtool` evaluates it."""

from __future__ import annotations

import json
from pathlib import Path

from auditor.report.metrics import DEFINITIONS
from tests.real.promtool import (
    DEPLOY,
    RICH,
    checked,
    ended,
    evaluate,
    good,
    run,
    series,
)


def panels() -> dict[str, str]:
    """The expressions of the dashboard by the text of their panel and legend."""
    board = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    by_name = {variable["name"]: variable for variable in board["templating"]["list"]}
    # What Grafana puts there for "All".
    everything = {name: by_name[name]["allValue"] for name in ("instance", "audit")}
    return {
        f"{panel['title']} ({panel['type']}), {target['legendFormat']}": target["expr"]
        .replace("$instance", everything["instance"])
        .replace("$audit", everything["audit"])
        for panel in board["panels"]
        for target in panel["targets"]
    }


PANELS = panels()


def test_the_night_with_everything_has_a_value_of_every_metric() -> None:
    night = [*run(0, RICH), *checked(0, 1), *ended(0, 1)]
    assert {one.name for one in night if one.values} == DEFINITIONS.keys()


def test_every_panel_shows_something_after_a_night_with_everything(
    tmp_path: Path,
) -> None:
    night = [*run(0, RICH), *checked(0, 1), *ended(0, 1)]
    # Two machines, and a third one through a Pushgateway, which gives no instance.
    inputs = [
        *series([night], "nightly", "a:9100"),
        *series([night], "nightly", "b:9100"),
        *series([night], "nightly", ""),
    ]
    evaluate(inputs, dict.fromkeys(PANELS.values()), hours=5, place=tmp_path)


def shown(
    panel: str, legend: str = "{{audit}} {{instance}}", kind: str = "stat"
) -> str:
    return PANELS[f"{panel} ({kind}), {legend}"]


def test_a_night_that_failed_is_not_hidden_by_another_one(tmp_path: Path) -> None:
    a, b = (f'{{audit="nightly",instance="{one}:9100"}}' for one in "ab")
    evaluate(
        [
            *series([good(0), ended(1, 2)], "nightly", "a:9100"),
            *series([good(0), good(0)], "nightly", "b:9100"),
        ],
        {
            shown("Exit code"): {a: 2, b: 0},
            shown("Complete"): {a: 0, b: 1},
            shown("Last run"): {a: 5 * 3600, b: 29 * 3600},
        },
        hours=29,
        place=tmp_path,
    )


def test_references_that_were_not_requested_are_counted_once(tmp_path: Path) -> None:
    expected = {"{{state}}": {'{state="audited"}': 1.0, '{state="to_do"}': 0.0}}
    expected |= {"failed": {"{}": 1.0}, "failed, not requested": {"{}": 1.0}}
    evaluate(
        series([run(0, RICH)], "nightly", "a:9100"),
        {
            shown("References", legend, "timeseries"): samples
            for legend, samples in expected.items()
        },
        hours=5,
        place=tmp_path,
    )
