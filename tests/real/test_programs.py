"""A missing program skips its tests, or fails them where skips are not allowed."""

from __future__ import annotations

import pytest

from tests.real.go_programs import PROGRAMS
from tests.real.programs import ALLOWED_SKIPS, NO_SKIPS, missing

SKIPPED, FAILED = pytest.skip.Exception, pytest.fail.Exception


@pytest.mark.parametrize(
    ("no_skips", "allowed", "outcome"),
    [
        ("", "", SKIPPED),
        ("1", "", FAILED),
        ("1", "crane", FAILED),
        ("1", "olareg crane", SKIPPED),
        # A part of a name is another program.
        ("1", "olareg-2", FAILED),
    ],
)
def test_only_allowed_programs_may_be_missing(
    monkeypatch: pytest.MonkeyPatch,
    no_skips: str,
    allowed: str,
    outcome: type[BaseException],
) -> None:
    monkeypatch.setenv(NO_SKIPS, no_skips)
    monkeypatch.setenv(ALLOWED_SKIPS, allowed)
    with pytest.raises(outcome, match="olareg is not installed: make real"):
        missing("olareg", "make real")


def test_each_program_has_a_folder_of_its_own_and_a_version() -> None:
    """Several are called `registry`."""
    folders = {program.folder for program in PROGRAMS}
    assert len(folders) == len(PROGRAMS)
    for program in PROGRAMS:
        assert program.package is None or "@v" in program.package
