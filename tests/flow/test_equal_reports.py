"""Cold, warm, sharded and merged runs give the same records."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pytest

from auditor.demo.demo_images import ADMIN, ADMIN_PASSWORD, demo_images, demo_tokens
from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import DemoAccount
from auditor.scale.merge_shards import merge_shards
from auditor.util.shard import Shard
from tests.flow.cluster import cluster
from tests.flow.commands import auditor
from tests.flow.harness import MANIFESTS, lab
from tests.flow.reporting import lines_of, report_to

pytestmark = pytest.mark.anyio

# Warnings of Dask.
PROGRAM = (sys.executable, "-m", "auditor")
LOGIN = DemoAccount(ADMIN, ADMIN_PASSWORD)
SHARDS = 3
SELECTORS = (
    "team/**:*",
    "library/mysql:*",
    "library/mysql:latest",
    "library/mysql:none",
    "library/ubuntu:*",
    "library/none:1",
    "library/a*:*",
)


def records_of(path: Path) -> set[bytes]:
    """The records of a report as a set, without `audited_at`."""
    lines = [orjson.dumps(line, option=orjson.OPT_SORT_KEYS) for line in lines_of(path)]
    assert len(set(lines)) == len(lines), "a record is there twice"
    return set(lines)


async def test_cold_warm_sharded_dask_and_merged_runs_give_equal_records(
    tmp_path: Path,
) -> None:
    path = tmp_path / "list.txt"
    lists = (str(path),)
    cache = str(tmp_path / "store")
    async with lab(
        DemoContent.of(demo_images()), tokens=demo_tokens(), login=LOGIN
    ) as here:
        path.write_text("\n".join([*map(here.ref, SELECTORS[:4]), "no reference at",
                                   *map(here.ref, SELECTORS[4:])]))  # fmt: skip
        config = tmp_path / "auditor.toml"
        config.write_text(
            f'[registry."{here.host}"]\nusername = "{ADMIN}"\n'
            'password_env = "PASSWORD"\n'
        )
        cold = await report_to(
            here, tmp_path / "cold", lists=lists, no_cache=False, cache=cache
        )
        fetched = here.faults.count("GET", MANIFESTS)
        await report_to(here, tmp_path / "warm", lists=lists, no_cache=False,
                        cache=cache)  # fmt: skip
        failed_again = here.faults.count("GET", MANIFESTS) - fetched
        assert failed_again <= cold.summary.tally.failed, "the night was not warm"
        for number in range(1, SHARDS + 1):
            shard = Shard(number=number, of=SHARDS)
            await report_to(here, tmp_path / str(number), lists=lists, shard=shard)
        names = [str(tmp_path / str(number)) for number in range(1, SHARDS + 1)]
        await merge_shards(names, str(tmp_path / "merged"))
        command = ("audit", "-c", str(config), "-f", str(path), "--no-docker-config")
        with cluster(tmp_path, PASSWORD=ADMIN_PASSWORD, workers=2) as machines:
            for name, flags in {
                "processes": ("--processes", "2"),
                "dask": ("--engine", "dask", "--scheduler", machines.scheduler),
            }.items():
                done = await auditor(
                    *command, *flags, "-o", str(tmp_path / name),
                    program=PROGRAM, environment={"PASSWORD": ADMIN_PASSWORD},
                )  # fmt: skip
                assert done.code == 1, done.stderr
    expected = records_of(tmp_path / "cold")
    assert cold.summary.tally.failed >= 3
    assert cold.summary.tally.audited > 30
    for name in ("warm", "processes", "dask", "merged"):
        assert records_of(tmp_path / name) == expected, name
