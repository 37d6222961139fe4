"""What a host was sent by all shards of an audit."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.report.merge_hosts import merge_hosts, merge_hosts_left_out

NAME = "r.example.com"


def host(limit: int, lowest: int, highest: int, **changes: Any) -> dict[str, Any]:
    return {
        "host": NAME, "limit": limit, "lowest": lowest, "highest": highest, "least": 1,
        "most": 21, "runs": 1, "round_trip_min_ms": 50.0, "round_trip_ms": 52.0,
        "last_move": "faster", "moves": {"faster": 2},
        "per_second": None, "lowest_per_second": None,
    } | changes  # fmt: skip


def shard(start: str, end: str, *hosts: dict[str, Any], left_out: int = 0) -> Any:
    return {
        "started_at": f"2026-11-24T{start}Z",
        "finished_at": f"2026-11-24T{end}Z",
        "hosts": list(hosts),
        "hosts_left_out": left_out,
    }


def test_processes_that_ran_together_are_added_up() -> None:
    shards = [
        shard("02:00:00", "02:01:00", host(6, 4, 12)),
        shard("02:00:01", "02:00:50", host(9, 3, 9, round_trip_ms=54.0)),
        shard("02:00:00", "02:01:05", host(8, 4, 8, moves={"throttled": 1}, most=22)),
    ]
    (found,) = merge_hosts(shards)
    assert found == host(
        6 + 9 + 8,
        4 + 3 + 4,
        12 + 9 + 8,
        least=3,
        most=21 + 21 + 22,
        runs=3,
        round_trip_ms=52.7,
        moves={"faster": 4, "throttled": 1},
    )


def test_learned_paces_are_added_up() -> None:
    paced = {"per_second": 2.4, "lowest_per_second": 1.1}
    shards = [
        shard("02:00:00", "02:01:00", host(1, 1, 4, **paced)),
        shard("02:00:00", "02:01:05", host(1, 1, 4, **paced)),
    ]
    (found,) = merge_hosts(shards)
    assert (found["per_second"], found["lowest_per_second"]) == (4.8, 2.2)
    for one in shards:  # of a version that had none
        del one["hosts"][0]["per_second"], one["hosts"][0]["lowest_per_second"]
    assert merge_hosts(shards)[0]["per_second"] is None


def test_shards_one_after_the_other_are_not_added_up() -> None:
    shards = [
        shard("02:00:00", "02:00:10", host(6, 4, 12, last_move="queue")),
        shard("02:00:10", "02:00:20", host(9, 3, 20, round_trip_min_ms=48.0)),
    ]
    (found,) = merge_hosts(shards)
    assert found == host(9, 3, 20, round_trip_min_ms=48.0, moves={"faster": 4})


def test_two_at_a_time_count_as_the_two_that_could_send_most() -> None:
    times = ["02:00:00", "02:00:00", "02:00:10", "02:00:20"]
    ends = ["02:00:10", "02:00:20", "02:00:40", "02:00:30"]
    highest = [10, 12, 16, 11]
    shards = [
        shard(start, end, host(5, 5, most))
        for start, end, most in zip(times, ends, highest, strict=True)
    ]
    (found,) = merge_hosts(shards)
    assert (found["runs"], found["highest"], found["limit"]) == (2, 12 + 16, 10)
    assert found["moves"] == {"faster": 8}


def test_shards_of_the_same_second_ran_together() -> None:
    once = shard("02:00:00", "02:00:00", host(5, 5, 5))
    (found,) = merge_hosts([once, once])
    assert (found["runs"], found["limit"]) == (2, 10)


def test_reports_that_were_merged_before_are_added_up_too() -> None:
    first = shard("02:00:00", "02:01:00", host(20, 10, 30, runs=3))
    (found,) = merge_hosts([first, shard("02:00:30", "02:01:00", host(5, 5, 5))])
    assert (found["runs"], found["highest"]) == (4, 35)


@pytest.mark.parametrize("field", ["round_trip_min_ms", "round_trip_ms"])
def test_a_shard_without_round_trips_does_not_count(field: str) -> None:
    together = [
        shard("02:00:00", "02:01:00", host(5, 5, 5, **{field: None})),
        shard("02:00:00", "02:01:00", host(5, 5, 5, **{field: 60.0})),
    ]
    (found,) = merge_hosts(together)
    assert found[field] == 60.0
    (found,) = merge_hosts(together[:1])
    assert found[field] is None


def test_hosts_beyond_the_limit_are_counted() -> None:
    hosts = [host(1, 1, 1, host=f"r{number}.example.com") for number in range(103)]
    first = shard("02:00:00", "02:01:00", *hosts[:60], left_out=2)
    second = shard("02:00:00", "02:01:00", *hosts[60:])
    assert len(merge_hosts([first, second])) == 100
    assert merge_hosts_left_out([first, second]) == 3
    assert merge_hosts_left_out([first]) == 2
