"""Whatever is put, pruned and reopened: the store gives what was put, or nothing."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.cache.store import DigestStore
from auditor.cache.tables import SeenTag, prune

HOSTS = ("a.example.com", "b.example.com")

bodies = st.sampled_from(range(12)).map(
    lambda n: b'{"number": %d}' % n * (1 + 90 * (n % 3))
)
steps = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(HOSTS), bodies),
    st.tuples(st.just("get"), st.sampled_from(HOSTS), bodies),
    st.tuples(st.just("tag"), st.sampled_from(["1", "2"]), bodies),
    st.tuples(st.just("seen"), st.sampled_from(["1", "2"]), st.none()),
    st.tuples(st.just("flush"), st.none(), st.none()),
    st.tuples(st.just("reopen"), st.none(), st.none()),
    st.tuples(st.just("prune"), st.none(), st.none()),
    st.tuples(st.just("later"), st.none(), st.none()),
)


def _digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


@settings(max_examples=40, deadline=None)
@given(script=st.lists(steps, max_size=40), private=st.booleans())
def test_the_store_agrees_with_a_dictionary(  # noqa: C901  (a script's steps)
    script: list[Any], private: bool
) -> None:
    now = 1_000_000.0
    known: dict[str, bytes] = {}
    held: set[tuple[str, str]] = set()
    tags: dict[str, str] = {}
    forgets = False  # after a prune, what is missing is no mistake

    with tempfile.TemporaryDirectory() as folder:
        path = None if private else Path(folder, "store")

        def opened() -> DigestStore:
            return DigestStore(path, now=lambda: now)

        store = opened()
        for step, where, body in script:
            match step:
                case "put":
                    known[_digest(body)] = body
                    held.add((where, _digest(body)))
                    store.put(where, _digest(body), body, content_type=None)
                case "get":
                    found = store.get(where, _digest(body))
                    if found is None:
                        assert forgets or _digest(body) not in known
                    else:
                        assert found.body == known[_digest(body)] == body
                        is_held = (where, _digest(body)) in held
                        assert is_held if found.held else forgets or not is_held
                case "tag":
                    tags[where] = _digest(body)
                    store.put_tag(HOSTS[0], "app", where, digest=_digest(body),
                                  header=None, content_type="text/plain")  # fmt: skip
                case "seen":
                    seen = store.tag(HOSTS[0], "app", where)
                    if seen is None:
                        assert forgets or private or where not in tags
                    else:
                        assert seen == SeenTag(digest=tags[where], header=None,
                                               content_type="text/plain",
                                               seen=seen.seen)  # fmt: skip
                case "flush":
                    store._rows.flush()
                case "later":
                    now += 100_000
                case "prune" if path is not None:
                    store.close()
                    forgets = True
                    store = opened()
                    connection = store._rows._reader
                    assert connection is not None
                    prune(connection, 0)
                case "reopen" if path is not None:
                    store.close()
                    store = opened()
        assert store.damaged == 0
        store.close()
