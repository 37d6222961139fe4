"""Finds the programs that these tests run, or skips the test.

Debian has `docker-registry`, `nginx` (in `nginx-light`), `skopeo` and `promtool` (in
`prometheus`); `make real` builds the others with Go. A test whose program is missing is
skipped with the command that installs it, or fails if `NO_TEST_SKIPS=1` is set.
`ALLOWED_TEST_SKIPS` then names the programs that may be missing nevertheless, separated
by blanks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from tests.patience import HANG_S
from tests.real.go_programs import DISTRIBUTION, GoProgram

NO_SKIPS = "NO_TEST_SKIPS"
ALLOWED_SKIPS = "ALLOWED_TEST_SKIPS"
# `--version` and `go env` take milliseconds; a loaded machine may be much slower.


def required(name: str, package: str | None = None) -> str:
    """The path of a program of a Debian package, which usually has its name."""
    return shutil.which(name) or missing(name, f"apt-get install {package or name}")


def built(program: GoProgram) -> str:
    """The path of a program that Go builds: in its folder, on PATH or in GOPATH."""
    name = program.binary if program is DISTRIBUTION else program.name
    for path in (program.path(), shutil.which(name), _in_gopath(name)):
        if path is not None and _is(program, path):
            return path
    return missing(program.name, f"make real, or {program.how}")


def _is(program: GoProgram, path: str) -> bool:
    """Whether this is the program; other registries have distribution's name."""
    if program is not DISTRIBUTION:
        return True
    return "distribution/v3" in _answer(path, "--version")


def missing(name: str, how: str) -> NoReturn:
    """Skip the test, or fail it if skips are not allowed."""
    reason = f"{name} is not installed: {how}"
    allowed = os.environ.get(ALLOWED_SKIPS, "").split()
    if os.environ.get(NO_SKIPS) == "1" and name not in allowed:
        pytest.fail(f"{reason} ({NO_SKIPS}=1: required programs must be there)")
    pytest.skip(reason)


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
        timeout=HANG_S,
    )
    return done.stdout.strip()
