"""Run audits in this process, and with the command."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from auditor.audit.run import AuditRun
from auditor.cache.digest_cache import open_cache
from auditor.config import ImageConfigMode, RegistrySettings, Settings
from auditor.demo.demo_tokens import DemoAccount
from auditor.input.lists import input_items
from auditor.model import Record
from auditor.registry.registries import open_registries
from auditor.report.summary import Summary
from auditor.util.clock import SystemClock
from auditor.util.secret import Secret
from tests.flow.commands import auditor
from tests.real.filled_registry import FilledRegistry
from tests.real.images import names
from tests.real.token_server import AUDITOR, PUSHER

# Records as the report has them, by `repository:tag`.
Lines = dict[str, dict[str, Any]]

OF_THE_REGISTRY = ("ping", "list", "head", "manifest", "blob")


@dataclass(frozen=True, slots=True)
class Audited:
    """The records of a run as the report has them, and its summary."""

    lines: list[dict[str, Any]]
    summary: Summary

    @property
    def requests(self) -> int:
        """Requests that were sent to the registry itself."""
        counts = self.summary.requests
        return sum(counts.get(kind, 0) for kind in OF_THE_REGISTRY)


def login(account: DemoAccount | None = AUDITOR, **more: Any) -> RegistrySettings:
    """A registry's settings, with an account or anonymous."""
    if account is None:
        return RegistrySettings(**more)
    return RegistrySettings(
        username=account.name, password=Secret(account.password), **more
    )


def audit(
    host: str,
    *names: str,
    registry: RegistrySettings | None = None,
    written: Callable[[int], None] = lambda _: None,
    **settings: Any,
) -> Audited:
    """Audit `repository:tag` names of one registry, in this process.

    `written` is called after each record with their number so far.
    """
    return audit_references(
        *(f"{host}/{name}" for name in names),
        written=written,
        registries={host: registry or login(), **settings.pop("registries", {})},
        **settings,
    )


def audit_references(
    *references: str,
    written: Callable[[int], None] = lambda _: None,
    **settings: Any,
) -> Audited:
    """Audit references, in this process; `written` is as in `audit`."""
    records: list[Record] = []

    async def write(record: Record) -> None:
        records.append(record)
        written(len(records))

    async def run() -> Summary:
        chosen = Settings(
            references=references,
            **{
                "docker_config": False,
                "registries_conf": False,
                "no_cache": "cache" not in settings,
                **settings,
            },
        )
        clock = SystemClock()
        async with (
            open_registries(chosen, clock=clock) as registries,
            open_cache(chosen, now=clock.epoch) as cache,
        ):
            running = AuditRun(
                chosen,
                input_items(chosen),
                registries=registries,
                clock=clock,
                write=write,
                cache=cache,
            )
            await running.run()
        return running.summary()

    summary = asyncio.run(run())
    lines = [orjson.loads(orjson.dumps(record)) for record in records]
    return Audited(lines, summary)


def audit_all(filled: FilledRegistry, image_config: ImageConfigMode) -> Lines:
    """Audit every image of a filled registry, as an account with all grants."""
    wanted = names(filled.flavour)
    audited = audit(
        filled.host, *wanted, registry=login(PUSHER), image_config=image_config
    )
    return dict(zip(wanted, audited.lines, strict=True))


def command(
    *arguments: str, place: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `auditor` with `place` as its home, without settings of the environment.

    As in tests/flow it is a copy of a process that has imported everything.
    """
    home = {"HOME": str(place), "DOCKER_CONFIG": str(place)}
    done = asyncio.run(
        auditor(*arguments, place=place, environment={**home, **(environment or {})})
    )
    stderr = "".join(f"{line}\n" for line in done.stderr).encode()
    return subprocess.CompletedProcess(arguments, done.code, done.out, stderr)


def started(
    *arguments: str, place: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `auditor` as a new process, without waiting for its end."""
    return subprocess.Popen(
        [sys.executable, "-m", "auditor", *arguments],
        cwd=place,
        env=_environment(place, environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _environment(place: Path, more: Mapping[str, str] | None) -> dict[str, str]:
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith("AUDITOR")
    }
    return {
        **kept,
        "HOME": str(place),
        "AUDITOR_NO_CACHE": "1",
        "DOCKER_CONFIG": str(place),
        **(more or {}),
    }


def only(audited: Audited) -> dict[str, Any]:
    """The one record of a run."""
    (line,) = audited.lines
    return line


def content(line: dict[str, Any]) -> dict[str, Any]:
    """An image record without its account and time."""
    return {key: line[key] for key in line if key not in {"access", "audited_at"}}
