"""What was added is found, and hardly anything else."""

from __future__ import annotations

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.cache.storage import BloomFilter


@settings(max_examples=20, deadline=None)
@given(st.sets(st.binary(min_size=32, max_size=64), max_size=20))
def test_no_key_that_was_added_is_missed(keys: set[bytes]) -> None:
    filter_ = BloomFilter()
    for key in keys:
        filter_.add(key)
    assert all(key in filter_ for key in keys)


def test_few_others_are_found() -> None:
    filter_ = BloomFilter()
    keys = [hashlib.sha256(b"%d" % number).digest() for number in range(60_000)]
    for key in keys[:50_000]:
        filter_.add(key)
    assert all(key in filter_ for key in keys[:50_000])
    assert sum(key in filter_ for key in keys[50_000:]) < 10
