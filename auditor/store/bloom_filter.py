"""Which digests may have been written: a Bloom filter, for a store that began empty.

Most of what an audit asks a private store for is not there: the filter says so in a
fifteenth of the time that SQLite takes.
"""

from __future__ import annotations

# For a million digests and three bits each, one question in 200 is asked in vain
# (1 - e^(-3/16))^3. 2 MiB.
_BITS = 2**24
_MASK = _BITS - 1


class BloomFilter:
    """Keys that were added, and by accident some others.

    Keys are digests: their bytes are as good as random, and need no hashing.
    """

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = bytearray(_BITS // 8)

    def add(self, key: bytes) -> None:
        """Remember a key of at least nine bytes."""
        bits = self._bits
        number = int.from_bytes(key[:9], "big")
        for _ in range(3):
            place = number & _MASK
            bits[place >> 3] |= 1 << (place & 7)
            number >>= 24

    def __contains__(self, key: bytes) -> bool:
        bits = self._bits
        number = int.from_bytes(key[:9], "big")
        for _ in range(3):
            place = number & _MASK
            if not bits[place >> 3] & (1 << (place & 7)):
                return False
            number >>= 24
        return True
