"""What the wheel and the source distribution contain."""

from __future__ import annotations

import ast
import email
import re
import subprocess
import tarfile
import tomllib
import zipfile
from functools import cache
from pathlib import Path, PurePosixPath

import hatchling.build
import pytest

from auditor.version import __version__

ROOT = Path(__file__).parents[2]
NAME = f"manifest_auditor-{__version__}"
# What a source distribution does without: what only git or CI reads, and a link to
# files that it has.
NOT_NEEDED = {".ci", ".git-blame-ignore-revs", "configs"}
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built without network."""
    folder = tmp_path_factory.mktemp("dist")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        hatchling.build.build_wheel(str(folder))
        hatchling.build.build_sdist(str(folder))
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl")


@pytest.fixture(scope="module")
def in_sdist(built: Path) -> set[PurePosixPath]:
    """The files of the source distribution, relative to its folder."""
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        return {
            PurePosixPath(one.name).relative_to(NAME)
            for one in archive
            if one.isfile() or one.issym()
        }


def _files(folder: Path) -> set[PurePosixPath]:
    """The files of a folder of the project, without what Python and benches write."""
    return {
        PurePosixPath(path.relative_to(ROOT))
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", ".work"} & {*path.parts}
    }


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(
    wheel: zipfile.ZipFile,
) -> None:
    found = {PurePosixPath(name) for name in wheel.namelist()}
    metadata = {one for one in found if one.parts[0] == f"{NAME}.dist-info"}
    assert {one.name for one in metadata} == {
        "METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE",
    }  # fmt: skip
    assert found - metadata == _files(ROOT / "auditor")


@pytest.mark.parametrize("name", ["py.typed", "examples/nightly.toml"])
def test_the_wheel_has_what_is_no_code(wheel: zipfile.ZipFile, name: str) -> None:
    assert f"auditor/{name}" in wheel.namelist()


def test_the_wheel_says_what_it_needs_and_how_it_is_started(
    wheel: zipfile.ZipFile,
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    metadata = email.message_from_bytes(wheel.read(f"{NAME}.dist-info/METADATA"))
    assert (metadata["Name"], metadata["Version"]) == (project["name"], __version__)
    assert metadata["Requires-Python"] == project["requires-python"]
    always = [
        one for one in metadata.get_all("Requires-Dist", []) if "extra" not in one
    ]
    assert len(always) == len(project["dependencies"])
    entry_points = wheel.read(f"{NAME}.dist-info/entry_points.txt").decode()
    assert "auditor = auditor.__main__:main" in entry_points


def test_the_source_distribution_has_whole_folders(
    in_sdist: set[PurePosixPath],
) -> None:
    folders = {one.parts[0] for one in in_sdist if len(one.parts) > 1}
    assert folders >= {"auditor", "tests", "docs", "deploy", "bench"}
    for folder in folders:
        found = {one for one in in_sdist if one.parts[0] == folder}
        assert found == _files(ROOT / folder)


def test_the_source_distribution_has_what_git_has(
    in_sdist: set[PurePosixPath],
) -> None:
    if not (ROOT / ".git").exists():  # these are the files of a source distribution
        assert "Makefile" in {one.name for one in in_sdist}
        return
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    tracked = {PurePosixPath(name) for name in listed if (ROOT / name).exists()}
    needed = {one for one in tracked if one.parts[0] not in NOT_NEEDED}
    assert needed - in_sdist == set()


@cache
def _texts(path: Path) -> list[str]:
    """The string literals of a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | FUNCTIONS)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
    ]


def test_no_message_names_a_file_that_the_wheel_does_not_have() -> None:
    named = {
        path.relative_to(ROOT): text
        for path in sorted((ROOT / "auditor").rglob("*.py"))
        for text in _texts(path)
        # Not the repository of GitHub's own documentation.
        if re.search(r"\b(?<!github/)(docs|configs)/\w|\bREADME\b", text)
    }
    assert named == {}
    for path in (ROOT / "auditor" / "examples").iterdir():
        assert not re.search(r"\b(docs|configs|deploy)/", path.read_text()), path


def test_no_text_installs_auditor_from_where_it_is_not_published() -> None:
    for path in (ROOT / "auditor").rglob("*.py"):
        for text in _texts(path):
            assert "install manifest-auditor" not in text, path
            assert "manifest-auditor[" not in text, path
