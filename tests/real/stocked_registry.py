"""A registry that others wrote, with the corpus pushed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real.corpus_entry import Entry
from tests.real.crane_records import Reader
from tests.real.layouts import Layout
from tests.real.other_registries import Product, Running
from tests.real.push import Pusher, RefusedError
from tests.real.token_server import TokenServer


@dataclass(frozen=True, slots=True, kw_only=True)
class StockedRegistry:
    """`entries` are those that it took; `refused` has the status of the others."""

    product: Product
    running: Running
    layout: Layout
    entries: tuple[Entry, ...]
    refused: Mapping[str, int]
    reader: Reader

    @property
    def host(self) -> str:
        return self.running.host

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.entries]

    def entry(self, name: str) -> Entry:
        """The entry of `corpus/NAME`."""
        return next(one for one in self.entries if one.repository == f"corpus/{name}")


@contextmanager
def stocked_registry(
    product: Product,
    layout: Layout,
    entries: tuple[Entry, ...],
    *,
    tokens: TokenServer,
    place: Path,
    known: dict[str, bytes],
) -> Iterator[StockedRegistry]:
    """Start the registry and push everything that it takes."""
    with product.run(place, tokens) as running:
        pusher = Pusher(running, layout)
        refused = {}
        for entry in entries:
            try:
                _push(pusher, entry)
            except RefusedError as error:
                refused[entry.repository.removeprefix("corpus/")] = error.status
        pusher.close()
        yield StockedRegistry(
            product=product,
            running=running,
            layout=layout,
            entries=tuple(
                one
                for one in entries
                if one.repository.removeprefix("corpus/") not in refused
            ),
            refused=refused,
            reader=Reader(running, place, known),
        )


def _push(pusher: Pusher, entry: Entry) -> None:
    pusher.push(entry.repository, entry.root, *entry.tags)
    for tag, manifest in entry.beside.items():
        pusher.push(entry.repository, manifest, tag)
    for manifest in entry.referrers:
        pusher.push(entry.repository, manifest)
    if entry.deleted is not None:
        pusher.delete(entry.repository, entry.deleted)
