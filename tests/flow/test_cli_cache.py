"""`auditor cache info|prune|verify`."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

from auditor.cache.digest_cache import DigestCache
from auditor.cli.main import run
from tests.unit.cache.test_digest_cache import HOST, ask, digest

Printed = pytest.CaptureFixture[str]
DAY_S = 24 * 3600


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten contents used today, and ten used ten days ago."""
    path = tmp_path / "cache"
    monkeypatch.setenv("AUDITOR_CACHE", str(path))
    now = time.time()
    for days in (10, 0):
        at = now - days * DAY_S
        with DigestCache(path, now=lambda at=at: at) as opened:  # type: ignore[misc]
            for _ in range(10):
                body = os.urandom(300_000)
                opened.put(HOST, digest(body), body, content_type=None)
                opened.put_tag(HOST, "app", str(days), digest=digest(body),
                               header=None, content_type=None)  # fmt: skip
    return path


def test_info_shows_the_path_and_the_contents(cache: Path, capsys: Printed) -> None:
    assert run(["cache", "info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(cache)
    assert "  20 contents, 2 tags" in lines
    assert lines[-1] == f"  {HOST}: 20 contents, 2 tags"
    assert run(["cache", "info", "--format=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["contents"] == 20
    assert found["bytes_used"] > 20 * 300_000
    assert found["newest_use"] - found["oldest_use"] == pytest.approx(10 * DAY_S, abs=9)
    assert found["registries"] == {HOST: [20, 2]}


def test_prune_removes_unused_and_excess_contents(cache: Path, capsys: Printed) -> None:
    assert run(["cache", "prune", "--unused", "5d"]) == 0
    assert "removed 10 contents" in capsys.readouterr().out
    assert cache.stat().st_size < 12 * 300_000
    assert run(["cache", "prune", "--cache-max-size", "1M"]) == 0
    assert cache.stat().st_size <= 1024**2
    assert run(["cache", "verify"]) == 0


def test_verify_removes_damaged_entries_and_exits_1(
    cache: Path, capsys: Printed
) -> None:
    assert run(["cache", "verify"]) == 0
    capsys.readouterr()
    ask(cache, "UPDATE content SET body = X'00' WHERE id < 4")
    ask(cache, "UPDATE tags SET tag = 'x' WHERE tag = '0'")
    assert run(["cache", "verify"]) == 1
    output_text = capsys.readouterr().out
    assert "20 contents, 3 damaged; 2 tags, 1 damaged" in output_text
    assert run(["cache", "verify"]) == 0
    assert "17 contents, 0 damaged; 1 tag, 0 damaged" in capsys.readouterr().out


def test_verify_reports_a_damaged_file(cache: Path, capsys: Printed) -> None:
    (page,) = ask(cache, "SELECT rootpage FROM sqlite_master WHERE name = 'tags'")
    data = bytearray(cache.read_bytes())
    start = (int(str(page[0])) - 1) * 4096
    data[start : start + 100] = b"\xff" * 100
    cache.write_bytes(data)
    assert run(["cache", "verify"]) == 2
    assert f"{cache}: the file is damaged: " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["info", "prune", "verify"])
@pytest.mark.parametrize("content", [None, b"{}\n" * 500])
def test_a_file_that_is_not_a_cache_is_not_touched(
    tmp_path: Path, capsys: Printed, command: str, content: bytes | None
) -> None:
    path = tmp_path / "other"
    if content is not None:
        path.write_bytes(content)
    assert run(["cache", command, "--cache", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    assert (path.read_bytes() if content is not None else path.exists()) == (
        content or False
    )


def test_the_database_of_another_program_is_not_a_cache(
    tmp_path: Path, capsys: Printed
) -> None:
    path = tmp_path / "theirs"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE content (id, digest, used)")
    connection.close()
    assert run(["cache", "prune", "--cache", str(path)]) == 2
    assert f"{path}: not a digest cache" in capsys.readouterr().err


def test_without_a_cache_file_the_command_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.setenv("AUDITOR_NO_CACHE", "1")
    assert run(["cache", "info"]) == 2
    assert "no_cache" in capsys.readouterr().err


def test_a_cache_that_is_not_there_yet_is_said_to_be_made_by_an_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.delenv("AUDITOR_NO_CACHE", raising=False)
    path = tmp_path / "none.sqlite"
    assert run(["cache", "info", "--cache", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"auditor: {path}: there is no cache yet; auditor audit makes it\n"
    )
