"""Nights of `auditor nightly` in one process, with a clock that the test sets.

with nights_in(tmp_path, here) as nights:
    result = await nights.night("2026-11-01")
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import orjson
import zstandard

from auditor.audit.job import AuditJob, open_job, run_with_checkpoints
from auditor.config import NightlySettings, Settings
from auditor.errors import AuditorError
from auditor.nightly.night_folder import Night, open_night_folder, read_nights
from auditor.nightly.night_run import NightResult, NightRun
from auditor.nightly.notifications import Announcer
from auditor.report.summary import write_summary
from tests.flow.harness import Lab


@dataclass(slots=True, kw_only=True)
class Nights:
    """A state folder and the settings of its nights."""

    here: Lab
    settings: NightlySettings
    asked: tuple[str, ...]
    audit: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    metrics: Path | None = None
    # Of the last night: whether its audit was resumed, and what it finished first.
    resumed: bool | None = None
    earlier: NightResult | None = None

    @property
    def folder(self) -> Path:
        return Path(self.settings.folder)

    @property
    def known(self) -> list[Night]:
        """The nights of the folder, in order."""
        return read_nights(self.settings.folder)

    async def night(self, at: str, *, stop: bool = False) -> NightResult | None:
        """One night that starts at this time of a day; None if it was stopped."""
        epoch = datetime.fromisoformat(
            at if "T" in at else f"{at}T02:00:00Z"
        ).timestamp()
        self.here.clock.now += epoch - self.here.clock.epoch()
        audit = replace(
            self.here.settings(*self.asked, **self.audit),
            metrics=str(self.metrics) if self.metrics else None,
        )
        announcer = Announcer(
            self.settings,
            metrics=audit.metrics,
            environment=self.environment,
            now=self.here.clock.epoch,
        )
        with open_night_folder(self.settings.folder) as folder:
            run = NightRun(
                folder,
                self.settings,
                audit=audit,
                announcer=announcer,
                now=self.here.clock.epoch,
            )
            # In threads: what they send may arrive at a server of this event loop.
            try:
                night = await anyio.to_thread.run_sync(run.begin)
                self.earlier = run.earlier
                settings = replace(audit, **run.audit_options())
                self.resumed = settings.resume
                summary = await self._audit(settings, stop=stop)
                if summary is None:
                    return None
                return await anyio.to_thread.run_sync(run.finish, night, summary)
            except AuditorError as error:
                await anyio.to_thread.run_sync(
                    announcer.failed, error.exit_code, str(error), folder
                )
                raise

    async def _audit(self, settings: Settings, *, stop: bool) -> dict[str, Any] | None:
        def silent(_: str) -> None:
            """Nothing is printed."""

        async with open_job(settings, clock=self.here.clock, notify=silent) as job:
            if stop:
                await self._stopped(job)
            else:
                await run_with_checkpoints(job.run, job.report)
                await job.commit()
        summary: dict[str, Any] = orjson.loads(
            orjson.dumps(job.run.summary().to_json())
        )
        assert settings.summary is not None
        write_summary(settings.summary, summary)
        return None if stop else summary

    async def _stopped(self, job: AuditJob) -> None:
        """Stop the audit after its first manifest, as a signal does."""
        requests = len(self.here.faults.log)
        async with self.here.when(
            lambda: len(self.here.faults.log) > requests, lambda: job.run.stop(0.0)
        ):
            await run_with_checkpoints(job.run, job.report)


def nights_of(here: Lab, folder: Path, *asked: str, **settings: Any) -> Nights:
    """Nights in a folder `state` that audit these names of the registry."""
    return Nights(
        here=here,
        asked=tuple(here.ref(name) for name in asked),
        settings=NightlySettings(folder=str(folder / "state"), **settings),
    )


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, except the lock."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "lock"
    }


def read_report(path: Path) -> list[dict[str, Any]]:
    """The lines of a report compressed with Zstandard."""
    with path.open("rb") as stream:
        content = zstandard.ZstdDecompressor().stream_reader(stream).read()
    return [orjson.loads(line) for line in content.splitlines()]
