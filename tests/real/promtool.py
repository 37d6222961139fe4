"""Metrics of nights, and expressions over them that `promtool test rules` evaluates.

The clock starts at 0; the night N ends N days later. A metrics file stays until it is
written again.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from auditor.report.metrics import (
    Metric,
    audit_metrics,
    check_metrics,
    night_metrics,
    render_textfile,
)
from auditor.report.summary import Summary
from auditor.util.clock import rfc3339
from auditor.wire.host_concurrency import HostConcurrency, Move
from auditor.wire.rate_limit import RateLimit
from tests.real.programs import required
from tests.records import EVERYTHING, failure, image
from tests.unit.report.test_metrics import COMPLETE, summary

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "alertmanager" / "alerts.yml"
DAY_S = 86400
STEP_MINUTES = 30
STEPS = DAY_S // 60 // STEP_MINUTES
# What a metrics file has in each night; `None`: there is no such file.
Nights = Sequence["Sequence[Metric] | None"]
# A run that has a value of every metric.
RICH = replace(
    summary(EVERYTHING, failure(), failure(attempts=0), listings=(COMPLETE,)),
    rate_limits=[("docker.io", RateLimit(remaining=7))],
    hosts=[
        HostConcurrency(
            host="r.example.com", limit=12, lowest=4, highest=20, least=1, most=64,
            baseline_s=0.05, round_trip_s=0.052, last_move=Move.QUEUE,
            moves={Move.QUEUE: 2}, per_second=4.0, lowest_per_second=2.0,
        )
    ],
)  # fmt: skip


def promtool(*arguments: str, text: bytes = b"") -> None:
    done = subprocess.run(
        (required("promtool", package="prometheus"), *arguments),
        input=text,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def run(night: int, found: Summary | None = None, *, lost: int = 0) -> list[Metric]:
    """The metrics of an audit that ended in this night; of ten images by default.

    `lost` SBOMs could not be fetched.
    """
    ended = rfc3339(night * DAY_S)
    found = found or summary(*[image()] * 10)
    sboms = {"written": True, "read": 1, "unreadable": 0, "failed": lost}
    document = replace(found, started_at=ended, finished_at=ended).to_json()
    return audit_metrics(document | {"sboms": sboms})


def ended(night: int, code: int = 0, *, complete: bool | None = None) -> list[Metric]:
    """The metrics of the night itself."""
    return night_metrics(
        exit_code=code,
        finished_s=night * DAY_S,
        complete=code == 0 if complete is None else complete,
        changes={"moved": 1},
    )


def good(night: int) -> list[Metric]:
    return [*run(night), *ended(night)]


def checked(night: int, violations: int = 0) -> list[Metric]:
    return check_metrics(
        violations={"everything.forbid_failures": violations},
        waived={"everything.forbid_failures": 0},
        finished_at=rfc3339(night * DAY_S),
    )


def series(nights: Nights, audit: str, instance: str) -> list[dict[str, str]]:
    """The file as promtool's `input_series`, one sample every half hour."""
    values: dict[str, list[str]] = {}
    for number, metrics in enumerate(nights):
        text = render_textfile(metrics or (), name=audit).decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sample.labels | {"instance": instance, "job": "node"}
                inner = ",".join(
                    f"{name}={json.dumps(one)}" for name, one in labels.items()
                )
                row = values.setdefault(
                    f"{sample.name}{{{inner}}}", [f"_x{STEPS}"] * len(nights)
                )
                row[number] = f"{sample.value}x{STEPS - 1}"
    return [{"series": one, "values": " ".join(row)} for one, row in values.items()]


def evaluate(
    inputs: Iterable[Mapping[str, str]],
    expected: Mapping[str, Mapping[str, float] | None],
    *,
    hours: float,
    place: Path,
) -> None:
    """Check expressions at a time: their samples by labels, or `None` for any."""
    tests = [
        {
            "expr": expression if samples is not None else f"absent({expression})",
            "eval_time": f"{int(hours * 60)}m",
            "exp_samples": [
                {"labels": labels, "value": value}
                for labels, value in (samples or {}).items()
            ],
        }
        for expression, samples in expected.items()
    ]
    check({"input_series": list(inputs), "promql_expr_test": tests}, place)


def check(test: Mapping[str, Any], place: Path) -> None:
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{STEP_MINUTES}m",
        "tests": [{"interval": f"{STEP_MINUTES}m", **test}],
    }
    file = place / "test.yml"
    file.write_text(yaml.safe_dump(document))
    promtool("test", "rules", str(file))
