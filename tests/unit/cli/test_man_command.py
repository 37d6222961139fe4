"""Manual pages of every command."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from auditor.cli.main import run
from auditor.cli.man_command import all_contexts, manual_page
from tests.real.programs import required

Printed = pytest.CaptureFixture[str]
CONTEXTS = {context.command_path: context for context in all_contexts()}


@pytest.mark.parametrize("path", CONTEXTS)
def test_a_page_has_the_sections_of_a_manual(path: str) -> None:
    lines = manual_page(CONTEXTS[path]).splitlines()
    sections = [line[4:] for line in lines if line.startswith(".SH ")]
    assert sections[:4] == ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"]
    assert sections[-1] == "SEE ALSO"
    # Every other line is text: requests are those of man(7) only.
    requests = {line.split()[0] for line in lines if line[0] in ".'"}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".PP"}


def test_mandoc_finds_nothing_wrong(tmp_path: Path) -> None:
    mandoc = required("mandoc")
    assert run(["man", "--folder", str(tmp_path)]) == 0
    pages = sorted(tmp_path.iterdir())
    assert len(pages) == len(CONTEXTS)
    assert tmp_path / "auditor-nightly-status.1" in pages
    done = subprocess.run(
        [mandoc, "-T", "lint", "-W", "warning", *pages],
        capture_output=True,
        text=True,
        check=False,
    )
    # A page has no date: the same source gives the same page.
    problems = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert problems == []


def test_man_shows_a_page(capsys: Printed) -> None:
    man = required("man", package="man-db")
    assert run(["man", "nightly", "status"]) == 0
    done = subprocess.run(
        [man, "-l", "-"],
        input=capsys.readouterr().out,
        capture_output=True,
        text=True,
        check=True,
        env={"MANWIDTH": "80", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"},
    )
    shown = " ".join(done.stdout.split())
    assert "auditor-nightly-status - Show the last nights" in shown
    assert "auditor nightly -c nightly.toml status" in shown


def test_an_unknown_command_has_no_page(capsys: Printed) -> None:
    assert run(["man", "audt"]) == 2
    assert "Did you mean 'audit'?" in capsys.readouterr().err
