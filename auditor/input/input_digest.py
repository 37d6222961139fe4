"""A digest of all items of the input, in order: whether two runs had the same input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from auditor.input.input_items import InputItem, InputSelector


class InputDigest:
    """Iterates over the items once; `value` is a digest of all of them, in order.

    All shards of an audit must have the same digest. The names of lists are not part of
    it: a copy of a list has the same digest. `with_origins`: what lists say about a
    reference is part of it, and so is its place in the list.
    """

    def __init__(
        self, items: Iterable[InputItem] = (), *, with_origins: bool = False
    ) -> None:
        self._items = items
        self._with_origins = with_origins
        self._digest = blake2b(digest_size=16)
        self._is_complete = False

    def __iter__(self) -> Iterator[InputItem]:
        for item in self._items:
            self.add(item)
            if item.origin is None or not item.origin.is_repeat:
                yield item
        self._is_complete = True

    def add(self, item: InputItem) -> None:
        """Add the next item; for those that are not read by iterating."""
        text = str(item.selector) if isinstance(item, InputSelector) else item.text
        if self._with_origins:
            text = f"{text}\0{_line(item.place)}"
            if (origin := item.origin) is not None:
                place = None if origin.place is None else _line(origin.place)
                said = (
                    place, origin.namespace, origin.workload, origin.container,
                    origin.labels, origin.labels_left_out, origin.sources,
                    origin.sources_left_out, origin.is_repeat,
                )  # fmt: skip
                text = f"{text}\0{said!r}"
        self._digest.update(text.encode("utf-8", "surrogatepass") + b"\n")

    @property
    def so_far(self) -> str:
        """The digest of the items that were added, in hexadecimal."""
        return self._digest.hexdigest()

    @property
    def value(self) -> str | None:
        """The digest; None if the input was not read to its end."""
        return self.so_far if self._is_complete else None


def _line(place: str) -> str:
    """A place without the name of its list."""
    return place.rpartition(":")[2]
