"""Whether two runs were asked the same: a digest over what their input says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from auditor.input.lists import Item, Listed


class InputDigest:
    """Passes items on, once; `value` is over all of them, in their order.

    Where an item stands is not part of it: a copy of a list says the same.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = items
        self._digest = blake2b(digest_size=16)
        self._is_whole = False

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            text = str(item.selector) if isinstance(item, Listed) else item.text
            self._digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
            yield item
        self._is_whole = True

    @property
    def value(self) -> str | None:
        """In hexadecimal; null for an input that was not read to its end."""
        return self._digest.hexdigest() if self._is_whole else None


def digest_of_input(items: Iterable[Item]) -> str | None:
    """The digest of an input that is read for this only."""
    digest = InputDigest(items)
    for _ in digest:
        pass
    return digest.value
