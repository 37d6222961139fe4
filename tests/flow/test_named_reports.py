"""Reports with `{date}`, `{time}` and `{host}` in their names, as in crontabs."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

import anyio.to_thread
import orjson
import pytest

from auditor.cli.main import run
from auditor.errors import OutputError
from auditor.report import writer
from auditor.util.clock import rfc3339
from auditor.util.shard import Shard
from tests.flow.commands import auditor
from tests.flow.harness import MANIFESTS, Lab, lab, simple
from tests.flow.reporting import files_next_to, lines_of, report_to

pytestmark = pytest.mark.anyio

NAMES = [f"team-{number % 3}/app:{number}" for number in range(6)]
HOST = socket.gethostname()


def _time(epoch_s: float) -> str:
    return rfc3339(epoch_s).replace(":", "").removesuffix("Z")


async def _leave_unfinished(here: Lab, output: Path, *, began_s: float) -> None:
    """Leave a report as a run that was killed at its last step does."""
    here.clock.now += began_s - here.clock.epoch()

    def end(_: object) -> None:
        raise OutputError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer.ReportWriter, "publish", end)
        with pytest.raises(OutputError, match="killed"):
            await report_to(here, output, *map(here.ref, NAMES[:4]))


async def test_an_unfinished_report_is_completed_under_its_own_name(
    tmp_path: Path,
) -> None:
    began_s = time.time() - 3600
    began = _time(began_s)
    report = tmp_path / f"r-{began}-{HOST}.jsonl.gz"
    async with lab(simple(NAMES)) as here:
        await _leave_unfinished(here, report, began_s=began_s)
        before = here.good(MANIFESTS)
        done = await auditor(
            *("audit", *map(here.ref, NAMES), "--resume"),
            *("-o", "r-{date}T{time}-{host}.jsonl.gz", "--summary", "s-{date}.json"),
            place=tmp_path,
        )
        assert here.good(MANIFESTS) - before == 2
    assert done.code == 0
    assert done.messages[:2] == [
        f"continuing {report.name}, which an earlier run left unfinished",
        f"resuming: 4 finished records are in {report}.partial",
    ]
    assert len(lines_of(report)) == len(NAMES)
    assert files_next_to(report) == {}
    summary = tmp_path / f"s-{began[:10]}.json"
    assert orjson.loads(summary.read_bytes())["output"] == report.name
    assert {path.name for path in tmp_path.iterdir()} == {report.name, summary.name}


async def test_a_configuration_names_the_files_of_each_run(tmp_path: Path) -> None:
    folder = tmp_path / "{1}"
    folder.mkdir()
    (folder / "audit.toml").write_text(
        'output = "{date}T{time}.jsonl.zst"\nsummary = "{date}T{time}.json"\n'
        'metrics = "{host}.prom"\nprocesses = 2\n'
    )
    async with lab(simple(NAMES)) as here:
        began_s = time.time()
        done = await auditor(
            "audit", *map(here.ref, NAMES), "-c", str(folder / "audit.toml")
        )
        ended_s = time.time()
    assert done.code == 0
    names = sorted(path.name for path in folder.iterdir() if path.suffix != ".toml")
    summary, report = (folder / name for name in names[:2])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d{6}\.jsonl\.zst", report.name)
    assert _time(began_s) <= report.name[:17] <= _time(ended_s)
    assert names == [
        report.name.replace("jsonl.zst", "json"),
        report.name,
        f"{HOST}.prom",
    ]
    assert len(lines_of(report)) == len(NAMES)
    assert orjson.loads(summary.read_bytes())["output"] == str(report)


async def test_merge_names_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [tmp_path / f"{number}.jsonl" for number in (1, 2)]
    async with lab(simple(NAMES)) as here:
        for number, part in enumerate(parts, 1):
            shard = Shard(number=number, of=2)
            await report_to(here, part, *map(here.ref, NAMES), shard=shard)
    for output, code in (("{host}.jsonl.gz", 0), ("{day}.jsonl", 2), ("x.csv", 2)):
        arguments = ["merge", *map(str, parts), "-o", str(tmp_path / output)]
        assert await anyio.to_thread.run_sync(run, arguments) == code
    assert len(lines_of(tmp_path / f"{HOST}.jsonl.gz")) == len(NAMES)
    printed = capsys.readouterr().err
    assert "--output: unknown placeholder {day}" in printed
    assert "--output: a report is JSON lines, not .csv" in printed
