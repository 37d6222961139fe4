"""The options about images, ready for use."""

from __future__ import annotations

import pytest

from auditor.audit.image_metadata import MAX_LABELS_BYTES, LabelPatterns, Wanted
from auditor.config import Settings
from auditor.oci.platform import read_platform

LABELS = {
    "team": "blue",
    "org.example.team": "red",
    "org.example.owner": "",
    "Team": "x",
}


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["team"], ["team"]),
        (["*"], ["Team", "org.example.owner", "org.example.team", "team"]),
        (["org.example.*"], ["org.example.owner", "org.example.team"]),
        (["?eam", "nothing"], ["Team", "team"]),
        (["[t]eam"], ["team"]),
        (["eam"], []),
    ],
)
def test_labels_are_chosen_by_pattern_and_sorted(
    patterns: list[str], names: list[str]
) -> None:
    chosen, left_out = LabelPatterns(patterns).of(LABELS)
    assert list(chosen) == names
    assert chosen == {name: LABELS[name] for name in names}
    assert left_out == 0


def test_labels_that_are_too_long_are_left_out_and_counted() -> None:
    labels = {
        "a": "x" * (MAX_LABELS_BYTES - 1),  # fits to the last byte
        "b": "",
        "c": "ü" * MAX_LABELS_BYTES,
    }
    chosen, left_out = LabelPatterns(["*"]).of(labels)
    assert list(chosen) == ["a"]
    assert left_out == 2


def test_without_platforms_every_one_is_wanted() -> None:
    arm = read_platform("linux/arm64")
    assert Wanted.of(Settings()).platform(arm)
    assert Wanted.of(Settings(platforms=("linux/amd64", "linux/aarch64"))).platform(arm)
    assert not Wanted.of(Settings(platforms=("linux/amd64",))).platform(arm)
