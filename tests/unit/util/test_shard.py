from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.config import resolve_settings
from auditor.errors import ConfigError, ProtocolError
from auditor.util.shard import MAX_SHARDS, Shard, parse_shard


@pytest.mark.parametrize(
    ("text", "number", "of"),
    [("1/1", 1, 1), ("2/8", 2, 8), (" 8/8 ", 8, 8), ("auto/4", None, 4)],
)
def test_a_shard_is_parsed(text: str, number: int | None, of: int) -> None:
    assert parse_shard(text) == Shard(number=number, of=of)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "0/4",
        "5/4",
        "1/0",
        "-1/4",
        "1/4/2",
        "auto",
        "a/4",
        f"1/{MAX_SHARDS + 1}",
    ],
)
def test_text_that_is_not_a_shard_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_shard(text)


@given(st.text(max_size=20), st.text(max_size=20), st.integers(1, 50))
def test_a_repository_is_in_exactly_one_shard(host: str, name: str, of: int) -> None:
    takers = [n for n in range(1, of + 1) if Shard(number=n, of=of).takes(host, name)]
    assert len(takers) == 1


def test_shards_are_the_same_in_every_process_and_version() -> None:
    names = [f"team/app-{number}" for number in range(8)]
    shares = [
        next(n for n in (1, 2, 3) if Shard(number=n, of=3).takes("r.example.com", name))
        for name in names
    ]
    assert shares == [2, 2, 3, 3, 3, 2, 2, 2]


def test_shards_have_about_the_same_size() -> None:
    names = [f"team-{number % 40}/service-{number}" for number in range(8000)]
    taken = sum(Shard(number=3, of=8).takes("r.example.com", name) for name in names)
    assert 800 < taken < 1200


def settings(**environment: str) -> Shard | None:
    return resolve_settings(
        file=None,
        file_name=None,
        environment=environment,
        flags={},
        read_file=str,
    ).shard


def test_a_kubernetes_job_counts_from_0() -> None:
    found = settings(AUDITOR_SHARD="auto/4", JOB_COMPLETION_INDEX="3")
    assert found == Shard(number=4, of=4)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (None, "--shard: auto/4: JOB_COMPLETION_INDEX is not a number"),
        ("x", "--shard: auto/4: JOB_COMPLETION_INDEX is not a number"),
        ("4", "--shard: auto/4: JOB_COMPLETION_INDEX is 4, counted from 0: there"
              " are more pods than shards"),
    ],
)  # fmt: skip
def test_auto_without_a_job_index_is_a_configuration_error(
    index: str | None, message: str
) -> None:
    environment = {"AUDITOR_SHARD": "auto/4"}
    if index is not None:
        environment["JOB_COMPLETION_INDEX"] = index
    with pytest.raises(ConfigError) as caught:
        settings(**environment)
    assert caught.value.mistakes == (message,)
