"""The programs to compare: where they are, and how to install them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.real import go_programs
from tests.real.go_programs import GoProgram

PULLER = Path(__file__).parent.parent / "puller"
WORK = Path(__file__).parent.parent / ".work"


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and how to install it; `built` by Go if it is not a package's."""

    name: str
    get: str
    built: GoProgram | None = None

    def path(self) -> str | None:
        """Its path: in the folder of `make programs`, or on PATH."""
        path = None if self.built is None else self.built.path()
        return path or shutil.which(self.name)


WRK = Program("wrk", "apt-get install wrk")
SKOPEO = Program("skopeo", "apt-get install skopeo")
CRANE = Program("crane", "make programs", go_programs.CRANE)
REGCTL = Program("regctl", "make programs", go_programs.REGCTL)
DISTRIBUTION_3 = Program("registry", "make programs", go_programs.DISTRIBUTION)
DISTRIBUTION_2 = Program("docker-registry", "apt-get install docker-registry")
GO = Program("go", "apt-get install golang")


def build_puller() -> str | None:
    """Build the Go program of `bench/puller`; None without Go or its modules."""
    go = GO.path()
    if go is None:
        return None
    WORK.mkdir(exist_ok=True)
    program = WORK / "puller"
    done = subprocess.run(
        [go, "build", "-o", str(program), "."],
        cwd=PULLER,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(f"bench/puller does not build: {done.stderr.strip()[-300:]}")
        return None
    return str(program)
