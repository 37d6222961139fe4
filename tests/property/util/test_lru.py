"""A cache never has more values or bytes than it may, and returns what was put last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.util.lru import Lru

puts = st.tuples(st.integers(0, 9), st.integers(0, 60))


@given(
    steps=st.lists(st.tuples(puts, st.sampled_from(["put", "put", "get", "drop"]))),
    max_size=st.integers(1, 6),
    max_bytes=st.integers(0, 100),
)
def test_values_and_bytes_are_bounded(
    steps: list[tuple[tuple[int, int], str]], max_size: int, max_bytes: int
) -> None:
    cache: Lru[int, object] = Lru(max_size, max_bytes)
    last: dict[int, tuple[object, int]] = {}
    for (key, size), step in steps:
        if step == "put":
            last[key] = object(), size
            cache.put(key, *last[key])
        elif step == "drop":
            cache.drop(key)
            assert cache.get(key) is None
            last.pop(key, None)
        found = cache.get(key)
        assert found is None or found is last[key][0]
        if step == "put":
            assert (found is None) == (size > max_bytes)
        kept = [key for key in last if cache.get(key) is not None]
        assert len(cache) == len(kept) <= max_size
        assert cache.bytes == sum(last[key][1] for key in kept) <= max_bytes
