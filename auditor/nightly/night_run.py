"""One night, from the audit to the retention.

    begin     continue the unfinished night, or start a new one
    (audit)   by the command, into `audit_options()`
    finish    keep the report -> history -> comparison -> policy -> page -> record
              -> publish -> metrics -> notifications -> retention

The audit's report stays in the folder until every step is done, and every step replaces
whole files, so a night that was killed is finished by repeating the steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from auditor.analysis.check.evaluate import PackageTypeError, check_reports
from auditor.analysis.check.findings import Findings, findings_metrics
from auditor.analysis.check.policy import Policy, Severity, Subject
from auditor.analysis.check.policy_file import load_policy
from auditor.analysis.diff import Comparison, compare
from auditor.analysis.duckdb_connection import remove_abandoned_work
from auditor.analysis.history import add, remove_unfinished
from auditor.analysis.html.page import make_page
from auditor.analysis.html.trend_section import TrendPoint
from auditor.analysis.report_views import open_reports
from auditor.config import FailOn, NightlySettings, Settings, record_settings
from auditor.config.file_names import escaped
from auditor.errors import ExitCode, OutputError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.nightly.night_folder import Night, NightFolder, write_bytes, writing
from auditor.nightly.night_text import (
    MAX_LINES,
    action_lines,
    change_lines,
    diff_text,
    findings_text,
    has_all_sboms,
    markdown_text,
    violation_lines,
)
from auditor.nightly.notifications import Announcer
from auditor.nightly.retention import expired_nights
from auditor.report.metrics import Metric, audit_metrics
from auditor.util.clock import rfc3339
from auditor.util.text import format_count, format_duration

Json = Mapping[str, Any]

# Earlier nights that a night is tried to be compared with: reports may be damaged.
_MAX_COMPARED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NightResult:
    """A finished night: its exit code, and the lines to print.

    With the exit code 0 these are warnings about the steps after the audit only.
    """

    night: Night
    lines: tuple[str, ...]

    @property
    def exit_code(self) -> ExitCode:
        """0 if there is nothing to act on, 1, or 3 without the metrics file."""
        return ExitCode(self.night.exit_code or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Analysis:
    """A judged night, its Markdown text, its page, and examples of what was found."""

    night: Night
    text: str
    page: str | None
    changes: list[str]
    violations: list[str]
    metrics: list[Metric]


class NightRun:
    """One night in a locked folder: `begin`, the audit, `finish`."""

    def __init__(
        self,
        folder: NightFolder,
        settings: NightlySettings,
        *,
        audit: Settings,
        announcer: Announcer,
        now: Callable[[], float],
    ) -> None:
        """`audit` are the settings of the audit; `now` returns epoch seconds."""
        self._folder = folder
        self._settings = settings
        self._options = record_settings(audit)
        self._sbom_file = audit.sbom
        # Afterwards the audit would not keep the first records of an unfinished night.
        self._resume_max_age_s = audit.resume_max_age_s
        self._announcer = announcer
        self._now = now
        self._warnings = announcer.warnings
        self._policy: Policy | None = None
        self._policy_problem: str | None = None
        self._continues = False
        self.earlier: NightResult | None = None  # the night that `begin` finished

    def begin(self) -> Night:
        """Start a night, or continue one whose audit is unfinished and recent.

        A night that is too old to continue is recorded with what it leaves out. A night
        whose audit came to its end is finished first: its result is `earlier`.

        Raises `UsageError` for a policy that cannot be used.
        """
        if self._settings.policy is not None:
            self._policy = load_policy(self._settings.policy)
            self._check_sboms(self._policy)
        remove_abandoned_work()
        night = self._folder.unfinished()
        if night is not None:
            summary = self._folder.read_summary()
            if summary is not None:
                self._finish_earlier(night, summary)
            elif night.options != self._options:
                self._abandon(night, "the configuration was changed")
            elif abs(self._now() - _epoch(night.started_at)) > self._resume_max_age_s:
                limit = format_duration(self._resume_max_age_s)
                self._abandon(
                    night, f"it was not continued within {limit} (--resume-max-age)"
                )
            elif self._folder.has_damaged_journal():
                self._abandon(night, "its journal is damaged")
            else:
                self._folder.forget_summary()
                self._continues = True
                return night
        return self._folder.begin(rfc3339(self._now()), self._options)

    def _check_sboms(self, policy: Policy) -> None:
        if self._sbom_file is not None:
            return
        for rule in policy.rules:
            if rule.definition.subject is Subject.PACKAGES:
                raise UsageError(
                    f"{policy.file_name}:{rule.line}: {rule.id} needs the packages of"
                    ' the SBOMs; add sbom = "FILE" to the configuration'
                )

    def audit_options(self) -> dict[str, Any]:
        """The options of the audit, by name, besides those of the configuration."""
        named = {}
        if self._sbom_file is not None:
            named["sbom"] = escaped(self._sbom_file)
        return named | {
            "output": escaped(str(self._folder.output)),
            "summary": escaped(str(self._folder.summary)),
            # What another night left, in a `shard_dir` for example, is not continued.
            "resume": self._continues,
        }

    def finish(self, night: Night, summary: Json) -> NightResult:
        """Do the steps after the audit; raises `AuditorError` if one is impossible."""
        night = night.audited_as(summary)
        night = self._folder.keep_report(night)
        report = str(self._folder.report_of(night))
        if night.complete:
            night = self._add_to_history(night)
        found = self._analyse(night, summary)
        night = found.night
        if night.in_history is False:
            night = replace(night, exit_code=ExitCode.OUTPUT)
        self._folder.finish(night)
        if night.complete:
            night = self._publish(night, found.text, found.page)
        if not self._announcer.write_metrics(night, found.metrics):
            night = replace(night, exit_code=ExitCode.OUTPUT)
        self._announcer.push(night, found.metrics)
        night = self._announcer.finished(night, found.text)
        self._folder.finish(night)
        self._folder.end()
        for expired in self.expired():
            self._folder.remove(expired)
        for sentence in self._folder.damaged:
            self._announcer.warn(f"left out: {sentence}")
        lines = self._warnings[:MAX_LINES]
        if night.exit_code != ExitCode.OK:
            lines = action_lines(
                night,
                failures=summary["failures"],
                changes=found.changes,
                violations=found.violations,
                warnings=self._warnings,
                page=str(self._folder.latest_page) if found.page else None,
                report=report,
            )
        return NightResult(night=night, lines=tuple(lines))

    def expired(self) -> list[Night]:
        """The nights that the retention rules remove now."""
        if self._settings.keep is None:
            return []
        return expired_nights(self._folder.nights(), self._settings.keep)

    # -- steps -------------------------------------------------------------------

    def _abandon(self, night: Night, reason: str) -> None:
        records = self._folder.unfinished_records()
        remark = f"its audit ended after {format_count(records, 'record')}: {reason}"
        if night.remark is not None:
            remark = f"{night.remark}; {remark}"
        self._warnings.append(f"the night {night.name} is left out: {remark}")
        self._folder.finish(replace(night, audited=records, remark=remark))
        self._folder.end()

    def _finish_earlier(self, night: Night, summary: Json) -> None:
        """Finish a night whose audit is done; it must not hold up this one."""
        try:
            self.earlier = self.finish(night, summary)
            self._warnings.clear()
        except UsageError as error:
            self._warnings.clear()
            self._abandon(
                self._folder.keep_report(night), f"its report cannot be used: {error}"
            )

    def _add_to_history(self, night: Night) -> Night:
        """Add a night, and those that an earlier run could not add.

        A history that cannot be written must not hold up the nights to come.
        """
        waiting = [
            one
            for one in self._folder.nights()
            if one.in_history is False
            and one.number != night.number
            and self._folder.report_of(one).exists()
        ]
        night = replace(night, in_history=self._is_added(night))
        if night.in_history:
            for one in waiting:
                added: bool | None = None
                try:
                    added = self._is_added(one)
                except UsageError as error:  # its report is damaged
                    self._announcer.warn(f"not in the history: {error}")
                self._folder.finish(replace(one, in_history=added))
        return night

    def _is_added(self, night: Night) -> bool:
        history = self._folder.history
        try:
            with writing(history):
                remove_unfinished(history)
                add(history, [str(self._folder.report_of(night))])
        except OutputError as error:
            self._announcer.warn(
                f"{error}; the next night adds {night.name} to the history"
            )
            return False
        return True

    def _analyse(self, night: Night, summary: Json) -> _Analysis:
        """Compare and judge a night; a damaged report of an earlier one is left out.

        So is a policy that proves wrong only now: the report is complete.
        """
        self._policy_problem = None
        earlier = self._folder.complete_before(night)
        for previous in (*earlier[:_MAX_COMPARED], None):
            try:
                try:
                    return self._analyse_with(night, previous, summary)
                except PackageTypeError as error:
                    self._policy_problem = f"the policy was not checked: {error}"
                    self._announcer.warn(self._policy_problem)
                    return self._analyse_with(night, previous, summary)
            except UsageError as error:
                if previous is None or not self._is_damaged(previous):
                    raise
                self._announcer.warn(
                    f"not compared with the night {previous.name}: {error}"
                )
        raise AssertionError  # the last one is None

    def _analyse_with(
        self, night: Night, previous: Night | None, summary: Json
    ) -> _Analysis:
        report = str(self._folder.report_of(night))
        problem = self._policy_problem
        with (
            self._comparison(previous, report) as comparison,
            self._findings(previous, report) as findings,
        ):
            night = self._judged(night, previous, comparison, findings)
            text = markdown_text(
                night,
                failures=summary["failures"],
                changes=diff_text(comparison),
                findings=[problem] if problem else findings_text(findings),
            )
            return _Analysis(
                night=night,
                text=text,
                page=self._page(night, previous, report) if night.complete else None,
                changes=change_lines(comparison),
                violations=violation_lines(findings),
                metrics=self._metrics_of(summary, findings),
            )

    def _is_damaged(self, night: Night) -> bool:
        """Whether the report of a night cannot be read to its end."""
        try:
            report = str(self._folder.report_of(night))
            with open_reports([report], views=("images",)) as connection:
                connection.execute("SELECT count(reference) FROM images").fetchall()
        except UsageError:
            return True
        return False

    @contextmanager
    def _comparison(
        self, previous: Night | None, report: str
    ) -> Iterator[Comparison | None]:
        if previous is None:
            yield None
            return
        with compare([str(self._folder.report_of(previous))], [report]) as comparison:
            yield comparison

    @contextmanager
    def _findings(
        self, previous: Night | None, report: str
    ) -> Iterator[Findings | None]:
        if self._policy is None or self._policy_problem:
            yield None
            return
        policy = self._policy
        earlier: tuple[str, ...] = ()
        if previous is not None:
            earlier = (str(self._folder.report_of(previous)),)
        else:
            policy = _without_earlier(policy)
        if not policy.rules:
            yield None
            return
        with check_reports(
            [report],
            policy,
            today=self._today(),
            earlier=earlier,
            sboms=self._sbom_files(),
        ) as findings:
            yield findings

    def _sbom_files(self) -> list[str] | None:
        """The SBOM file of the night; none if it could not be written.

        An earlier night's is used, too: what it has of an attachment is still true.
        """
        if self._sbom_file is None:
            return None
        return [self._sbom_file] if Path(self._sbom_file).exists() else []

    def _judged(
        self,
        night: Night,
        previous: Night | None,
        comparison: Comparison | None,
        findings: Findings | None,
    ) -> Night:
        """The night with what changed, what breaks the policy, and the exit code."""
        changes = violations = None
        if comparison is not None:
            changes = {
                change.value: count
                for change, count in comparison.totals.changes.items()
                if change.is_difference and count
            }
        if findings is not None:
            violations = {
                severity.value: findings.total(severity) for severity in Severity
            }
        code = ExitCode.OK
        has_all = night.complete and not night.failed and has_all_sboms(night)
        if not has_all or self._policy_problem or self._is_broken(violations):
            code = ExitCode.FAILED
        return replace(
            night,
            compared_with=previous.name if previous else None,
            changes=changes,
            violations=violations,
            finished_at=rfc3339(self._now()),
            exit_code=code,
        )

    def _is_broken(self, violations: Mapping[str, int] | None) -> bool:
        match violations, self._settings.fail_on:
            case None, _:
                return False
            case _, FailOn.NEVER:
                return False
            case counts, FailOn.ERROR:
                return bool(counts[Severity.ERROR.value])
        return any(violations.values()) if violations else False

    def _page(self, night: Night, previous: Night | None, report: str) -> str | None:
        """The page of a complete night, or None without one."""
        if not self._settings.page:
            return None
        policy = self._settings.policy if previous or self._can_check_alone else None
        if self._policy_problem:
            policy = None
        return make_page(
            [report],
            previous=[str(self._folder.report_of(previous))] if previous else [],
            policy_file=policy,
            sboms=self._sbom_files(),
            nights=[_trend_point(one) for one in self._nights_with(night)],
            today=self._today(),
        )

    def _publish(self, night: Night, text: str, page: str | None) -> Night:
        """Replace the latest report, text and page; return the night.

        One that cannot be replaced must not hold up the nights to come.
        """
        steps: list[Callable[[], None]] = [
            functools.partial(self._folder.publish, night),
            functools.partial(write_bytes, self._folder.latest_text, text.encode()),
        ]
        if page is not None:
            content = page.encode()
            steps.append(
                functools.partial(write_bytes, self._folder.latest_page, content)
            )
        for step in steps:
            try:
                step()
            except OutputError as error:
                self._announcer.warn(str(error))
                night = replace(night, exit_code=ExitCode.OUTPUT)
        return night

    def _nights_with(self, night: Night) -> list[Night]:
        """The complete nights, this one included."""
        earlier = [one for one in self._folder.nights() if one.number != night.number]
        return [one for one in [*earlier, night] if one.complete]

    @property
    def _can_check_alone(self) -> bool:
        """Whether no rule of the policy needs an earlier report."""
        policy = self._policy
        return policy is None or _without_earlier(policy).rules == policy.rules

    def _metrics_of(self, summary: Json, findings: Findings | None) -> list[Metric]:
        metrics = audit_metrics(summary)
        if findings is not None:
            metrics += findings_metrics(
                findings, datetime.fromtimestamp(self._now(), UTC)
            )
        return metrics

    def _today(self) -> date:
        return datetime.fromtimestamp(self._now(), UTC).date()


def _without_earlier(policy: Policy) -> Policy:
    """The policy without the rules that need an earlier report."""
    return replace(
        policy,
        rules=tuple(
            rule
            for rule in policy.rules
            if rule.definition.subject is not Subject.EARLIER
        ),
    )


def _epoch(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _trend_point(night: Night) -> TrendPoint:
    return TrendPoint(
        at=night.started_at,
        references=night.references,
        failures=night.failed,
        violations=None if night.violations is None else sum(night.violations.values()),
        changes=None if night.changes is None else sum(night.changes.values()),
    )
