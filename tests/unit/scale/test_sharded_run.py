"""The plan of a sharded run, its folder, and the flags of its processes."""

from __future__ import annotations

import io
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.config import RegistrySettings, Settings, load_settings
from auditor.errors import LockedError, OutputError, UsageError
from auditor.scale.process_engine import ProcessEngine
from auditor.scale.shard_dir import LocalShardDir, RemoteShardDir
from auditor.scale.sharded_run import (
    MIN_DEADLINE_S,
    ShardResult,
    copy_stdin,
    plan_shards,
    shard_dir_of,
)
from auditor.util.shard import Shard


def settings(**changes: Any) -> Settings:
    return load_settings(environment={}, flags=changes)


@pytest.mark.parametrize(
    ("limits", "workers", "shards", "runs"),
    [
        ({}, 4, 16, 4),
        ({}, 20, 32, 8),
        ({"requests_at_once": 3}, 4, 12, 3),
        ({"max_requests": 100}, 4, 16, 4),
        ({"max_requests": 10}, 4, 10, 4),
        ({"max_requests": 1}, 4, 1, 1),
        # Another run like this one takes half of what there is.
        ({"runs_at_once": 2}, 4, 16, 8),
        ({"runs_at_once": 2}, 20, 16, 8),
    ],
)
def test_a_plan_keeps_to_the_limits_of_all_runs(
    limits: dict[str, Any], workers: int, shards: int, runs: int
) -> None:
    found = plan_shards(settings(**limits), workers=workers, shards_per_worker=4)
    assert len(found.shards) == shards
    assert found.runs_at_once == runs


@pytest.mark.parametrize(
    ("arguments", "at_once", "rate", "most"),
    [
        ({"runs_at_once": 4}, 2, 5.0, 250),
        # Sixteen shards, four at a time: each has a sixteenth of the requests.
        ({"runs_at_once": 4, "shard": "3/16"}, 2, 5.0, 62),
        ({"runs_at_once": 1, "shard": "3/16"}, 8, 20.0, 62),
        ({"runs_at_once": 4, "shard": "1/2"}, 2, 5.0, 250),
        # Without --runs-at-once the limits are those of this run.
        ({"shard": "3/16"}, 8, 20.0, 1000),
    ],
)
def test_max_requests_is_divided_by_shards_and_rates_by_runs_at_once(
    arguments: dict[str, Any], at_once: int, rate: float, most: int
) -> None:
    limits = {"requests_at_once": 8, "requests_per_second": 20, "max_requests": 1000}
    assert settings(**limits, **arguments).default_registry == RegistrySettings(
        requests_at_once=at_once, requests_per_second=rate, max_requests=most
    )


# -- folders -------------------------------------------------------------------

OTHER_FILES = (
    "input-list.txt", "input-2024-11.csv", "state-of-things.jsonl", "1-of-2.txt",
    "a1-of-2.jsonl", "report.jsonl", "merged",
)  # fmt: skip
SHARD_FILES = (
    "1-of-2.jsonl", "1-of-2.jsonl.shard", "12-of-16.jsonl.partial", "1-of-2.summary",
    "2-of-2.jsonl.shard.auditor-part-x1.half", "1-of-2.jsonl.journal", "1-of-2.metrics",
    "input-0", "input-stdin", "auditor-merged",
)  # fmt: skip


@pytest.mark.parametrize("store", [LocalShardDir, RemoteShardDir])
def test_removing_shard_files_keeps_other_files_of_the_folder(
    store: Any, tmp_path: Path
) -> None:
    parts = store(tmp_path if store is LocalShardDir else str(tmp_path))
    for name in (*OTHER_FILES, *SHARD_FILES):
        (tmp_path / name).write_text("")
    (tmp_path / "1-of-3.jsonl").mkdir()
    parts.remove()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*OTHER_FILES, "1-of-3.jsonl"}


@pytest.mark.parametrize("store", [LocalShardDir, RemoteShardDir])
def test_a_shard_dir_is_locked_for_one_run(store: Any, tmp_path: Path) -> None:
    place = tmp_path if store is LocalShardDir else str(tmp_path)
    with store(place).locked():
        with pytest.raises(LockedError) as caught, store(place).locked():
            pass
        assert str(caught.value) == (
            f"{tmp_path}: another run writes the reports of its shards there; choose"
            " another --shard-dir"
        )
    with store(place).locked():
        pass


def test_a_link_as_the_default_folder_is_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1-of-2.jsonl").write_text("precious")
    (tmp_path / "out.shards").symlink_to("elsewhere")
    asked = settings(output=str(tmp_path / "out"))
    with pytest.raises(OutputError, match=r"out\.shards: .*: it is a link"):
        shard_dir_of(asked)
    assert (tmp_path / "elsewhere" / "1-of-2.jsonl").read_text() == "precious"
    # A folder given with --shard-dir may be a link.
    named = replace(asked, shard_dir=str(tmp_path / "out.shards"))
    assert shard_dir_of(named) == str(tmp_path / "out.shards")


def test_a_default_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(output=str(tmp_path / "out"))
    assert shard_dir_of(asked) == str(tmp_path / "out.shards")
    assert shard_dir_of(asked) == str(
        tmp_path / "out.shards"
    )  # ours, of an earlier run
    monkeypatch.setattr("auditor.scale.shard_dir.os.geteuid", lambda: -1)
    with pytest.raises(OutputError, match=r"it belongs to another user"):
        shard_dir_of(asked)


def test_standard_input_is_copied_unless_it_names_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(content: bytes, **options: Any) -> str:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        return copy_stdin(settings(list=("-",), **options), tmp_path).read_text()

    assert copy(b"team/app:1\n") == "team/app:1\n"
    with pytest.raises(UsageError, match=r"stdin: the list names no reference"):
        copy(b"# none\n")
    assert copy(b"", allow_empty=True) == ""


# -- processes -----------------------------------------------------------------

# In place of `auditor`: writes its arguments, and log lines in both formats.
_PROGRAM = """
import json, sys
arguments = {word.split("=")[0]: word.split("=")[-1] for word in sys.argv}
open(arguments["--output"], "w").write(json.dumps(arguments))
line = {"at": "2026-11-25T02:00:00.000Z", "level": "warning", "message": "slow"}
for logger in ("auditor", "auditor.cache"):
    print(json.dumps({**line, "logger": logger}), file=sys.stderr)
print("auditor: words", "{", '{"at": 1}', sep="\\n", file=sys.stderr)
sys.exit(2)
"""


def processes(folder: Path, messages: list[str], **changes: Any) -> ProcessEngine:
    return ProcessEngine(
        flags={"deadline": "60"},
        report_path=LocalShardDir(folder).path,
        notify=messages.append,
        program=(sys.executable, "-S", "-c", _PROGRAM),
        **changes,
    )


@pytest.mark.anyio
async def test_a_process_gets_the_remaining_time_and_its_part_of_the_limits(
    tmp_path: Path,
) -> None:
    messages: list[str] = []
    results: list[ShardResult] = []
    whole = plan_shards(settings(runs_at_once=2), workers=1)
    engine = processes(tmp_path, messages, deadline_s=60.0, metrics=True)
    await engine.run(whole, results.append)
    arguments = orjson.loads((tmp_path / "1-of-1.jsonl").read_bytes())
    assert arguments["--runs-at-once"] == "2"
    assert arguments["--metrics"] == str(tmp_path / "1-of-1.metrics")
    assert 30 < float(arguments["--deadline"]) < 60
    late = processes(tmp_path, messages, deadline_s=0.0)
    await late.run(whole, results.append)
    arguments = orjson.loads((tmp_path / "1-of-1.jsonl").read_bytes())
    assert arguments["--deadline"] == str(MIN_DEADLINE_S)
    assert "--metrics" not in arguments


@pytest.mark.anyio
async def test_log_lines_of_processes_are_read_in_both_formats(tmp_path: Path) -> None:
    messages: list[str] = []
    results: list[ShardResult] = []
    engine = processes(tmp_path, messages)
    await engine.run(plan_shards(settings(), workers=1), results.append)
    (result,) = results
    assert (result.shard, result.code) == (Shard(number=1, of=1), 2)
    assert result.messages == ("slow", "words")
    assert messages == [
        "1/1: WARNING auditor.cache: slow",
        "1/1: {",
        '1/1: {"at": 1}',
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_a_process_starts_reaches_it(
    number: signal.Signals, tmp_path: Path
) -> None:
    engine = processes(tmp_path, [])
    results: list[ShardResult] = []
    before = engine.report_path

    def report(shard: Shard) -> Path:
        engine.stop(number)  # nothing runs yet
        return before(shard)

    engine.report_path = report
    engine.program = (sys.executable, "-S", "-c", "import time; time.sleep(60)")
    await engine.run(plan_shards(settings(), workers=1), results.append)
    # SIGINT would print a traceback.
    assert [(result.code, result.messages) for result in results] == [
        (-signal.SIGTERM, ())
    ]
