"""Whatever is put, pruned and reopened: the store gives what was put, or nothing."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.cache.store import DigestStore
from auditor.cache.tables import SeenTag, prune
from auditor.config import ImageConfigMode
from auditor.demo.images import image, index
from auditor.demo.registry import Content
from auditor.demo.signed_schema1 import schema1_image
from auditor.demo.tokens import SigningKey
from auditor.model import Record
from tests.flow.harness import lab
from tests.support.fault_mix import HOSTILE, TRANSIENT, Mix
from tests.support.faults import Faults

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
def test_the_store_agrees_with_a_dictionary(script: list[Any], private: bool) -> None:
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


# -- test_store_after_faults --
# Whatever went wrong on earlier nights, the store makes no later report differ.

TAGS = ("1", "2", "3", "4")
CHILDREN = [image("app", platform=one) for one in ("linux/amd64", "linux/arm64")]
IMAGES = (
    index(CHILDREN),
    index(CHILDREN, annotations={"of": "another"}),
    image("lone"),
    CHILDREN[0],
    schema1_image("app", "old", keys=[SigningKey.from_seed("1")]),
)
nights = st.lists(
    st.tuples(
        st.builds(
            Mix,
            seed=st.integers(0, 2**32),
            rate=st.floats(0, 0.7),
            faults=st.sampled_from([TRANSIENT, (*TRANSIENT, *HOSTILE)]),
            at_most_in_a_row=st.sampled_from([1, 3, None]),
        ),
        st.lists(st.integers(0, len(IMAGES) - 1), min_size=4, max_size=4),
    ),
    min_size=1,
    max_size=3,
)


def _said(records: list[Record]) -> list[Record]:
    return [replace(record, audited_at="") for record in records]


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(before=nights, mode=st.sampled_from(ImageConfigMode))
def test_a_night_without_faults_says_what_a_cold_one_says(
    before: list[tuple[Mix, list[int]]], mode: ImageConfigMode
) -> None:
    async def main(store: str) -> None:
        content = Content()
        faults = Faults()
        async with lab(content, faults=faults) as here:
            references = [here.ref(f"app:{tag}") for tag in TAGS]
            for mix, chosen in before:
                for tag, number in zip(TAGS, chosen, strict=True):
                    content.add("app", IMAGES[number], tag)
                faults.mix = mix
                await here.audit(
                    *references, store=store, image_config=mode, tries=2, workers=2
                )
            faults.mix = None
            cold = await here.audit(*references, image_config=mode)
            # Twice: the first of them may still have to find out what to rely on.
            for _ in range(2):
                warm = await here.audit(*references, store=store, image_config=mode)
                assert _said(warm.records) == _said(cold.records)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(str(Path(folder, "store"))))
