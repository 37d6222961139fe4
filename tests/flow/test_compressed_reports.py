"""Reports named `.gz` and `.zst`: written compressed, and read by every command."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from auditor.cli.main import run
from auditor.errors import OutputError
from auditor.report import writer
from auditor.scale.merge_shards import merge_shards
from auditor.util.shard import Shard
from tests.flow.commands import auditor
from tests.flow.harness import Lab, lab, simple
from tests.flow.reporting import files_next_to, lines_of, report_to

pytestmark = pytest.mark.anyio

NAMES = [f"team-{number % 3}/app:{number}" for number in range(9)]
SUFFIXES = (".gz", ".zst")
POLICY = "[rules.all]\nforbid_failures = true\nimmutable_tags = ['*']\n"


def _all(here: Lab) -> list[str]:
    return [*map(here.ref, NAMES), here.ref("team-0/app:gone")]


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_every_command_reads_the_report_of_an_audit(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, packed = tmp_path / "plain.jsonl", tmp_path / f"report.jsonl{suffix}"
    (tmp_path / "policy.toml").write_text(POLICY)
    async with lab(simple(NAMES)) as here:
        await report_to(here, plain, *_all(here))
        await report_to(here, packed, *_all(here))
        again = tmp_path / "again.jsonl"
        await report_to(here, again, lists=(str(packed),))
    assert lines_of(packed) == lines_of(plain) == lines_of(again)
    assert files_next_to(packed) == {}
    assert packed.stat().st_size < plain.stat().st_size / 2
    old, new = str(plain), str(packed)
    policy = ["--policy", str(tmp_path / "policy.toml")]
    for arguments, code in (
        (["diff", old, new, "--exit-code"], 0),
        (["check", new, "--previous", new, *policy], 1),
        (["layers", new], 0),
        (["query", new, "SELECT count(*) FROM images", "--format", "csv"], 0),
        (["export", new, "--to", "csv", "-o", str(tmp_path / "tables")], 0),
        (["html", new, "--previous", new, "-o", str(tmp_path / "page.html")], 0),
        (["history", "add", str(tmp_path / "runs"), new], 0),
    ):
        got = await anyio.to_thread.run_sync(run, arguments)
        assert (got, capsys.readouterr().err) == (code, ""), arguments


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_a_run_that_ended_before_its_last_step_is_resumed(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, whole = tmp_path / f"out.jsonl{suffix}", tmp_path / "whole.jsonl"
    partial = output.with_name(f"{output.name}.partial")

    def end(_: object) -> None:
        raise OutputError("killed")

    async with lab(simple(NAMES)) as here:
        await report_to(here, whole, *_all(here))
        with monkeypatch.context() as patch:
            patch.setattr(writer.ReportWriter, "publish", end)
            with pytest.raises(OutputError, match="killed"):
                await report_to(here, output, *_all(here)[:4])
        assert not partial.read_bytes().startswith(b"{")
        done = await report_to(here, output, *_all(here), resume=True)
    assert done.messages == [f"resuming: 4 finished records are in {partial}"]
    assert lines_of(output) == lines_of(whole)
    assert files_next_to(output) == {}


async def test_a_full_disk_while_compressing_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, messages = tmp_path / "out.jsonl.zst", list[str]()

    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    async with lab(simple(NAMES)) as here:
        with monkeypatch.context() as patch:
            patch.setattr(writer, "copy_ranges", full)
            with pytest.raises(OutputError, match="No space left on device"):
                await report_to(here, output, *_all(here), messages=messages)
        assert not output.exists()
        assert messages == [
            f"progress saved in {output}.partial; continue with --resume"
        ]
        assert set(files_next_to(output)) == {
            f"{output.name}.partial",
            f"{output.name}.journal",
        }
        done = await report_to(here, output, *_all(here), resume=True)
    assert done.summary.resumed == {"kept": 10, "left_out": 0}
    assert len(lines_of(output)) == 10


async def test_compressed_shards_are_merged_into_a_compressed_report(
    tmp_path: Path,
) -> None:
    parts = [tmp_path / "1.jsonl.gz", tmp_path / "2.jsonl.zst"]
    whole, merged = tmp_path / "whole.jsonl", tmp_path / "merged.jsonl.zst"
    async with lab(simple(NAMES)) as here:
        await report_to(here, whole, *_all(here))
        for number, part in enumerate(parts, 1):
            await report_to(here, part, *_all(here), shard=Shard(number=number, of=2))
    summary = await merge_shards(list(map(str, parts)), str(merged))
    assert summary["references"]["asked"] == 10
    assert lines_of(merged) == lines_of(whole)
    assert files_next_to(merged) == {}


async def test_processes_write_one_compressed_report(tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl.gz"
    async with lab(simple(NAMES)) as here:
        done = await auditor(
            *("audit", *map(here.ref, NAMES), "--processes", "2", "-o", str(report))
        )
    assert done.code == 0
    assert len(gzip.decompress(report.read_bytes()).splitlines()) == len(NAMES)
    assert [path.name for path in tmp_path.iterdir()] == [report.name]


def test_a_compressed_report_into_a_pipe_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe.gz"
    os.mkfifo(pipe)
    assert run(["audit", "r.example.com/a:1", "-o", str(pipe)]) == 3
    assert "is not a regular file, and gets plain lines" in capsys.readouterr().err
