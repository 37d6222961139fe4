"""The cost of one tag: requests, CPU and bytes, in a cold run and in warm runs.

    python -m bench.per_tag

All Docker Official Images (9,849 tags) from the demo's registry in this process; the
audits run in other processes, with a digest cache that is empty in the cold run.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson

from auditor.demo.demo_images import official_images
from auditor.demo.demo_registry import DemoContent
from tests.support.registry import registry_app, serve_in_thread


def main() -> None:
    content = DemoContent.of(tuple(official_images()))
    with (
        tempfile.TemporaryDirectory(prefix="auditor-bench-") as name,
        serve_in_thread(registry_app(content)) as url,
    ):
        folder = Path(name)
        host = url.removeprefix("http://")
        print("| night | requests | CPU | report | report, gzip | store |")
        print("|---|---:|---:|---:|---:|---:|")
        for night in ("first", "later"):
            print(_row(night, f"{host}/*:*", folder), flush=True)


def _row(night: str, pattern: str, folder: Path) -> str:
    report, summary, store = (folder / part for part in ("out", "sum", "store"))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "auditor", "audit", pattern, "-o", str(report)),
            *("--summary", str(summary), "--cache", str(store)),
        ],
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"the audit failed: exit code {process.returncode}")
    told = orjson.loads(summary.read_bytes())
    tags = told["references"]["audited"]
    requests = sum(told["requests"].values()) / tags
    cpu_us = (usage.ru_utime + usage.ru_stime) / tags * 1e6
    data = report.read_bytes()
    packed = len(gzip.compress(data, 1)) / tags
    return (
        f"| {night} | {requests:.2f} | {cpu_us:.0f} us | {len(data) / tags:.0f} B"
        f" | {packed:.0f} B | {store.stat().st_size / tags:.0f} B |"
    )


if __name__ == "__main__":
    main()
