"""The programs to compare: where they are, and how to install them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

PULLER = Path(__file__).parent.parent / "puller"
WORK = Path(__file__).parent.parent / ".work"
_GO_BIN = Path.home() / "go" / "bin"


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and how to install it."""

    name: str
    get: str

    def path(self) -> str | None:
        """Its path: on PATH, or where `go install` puts it."""
        return shutil.which(self.name) or shutil.which(self.name, path=str(_GO_BIN))


WRK = Program("wrk", "apt-get install wrk")
SKOPEO = Program("skopeo", "apt-get install skopeo")
CRANE = Program(
    "crane", "go install github.com/google/go-containerregistry/cmd/crane@latest"
)
REGCTL = Program(
    "regctl", "go install github.com/regclient/regclient/cmd/regctl@latest"
)
DISTRIBUTION_3 = Program(
    "registry", "go install github.com/distribution/distribution/v3/cmd/registry@latest"
)
DISTRIBUTION_2 = Program("docker-registry", "apt-get install docker-registry")
GO = Program("go", "apt-get install golang")


def install() -> None:
    """Install missing programs with Go, if Go is installed."""
    go = GO.path()
    for program in (DISTRIBUTION_3, CRANE, REGCTL):
        if program.path() is None and go is not None:
            print(f"getting {program.name}: {program.get}")
            _, *arguments = program.get.split()
            subprocess.run([go, *arguments], check=False)


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
