from __future__ import annotations

import re
from pathlib import Path

import pytest

from auditor.cli.config_command import examples, purpose
from auditor.cli.main import run
from auditor.errors import ExitCode

FOLDER = Path(__file__).parents[3] / "auditor" / "examples"


def test_every_example_is_listed_with_its_purpose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["config", "example"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines]
    assert names == sorted(path.stem for path in FOLDER.glob("*.toml"))
    for line in lines:
        name, words = line.split(maxsplit=1)
        assert re.search(r"[.?:]$", words), name
        assert len(line) <= 120, name


@pytest.mark.parametrize("name", examples())
def test_an_example_is_printed_as_it_is(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    for given in (name, f"{name}.toml"):
        assert run(["config", "example", given]) == ExitCode.OK
        assert capsys.readouterr().out == expected
    # Its own comments name the file that a user has then.
    assert "configs/" not in expected
    for used in re.findall(r"(?:-c|--policy) (\S+\.toml)", expected):
        assert Path(used).name == f"{name}.toml"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nightli", "nightli: no such example; did you mean nightly?"),
        ("zzz", "zzz: no such example (auditor config example lists them)"),
        ("../nightly", "../nightly: no such example"),
    ],
)
def test_an_unknown_example_is_one_message(
    name: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "example", name]) == ExitCode.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"auditor: {sentence}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# One. Two.\n# Three.\n", "One."),
        ("# One line\n# and another.\n#\n# More.\n", "One line and another."),
        ("# What is it?\n\n# No.\n", "What is it?"),
        ("key = 1\n# late\n", ""),
    ],
)
def test_the_purpose_is_the_first_sentence(text: str, sentence: str) -> None:
    assert purpose(text) == sentence
