"""The report of all Docker Official Images, audited from the sandbox's registry.

    python -m bench.official_report official.jsonl

9,849 tags of 144 repositories; names, tags and platforms are real, layers made up.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from auditor.sandbox.access import Open
from auditor.sandbox.content import Content
from auditor.sandbox.official import official_images
from auditor.sandbox.registry import registry_app
from auditor.sandbox.server import serve_in_thread


def main() -> None:
    (output,) = map(Path, sys.argv[1:])
    make(output)
    print(f"{output}: {output.stat().st_size / 1e6:.0f} MB")


def make(output: Path) -> None:
    """Serve every official image on the loopback interface and audit them all."""
    images = tuple(official_images())
    with serve_in_thread(registry_app(Content.of(images), access=Open())) as url:
        host = url.removeprefix("http://")
        names = sorted({image.repository for image in images})
        subprocess.run(
            [
                *(sys.executable, "-m", "auditor", "audit", "--output", str(output)),
                *(f"{host}/{name}:*" for name in names),
            ],
            check=True,
            stderr=subprocess.DEVNULL,
        )


if __name__ == "__main__":
    main()
