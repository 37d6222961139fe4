"""The alerts of deploy/alertmanager, as Prometheus' own `promtool` evaluates them."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.errors import FailureKind
from auditor.report.metrics import render_textfile
from tests.real.promtool import (
    RICH,
    RULES,
    Nights,
    check,
    checked,
    ended,
    evaluate,
    good,
    promtool,
    run,
    series,
)
from tests.records import failure, image
from tests.unit.report.test_metrics import COMPLETE, summary


def counts(*alerts: str) -> dict[str, float]:
    return {f'{{alertname="{one}"}}': float(alerts.count(one)) for one in alerts}


FIRING = 'count by (alertname) (ALERTS{alertstate="firing"})'
FEWER = summary(*[image()] * 5)
STOPPED = summary(image(), asked=10, interrupted=True)
MANY_FAILED = summary(image(), *[failure(failure=FailureKind.CONNECT)] * 5)
DAMAGED = summary(
    *[image()] * 99, failure(failure=FailureKind.DIGEST_MISMATCH), listings=(COMPLETE,)
)
NOT_FOUND = summary(*[image()] * 99, failure(failure=FailureKind.NOT_FOUND))


@pytest.mark.parametrize(
    ("nights", "alerts"),
    [
        ([good(0), good(1), good(2)], ()),
        ([good(0), ended(1, 2)], ("NightFailed",)),
        ([good(0), ended(1, 143)], ("NightFailed",)),
        ([good(0), ended(1, 2), good(2)], ()),
        # The night between has no number of references.
        (
            [good(0), ended(1, 2), [*run(2, FEWER), *ended(2)]],
            ("InventoryShrank",),
        ),
        ([good(0), [*run(1, FEWER), *ended(1)]], ("InventoryShrank",)),
        ([[*run(0, FEWER), *ended(0)], good(1)], ()),
        # The references to do are not gone.
        ([good(0), run(1, STOPPED)], ("AuditIncomplete",)),
        ([run(0, summary(image(), interrupted=True))], ("AuditIncomplete",)),
        # Complete as an audit, but an empty list is no night to compare with.
        ([[*run(0, summary()), *ended(0, 1)]], ("AuditIncomplete",)),
        ([[*run(0, lost=1), *ended(0, 1, complete=True)]], ("AuditIncomplete",)),
        ([run(0, MANY_FAILED)], ("AuditManyFailures",)),
        ([run(0, NOT_FOUND)], ("AuditNeedsYou",)),
        ([run(0, DAMAGED)], ("RegistryServesWrongContent",)),
        ([[*good(0), *checked(0, 3)]], ("PolicyViolated",)),
        ([[*good(0), *checked(0)]], ()),
        # Not written again, read no longer, and both for days.
        ([good(0), good(0)], ("AuditMissing",)),
        ([checked(0), checked(0)], ("AuditMissing",)),
        ([run(0), run(0)], ("AuditMissing",)),
        ([good(0), ended(1, 2), ended(1, 2)], ("AuditMissing", "NightFailed")),
        ([good(0), good(1), None, good(3)], ()),
        ([good(0), None], ("AuditMissing", "AuditNeverRan")),
        ([good(0), None, None, None, None], ("AuditNeverRan",)),
        ([None], ("AuditNeverRan",)),
    ],
)
def test_alerts_fire_after_these_nights_and_no_others(
    nights: Nights, alerts: tuple[str, ...], tmp_path: Path
) -> None:
    hours = 24 * (len(nights) - 1) + 5
    evaluate(
        series(nights, "nightly", "a:9100"),
        {FIRING: counts(*alerts)},
        hours=hours,
        place=tmp_path,
    )


def test_an_audit_that_stopped_is_missed_beside_others(tmp_path: Path) -> None:
    """One machine is down, and on the other one a policy is not checked any more."""
    name = "ALERTS{alertname='AuditMissing'}"
    alert = 'ALERTS{alertname="AuditMissing",alertstate="firing",severity="warning"'
    evaluate(
        [
            *series([good(0), None], "nightly", "a:9100"),
            *series([good(0), good(1)], "nightly", "b:9100"),
            *series([checked(0), checked(0)], "check", "b:9100"),
        ],
        {
            name: {
                f'{alert},audit="nightly",instance="a:9100"}}': 1,
                f'{alert},audit="check",instance="b:9100"}}': 1,
            }
        },
        hours=29,
        place=tmp_path,
    )


@pytest.mark.parametrize(("instance", "where"), [("a:9100", " on a:9100"), ("", "")])
def test_an_alert_names_the_machine_if_there_is_one(
    instance: str, where: str, tmp_path: Path
) -> None:
    labels = {"instance": instance} if instance else {}
    expected = {
        "exp_labels": labels | {"audit": "nightly", "severity": "warning"},
        "exp_annotations": {
            "summary": f"nightly{where} has not run for 1d 5h 0m 0s",
            "description": "Look at the timer or cron job that starts it, at its last"
            " output, and whether Prometheus still reads its metrics.",
        },
    }
    test = {"eval_time": "29h", "alertname": "AuditMissing", "exp_alerts": [expected]}
    inputs = series([good(0), good(0)], "nightly", instance)
    check({"input_series": inputs, "alert_rule_test": [test]}, tmp_path)


def test_promtool_finds_nothing_wrong_with_the_rules_and_the_metrics() -> None:
    promtool("check", "rules", str(RULES))
    text = render_textfile([*run(0, RICH), *checked(0), *ended(0)], name="nightly")
    promtool("check", "metrics", text=text)
