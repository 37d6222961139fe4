"""The corpus: one OCI layout with manifests of every kind, made from nothing.

    python -m tests.real.corpus DIRECTORY     writes it

The same bytes each time. `corpus(layout)` names what is in it, and what an audit must
say where no other program can be asked: kinds of attachments, traits, warnings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.real.corpus_artifacts import artifacts
from tests.real.corpus_attached import attached_images
from tests.real.corpus_entry import Entry
from tests.real.corpus_images import images
from tests.real.layouts import Layout


def corpus(layout: Layout) -> Iterator[Entry]:
    """Write everything to the layout."""
    yield from images(layout)
    yield from attached_images(layout)
    yield from artifacts(layout)


if __name__ == "__main__":
    written = Layout(Path(sys.argv[1]))
    for entry in corpus(written):
        for tag in (*entry.tags, *entry.beside):
            written.tag(f"{entry.repository}:{tag}", entry.beside.get(tag, entry.root))
