"""Run skopeo, which pushes the images and shows what an audit must find."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from auditor.demo.demo_tokens import DemoAccount
from tests.patience import HANG_S
from tests.real.programs import required

# Its pushes and inspections take a tenth of a second here.
_WOULD_COPY = re.compile(r'Would have copied image .*from="?docker://([^\s"]+)')


class Skopeo:
    """skopeo with an account at one registry, over plain HTTP.

    `place` is its home, so that no file of the user is read.
    """

    def __init__(self, host: str, account: DemoAccount, place: Path) -> None:
        self._program = required("skopeo")
        self._host = host
        self.authfile = place / "auth.json"
        pair = f"{account.name}:{account.password}".encode()
        login = {"auth": base64.b64encode(pair).decode()}
        self.authfile.write_text(json.dumps({"auths": {host: login}}))
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "XDG_RUNTIME_DIR": str(place),
        }

    def copy(self, source: str, image: str, *flags: str) -> None:
        """Push `source` to `image`, a repository with a tag."""
        self._run(
            "copy",
            "--dest-tls-verify=false",
            *(f"--dest-authfile={self.authfile}", *flags),
            *(source, f"docker://{self._host}/{image}"),
        )

    def raw(self, image: str) -> bytes:
        """The manifest's bytes."""
        return self._inspect(image, "--raw")

    def config(self, image: str) -> dict[str, Any]:
        """The config blob."""
        config: dict[str, Any] = json.loads(self._inspect(image, "--config", "--raw"))
        return config

    def inspect(self, image: str) -> dict[str, Any]:
        """Its summary: Digest, Created, Architecture, Os, Labels, Layers."""
        found: dict[str, Any] = json.loads(self._inspect(image, "--no-tags"))
        return found

    def synced(self, path: Path) -> list[str]:
        """The images that it would copy for a sync YAML, `host/repository:tag`."""
        done = self._done(
            "sync",
            *("--dry-run", "--scoped", "--src", "yaml", "--dest", "dir"),
            *(f"--src-authfile={self.authfile}", str(path), str(path.parent)),
        )
        return _WOULD_COPY.findall(done.stderr.decode())

    def _inspect(self, image: str, *flags: str) -> bytes:
        return self._run(
            "inspect",
            "--tls-verify=false",
            *(f"--authfile={self.authfile}", *flags),
            f"docker://{self._host}/{image}",
        )

    def _run(self, command: str, *arguments: str) -> bytes:
        return self._done(command, *arguments).stdout

    def _done(
        self, command: str, *arguments: str
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [self._program, "--insecure-policy", command, *arguments],
            env=self._environment,
            capture_output=True,
            check=False,
            timeout=HANG_S,
        )
        assert done.returncode == 0, f"skopeo {arguments}: {done.stderr.decode()}"
        return done
