"""docs/first-five-minutes.md is what the installed package prints on a terminal.

To write the page anew: UPDATE_GOLDEN=1 pytest THIS_FILE
"""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import hatchling.build
import pytest

from scripts.first_five_minutes import COLUMNS, TARGET, page

# The packages that auditor needs are those of the tests.
_PROGRAM = """\
#!{python}
import sys
sys.path.insert(0, {packages!r})
import auditor.__main__
assert auditor.__file__.startswith({packages!r})
auditor.__main__.main()
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the `auditor` of the wheel."""
    monkeypatch.chdir(Path(__file__).parents[2])
    name = hatchling.build.build_wheel(str(tmp_path))
    packages = tmp_path / "packages"
    with zipfile.ZipFile(tmp_path / name) as wheel:
        wheel.extractall(packages)
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "auditor"
    text = _PROGRAM.format(python=sys.executable, packages=str(packages))
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    return folder


def test_the_first_five_minutes_are_as_the_page_shows_them(programs: Path) -> None:
    text = page(programs)
    if os.environ.get("UPDATE_GOLDEN"):
        TARGET.write_text(text, encoding="utf-8")
    assert text == TARGET.read_text(encoding="utf-8")


def test_nothing_that_the_page_shows_is_wrapped_by_the_terminal() -> None:
    _, *blocks = TARGET.read_text(encoding="utf-8").split("```text\n")
    assert len(blocks) > 5
    for block in blocks:
        _, *lines = block.partition("\n```")[0].splitlines()
        assert [line for line in lines if len(line) > COLUMNS] == []
