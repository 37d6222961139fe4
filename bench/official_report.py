"""The report of all Docker Official Images, audited from the demo's registry.

    python -m bench.official_report official.jsonl [next-night.jsonl]

9,849 tags of 144 repositories; names, tags and platforms are real, layers made up.
Before the second night a few tags are moved, removed and added, by fixed rules.
"""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from auditor.demo.demo_images import official_images
from auditor.demo.demo_registry import DemoContent
from tests.support.registry import registry_app, serve_in_thread

# Every 50th tag moves to another image, every 499th is removed, every 397th is added.
MOVES, GOES, COMES = 50, 499, 397


def main() -> None:
    nights = [Path(name) for name in sys.argv[1:]]
    make(*nights)
    for output in nights:
        print(f"{output}: {output.stat().st_size / 1e6:.0f} MB")


def make(first: Path, second: Path | None = None) -> None:
    """Serve every official image on the loopback interface and audit them all.

    A `second` report is of the same registry, one night later.
    """
    content = DemoContent.of(official_images())
    with serve_in_thread(registry_app(content)) as url:
        host = url.removeprefix("http://")
        names = sorted(content.repositories)
        _audit(first, [f"{host}/{name}:*" for name in names])
        if second is not None:
            next_night(content)
            _audit(second, [f"{host}/{name}:*" for name in names])


def _audit(output: Path, references: list[str]) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "auditor", "audit", "--no-cache"),
            *("--output", str(output), *references),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )


def next_night(content: DemoContent) -> None:
    """Move, remove and add tags; one in `MOVES` gets its neighbour's image."""
    number = 0
    for name in sorted(content.repositories):
        tags = content.repositories[name].tags
        for before, tag in pairwise(sorted(tags)):
            number += 1
            if number % GOES == 0:
                del tags[tag]
            elif number % MOVES == 0 and before in tags:
                tags[tag] = tags[before]
            elif number % COMES == 0:
                tags[f"{tag}-again"] = tags[tag]


if __name__ == "__main__":
    main()
