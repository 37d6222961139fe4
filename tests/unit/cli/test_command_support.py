"""A command whose extra is missing says what to install."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from auditor.cli.command_support import EXTRAS, extras
from auditor.cli.main import run
from auditor.errors import ExitCode, UsageError
from auditor.util.text import how_to_install


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_extra_is_one_message(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as caught, extras():
        __import__(module)
    assert str(caught.value) == (
        f"this command needs {module}, which is not installed: {how_to_install(module)}"
    )


def test_a_submodule_of_an_extra_counts_as_the_extra() -> None:
    with pytest.raises(UsageError, match="needs fsspec"), extras():
        raise ModuleNotFoundError(name="fsspec.registry")


def test_any_other_missing_module_is_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError), extras():
        __import__("auditor.no_such_module")


@pytest.mark.parametrize("module", ["distributed", "fsspec"])
def test_dask_without_its_extra_is_one_message_and_leaves_no_files(
    module: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Not imported yet.
    monkeypatch.delitem(sys.modules, "auditor.scale.dask_engine", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    code = run([
        *("audit", "--engine", "dask", "--scheduler", "tcp://127.0.0.1:1"),
        *("-o", str(tmp_path / "out"), "localhost:1/team/app:1"),
    ])  # fmt: skip
    assert code == ExitCode.USAGE
    assert capsys.readouterr().err == (
        f"auditor: this command needs {module}, which is not installed:"
        f" {how_to_install(module)}\n"
    )
    assert list(tmp_path.iterdir()) == []
