"""One cache used by several processes at once, some of which are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from auditor.cache.database import open_existing_database
from auditor.cache.digest_cache import DigestCache
from auditor.cache.maintenance import verify
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import image, index
from tests.flow.commands import BASE_ENVIRONMENT, auditor, finish, running
from tests.flow.harness import MANIFESTS, lab
from tests.support.fault_actions import Gate, Hold

# Stores contents and reads them back as fast as it can; prints its progress.
_BUSY = """
import hashlib, sys, time
from pathlib import Path
from auditor.cache.digest_cache import DigestCache
with DigestCache(Path(sys.argv[1]), now=time.time, max_bytes=1_500_000) as cache:
    for number in range(int(sys.argv[2]), 10**9):
        body = b"%d " % number * 200
        name = "sha256:" + hashlib.sha256(body).hexdigest()
        cache.put("r", name, body, content_type=None)
        tag_fields = {"header": name, "content_type": None}
        cache.put_tag("r", "app", str(number), digest=name, **tag_fields)
        if number % 512 == 0:
            for past in range(number, max(number - 3000, int(sys.argv[2]) - 1), -7):
                body = b"%d " % past * 200
                name = "sha256:" + hashlib.sha256(body).hexdigest()
                found = cache.get("r", name)
                assert found is None or found.body == body
            assert cache.path is not None, "given up"
            print(number, flush=True)
"""


def _contents(path: Path) -> int:
    """The number of contents in the cache."""
    connection = open_existing_database(path)
    try:
        (count,) = connection.execute("SELECT count(*) FROM content").fetchone()
    finally:
        connection.close()
    return int(count)


def test_killed_processes_leave_a_valid_cache(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cache"

    def start(number: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _BUSY, str(path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
            env={**BASE_ENVIRONMENT, "PATH": os.defpath},
        )

    # Two write the same contents, one others; all prune, because the cache is small.
    busy = [start(0), start(0), start(10**6)]
    try:
        for number in range(4):
            victim = busy.pop(0)
            assert victim.stdout is not None
            lines = 0
            # On a busy machine, the first batch may take long.
            while lines < 3 + number or not _contents(path):
                assert victim.stdout.readline(), "it ended by itself"
                lines += 1
            victim.send_signal(signal.SIGKILL)
            victim.communicate()
            assert victim.returncode == -signal.SIGKILL
            if number < 2:
                busy.append(start(number * 1000))
            # The cache is never left locked: another process reads and writes at once.
            with DigestCache(path, now=time.time) as cache:
                cache.put("r", "sha256:" + "0" * 64, b"", content_type=None)
                assert cache.path == path
                cache.discard("sha256:" + "0" * 64)
    finally:
        for one in busy:
            one.kill()
            one.communicate()
    connection = open_existing_database(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found = verify(connection)
    connection.close()
    assert found.contents > 0
    assert found.damaged == 0


def _many() -> DemoContent:
    content = DemoContent()
    children = [image("app", platform=one) for one in ("linux/amd64", "linux/arm64")]
    for number in range(700):
        tag = str(number)
        content.add("app", index(children, annotations={"n": tag}), tag)
    return content


@pytest.mark.anyio
async def test_an_audit_killed_beside_another_does_not_change_its_report(
    tmp_path: Path,
) -> None:
    cache = str(tmp_path / "cache")
    changes = {"AUDITOR_NO_CACHE": "0", "AUDITOR_CACHE": cache}
    gate = Gate()
    async with lab(_many()) as here:
        # Of the one that is killed, which cannot end before.
        here.faults.on("GET", "/v2/app/manifests/699", Hold(gate))
        command = ("audit", here.ref("app:*"), "--log-level", "info")
        report = str(tmp_path / "killed.jsonl")
        async with running(*command, "-o", report, environment=changes) as killed:
            # By then it has written a batch.
            await here.faults.until(lambda: here.good(MANIFESTS) >= 600)
            async with running(*command, environment=changes) as other:
                await here.faults.until(lambda: here.good(MANIFESTS) >= 650)
                killed.send_signal(signal.SIGKILL)
                gate.open()
                done = await finish(other)
            assert await killed.wait() == -signal.SIGKILL
        # The two processes use the real time.
        here.clock.now += time.time() - here.clock.epoch()
        cold = await here.audit(here.ref("app:*"))
        here.faults.log.clear()
        warm = await here.audit(here.ref("app:*"), cache=cache)
        assert here.faults.count("GET", MANIFESTS) == 0
        assert here.faults.count("HEAD", MANIFESTS) == 700
    assert done.code == 0
    assert not [line for line in done.stderr if "WARNING" in line or "lock" in line]
    expected = [orjson.loads(orjson.dumps(one)) for one in cold.records]
    found = done.lines
    for line in (*expected, *found):
        line["audited_at"] = ""
    assert found == expected
    assert [replace(one, audited_at="") for one in warm.records] == [
        replace(one, audited_at="") for one in cold.records
    ]


@pytest.mark.anyio
async def test_an_unusable_cache_costs_one_warning(
    tmp_path: Path,
) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"no folder")
    changes = {"AUDITOR_NO_CACHE": "0", "AUDITOR_CACHE": str(place / "cache")}
    async with lab(_many()) as here:
        done = await auditor("audit", here.ref("app:1"), environment=changes)
    assert done.code == 0
    assert len(done.lines) == 1
    told = [line for line in done.stderr if "cache" in line]
    assert len(told) == 1
    assert f"{place}/cache: " in told[0]
    assert "continuing without it" in told[0]
