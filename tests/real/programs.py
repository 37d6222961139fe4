"""Finds the programs that these tests run, or skips the test.

Debian's `docker-registry` and `skopeo` are required: without them a test is skipped, or
fails if `NO_TEST_SKIPS=1` is set. distribution 3.x and regctl are optional, because
Debian does not package them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

NO_SKIPS = "NO_TEST_SKIPS"
# `--version` and `go env` take milliseconds; a loaded machine may be much slower.
_QUESTION_TIMEOUT_S = 30.0


def required(name: str) -> str:
    """The path of a required program."""
    return shutil.which(name) or missing(name)


def missing(name: str) -> NoReturn:
    """Skip the test, or fail it if skips are not allowed."""
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
    """The path of a program that Debian does not package; skips without it."""
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
