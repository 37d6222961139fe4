"""Finding the programs that these tests run, and saying what is missing.

Debian's `docker-registry` and `skopeo` are required: a test that lacks them skips on
a developer's machine, and fails where `NO_TEST_SKIPS=1` is set. distribution
3.x and regctl are optional: Debian does not have them, so their tests skip everywhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

NO_SKIPS = "NO_TEST_SKIPS"
# `--version` and `go env` answer at once; a loaded machine may take its time.
_QUESTION_TIMEOUT_S = 30.0


def required(name: str) -> str:
    """The path of a required program."""
    return shutil.which(name) or missing(name)


def missing(name: str) -> NoReturn:
    """Skip, or fail where skips are not allowed."""
    reason = f"{name} is not installed: apt-get install {name}"
    if os.environ.get(NO_SKIPS) == "1":
        pytest.fail(f"{reason} ({NO_SKIPS}=1: required programs must be there)")
    pytest.skip(reason)


def distribution3() -> str:
    """The path of `registry` 3.x, on PATH or where `go install` puts it."""
    for path in (shutil.which("registry"), _in_gopath("registry")):
        if path is not None and "distribution/v3" in _answer(path, "--version"):
            return path
    pytest.skip(
        "optional: distribution 3.x is not installed (go install"
        " github.com/distribution/distribution/v3/cmd/registry@latest)"
    )


def optional(name: str, package: str) -> str:
    """The path of a program that Debian does not have, or a skip that says so."""
    path = shutil.which(name) or _in_gopath(name)
    if path is None:
        pytest.skip(f"optional: {name} is not installed (go install {package})")
    return path


def _in_gopath(name: str) -> str | None:
    go = shutil.which("go")
    roots = _answer(go, "env", "GOPATH") if go else str(Path.home() / "go")
    folders = [str(Path(root) / "bin") for root in roots.split(os.pathsep) if root]
    return shutil.which(name, path=os.pathsep.join(folders))


def _answer(*command: str) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=_QUESTION_TIMEOUT_S,
    )
    return done.stdout.strip()
