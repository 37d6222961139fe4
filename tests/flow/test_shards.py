"""The shards of one audit: together they have each reference once."""

from __future__ import annotations

from itertools import chain

import pytest

from auditor.errors import FailureKind
from auditor.model import FailureRecord
from auditor.report.listing_stats import ListState
from auditor.util.shard import Shard
from tests.flow.harness import Lab, lab, simple
from tests.support.fault_actions import Answer, Pass

pytestmark = pytest.mark.anyio

NAMES = [f"team-{number % 3}/app-{number}:{tag}" for number in range(9) for tag in "ab"]


async def shards(here: Lab, *references: str, of: int = 4) -> list[list[str]]:
    return [
        (await here.audit(*references, shard=Shard(number=number, of=of))).references
        for number in range(1, of + 1)
    ]


async def test_the_shards_of_a_registry_are_the_registry() -> None:
    async with lab(simple(NAMES)) as here:
        whole = (await here.audit(here.ref("*:*"))).references
        reports = await shards(here, here.ref("*:*"))
    assert len(whole) == len(NAMES)
    assert sorted(chain.from_iterable(reports)) == sorted(whole)
    assert sum(map(bool, reports)) > 1, "all repositories are in one shard"


async def test_each_entry_of_the_input_is_in_one_shard() -> None:
    async with lab(simple(NAMES)) as here:
        asked = [
            *(here.ref(name) for name in NAMES),
            here.ref("team-0/app-0:*"),  # again
            here.ref("team-9/none:*"),
            "no reference at all",
        ]
        whole = await here.audit(*asked)
        reports = await shards(here, *asked)
    assert len(whole.records) == len(NAMES) + 2
    assert sorted(chain.from_iterable(reports)) == sorted(whole.references)


async def test_a_repository_is_in_one_shard() -> None:
    async with lab(simple(NAMES)) as here:
        reports = await shards(here, here.ref("*:*"))
    found = [{name.rpartition(":")[0] for name in part} for part in reports]
    assert sum(map(len, found)) == len(set().union(*found)) == 9


async def test_a_denied_catalog_fails_in_one_shard() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/_catalog", Answer(403), forever=True)
        reports = await shards(here, here.ref("*:*"))
    assert list(chain.from_iterable(reports)) == [here.ref("**:*")]


async def test_a_shard_without_a_match_has_no_failure() -> None:
    async with lab(simple(["only/one:1"])) as here:
        reports = await shards(here, here.ref("*:*"))
    assert list(chain.from_iterable(reports)) == [here.ref("only/one:1")]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_a_catalog_that_fails_in_one_shard_is_a_failure_there(
    number: int,
) -> None:
    shard = Shard(number=number, of=4)
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/_catalog", Pass(), Answer(500))
        outcome = await here.audit(here.ref("*:*"), shard=shard, page_size=4, tries=1)
    (failure,) = [one for one in outcome.records if isinstance(one, FailureRecord)]
    assert failure.reference == here.ref("**:*")
    assert failure.failure is FailureKind.INCOMPLETE_LISTING
    assert outcome.summary.listings.shown[0].state is ListState.INCOMPLETE
