"""What people read of a night: no control characters, and what to act on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auditor.nightly.night_folder import Night, failed_start
from auditor.nightly.night_text import (
    MAX_LINES,
    action_lines,
    failure_text,
    headline,
    markdown_text,
    status_lines,
)

NIGHT = Night(
    number=1,
    name="2026-12-01",
    started_at="2026-12-01T02:00:00Z",
    complete=True,
    references=2,
    audited=1,
    failed=1,
)
# ESC, a C1 control that begins a sequence, and a bidirectional override.
EVIL = "a\x1b[31m\x9b31m\u202eb\nc"
FAILURES = {
    "server": {
        "count": 1,
        "example": {"reference": f"r.example.com/{EVIL}", "detail": EVIL},
    }
}


def test_no_text_has_characters_that_act_on_a_terminal() -> None:
    markdown = markdown_text(
        NIGHT, failures=FAILURES, changes=[f"| {EVIL[:8]} |"], findings=[]
    )
    lines = action_lines(
        NIGHT,
        failures=FAILURES,
        changes=[EVIL],
        violations=[EVIL],
        warnings=[EVIL],
        page=None,
        report="/state/reports/x",
    )
    failed = failure_text(failed_start("2026-12-01T02:00:00Z", 2, EVIL))
    status = status_lines([replace(NIGHT, complete=False, remark=EVIL)], EVIL)
    for line in (*markdown.splitlines(), *lines, *failed.splitlines(), *status):
        assert line.isprintable(), line
    assert lines[-2:] == [
        "what to do: auditor explain server",
        "report: /state/reports/x",
    ]
    assert len(lines) <= MAX_LINES


@pytest.mark.parametrize(
    ("night", "sentence"),
    [
        (NIGHT, "night 2026-12-01: 1 of 2 references failed"),
        (
            replace(NIGHT, changes={"moved": 2}, violations={"error": 1, "warning": 0}),
            "night 2026-12-01: 1 of 2 references failed; 2 moved; 1 policy violation",
        ),
        (
            replace(NIGHT, complete=False, exit_code=1, remark="its audit was cut"),
            "the night 2026-12-01 is incomplete: its audit was cut",
        ),
        (
            failed_start("2026-12-01T02:00:00Z", 2, "a.toml: wrong\nb.toml: wrong"),
            "the night 2026-12-01T020000Z ended with exit code 2: a.toml: wrong;"
            " b.toml: wrong",
        ),
        # The metrics file could not be written; the night is complete.
        (replace(NIGHT, exit_code=3), "night 2026-12-01: 1 of 2 references failed"),
    ],
)
def test_the_first_line_says_what_a_person_has_to_know(
    night: Night, sentence: str
) -> None:
    assert headline(night) == sentence
