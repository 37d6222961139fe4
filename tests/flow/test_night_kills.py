"""A night that is killed at any moment is completed by the next start.

A kill leaves the files as they are before the next call that changes one. One whole
night, with its audit and all of its steps, is run while `_Recorder` notes the folder
before each of these calls; then the next night begins in a hundred of these states. A
file that was being written then has a random part of its content.
"""

from __future__ import annotations

import builtins
import io
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.analysis.history import show
from auditor.config import KeepRules
from auditor.nightly import night_run
from auditor.nightly.night_folder import Night
from auditor.nightly.night_run import NightRun
from tests.flow.harness import Lab, lab, simple
from tests.flow.nights import Nights, nights_of, read_report

pytestmark = pytest.mark.anyio

MOMENTS = 100
# How many of them compare and keep a history as well, which takes most of a night.
WITH_ANALYSES = 3
# Every call with which a night changes a file, or makes a change durable.
OS_CALLS = (
    *("open", "write", "close", "rename", "replace", "unlink", "rmdir", "mkdir"),
    *("symlink", "ftruncate", "fsync", "fdatasync"),
)
NAMES = ("team/app:1", "team/app:2", "team/app:3")


@dataclass(frozen=True)
class State:
    """The entries of a folder: a file's bytes, a link's target, None for a folder."""

    entries: dict[str, bytes | Path | None]

    @classmethod
    def of(cls, folder: Path) -> State:
        return cls(
            {
                str(path.relative_to(folder)): (
                    path.readlink()
                    if path.is_symlink()
                    else None
                    if path.is_dir()
                    else path.read_bytes()
                )
                for path in sorted(folder.rglob("*"))
            }
        )

    def restore(self, folder: Path, chance: random.Random) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in self.entries.items():
            path = folder / name
            if content is None:
                path.mkdir()
            elif isinstance(content, Path):
                path.symlink_to(content)
            elif name.endswith(".zst.partial"):  # is written anew, or ignored
                path.write_bytes(content[: chance.randint(0, len(content))])
            else:
                path.write_bytes(content)


@dataclass
class _Recorder:
    """The states of a folder before each call, without repetitions."""

    folder: Path
    states: list[State] = field(default_factory=list)
    is_noting: bool = False

    def note(self) -> None:
        state = State.of(self.folder)
        if state not in self.states[-1:]:
            self.states.append(state)

    @contextmanager
    def recording(self) -> Iterator[None]:
        def noted(call: Callable[..., Any]) -> Callable[..., Any]:
            def before(*arguments: Any, **more: Any) -> Any:
                if not self.is_noting:
                    self.is_noting = True
                    try:
                        self.note()
                    finally:
                        self.is_noting = False
                return call(*arguments, **more)

            return before

        with pytest.MonkeyPatch.context() as patch:
            for name in OS_CALLS:
                patch.setattr(os, name, noted(getattr(os, name)))
            patch.setattr(io, "open", noted(builtins.open))
            yield
        self.note()


@contextmanager
def _no_comparison(*_: object) -> Iterator[None]:
    yield None


def _add(folder: Path, reports: Sequence[str]) -> None:
    """Keep a history as `auditor history add` does, as far as files are concerned."""
    folder.mkdir(exist_ok=True)
    for report in reports:
        (folder / Path(report).name).write_bytes(b"added")


def _nights(here: Lab, folder: Path) -> Nights:
    return nights_of(here, folder, "team/app:*", page=False, keep=KeepRules(daily=2))


def _expected(records: Sequence[Any]) -> list[dict[str, Any]]:
    lines = [orjson.loads(orjson.dumps(record)) for record in records]
    return [{**line, "audited_at": None} for line in lines]


def _check_complete(nights: Nights, newest: Night, expected: object) -> None:
    assert newest.complete
    assert nights.known[-1] == newest
    latest = (nights.folder / "latest.jsonl.zst").resolve()
    assert latest == nights.folder / "reports" / f"{newest.name}.jsonl.zst"
    for night in nights.known:
        lines = read_report(nights.folder / "reports" / f"{night.name}.jsonl.zst")
        assert [{**line, "audited_at": None} for line in lines] == expected
    names = {night.name for night in nights.known}
    for folder, suffix in (("reports", ".jsonl.zst"), ("nights", ".json")):
        kept = {one.name for one in (nights.folder / folder).iterdir()}
        assert kept == {name + suffix for name in names}
    assert {one.name for one in nights.folder.iterdir()} == {
        *("lock", "history", "nights", "reports", "latest.jsonl.zst", "latest.md")
    }


async def test_a_kill_at_a_hundred_moments_leaves_a_complete_night_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(14)
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _: None)  # this cannot see their effect
    async with lab(simple(NAMES)) as here:
        outcome = await here.audit(here.ref("team/app:*"))
        expected = _expected(outcome.records)
        nights = _nights(here, tmp_path)
        await nights.night("2026-12-01")
        await nights.night("2026-12-02")
        recorder = _Recorder(nights.folder)
        with recorder.recording():
            await nights.night("2026-12-03")
        assert len(recorder.states) > 30
        analysed = [chance.choice(recorder.states) for _ in range(WITH_ANALYSES)]
        for state in analysed:
            state.restore(nights.folder, chance)
            result = await nights.night("2026-12-03T03:00:00Z")
            assert result is not None
            assert result.night.changes == {}
            _check_complete(nights, result.night, expected)
            with show(nights.folder / "history", here.ref("team/app:1")) as history:
                assert len(list(history.rows())) == 1
        monkeypatch.setattr(night_run, "add", _add)
        monkeypatch.setattr(NightRun, "_comparison", _no_comparison)
        every = recorder.states * (MOMENTS // len(recorder.states) + 1)
        for state in chance.sample(every, MOMENTS):
            state.restore(nights.folder, chance)
            result = await nights.night("2026-12-03T03:00:00Z")
            assert result is not None
            _check_complete(nights, result.night, expected)
