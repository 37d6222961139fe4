"""Whatever is put, pruned and reopened: the cache returns what was put, or nothing."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.cache.batch import CachedTag
from auditor.cache.digest_cache import DigestCache
from auditor.cache.maintenance import prune
from auditor.config import ImageConfigMode
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import image, index
from auditor.demo.schema1_builder import schema1_image
from auditor.demo.signing_key import SigningKey
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
def test_the_cache_agrees_with_a_dictionary(script: list[Any], private: bool) -> None:
    now = 1_000_000.0
    known: dict[str, bytes] = {}
    confirmed: set[tuple[str, str]] = set()
    tags: dict[str, str] = {}
    forgets = False  # after a prune, what is missing is no mistake

    with tempfile.TemporaryDirectory() as folder:
        path = None if private else Path(folder, "store")

        def opened() -> DigestCache:
            return DigestCache(path, now=lambda: now)

        cache = opened()
        for step, where, body in script:
            match step:
                case "put":
                    known[_digest(body)] = body
                    confirmed.add((where, _digest(body)))
                    cache.put(where, _digest(body), body, content_type=None)
                case "get":
                    found = cache.get(where, _digest(body))
                    if found is None:
                        assert forgets or _digest(body) not in known
                    else:
                        assert found.body == known[_digest(body)] == body
                        is_confirmed = (where, _digest(body)) in confirmed
                        assert (
                            is_confirmed
                            if found.confirmation
                            else forgets or not is_confirmed
                        )
                case "tag":
                    tags[where] = _digest(body)
                    cache.put_tag(HOSTS[0], "app", where, digest=_digest(body),
                                  header=None, content_type="text/plain")  # fmt: skip
                case "seen":
                    seen_at = cache.tag(HOSTS[0], "app", where)
                    if seen_at is None:
                        assert forgets or private or where not in tags
                    else:
                        assert seen_at == CachedTag(digest=tags[where], header=None,
                                               content_type="text/plain",
                                               seen_at=seen_at.seen_at)  # fmt: skip
                case "flush":
                    cache._storage.flush()
                case "later":
                    now += 100_000
                case "prune" if path is not None:
                    cache.close()
                    forgets = True
                    cache = opened()
                    connection = cache._storage._reader
                    assert connection is not None
                    prune(connection, 0)
                case "reopen" if path is not None:
                    cache.close()
                    cache = opened()
        assert cache.damaged == 0
        cache.close()


# Faults in earlier runs never change a later report through the cache.

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


def _without_time(records: list[Record]) -> list[Record]:
    return [replace(record, audited_at="") for record in records]


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(before=nights, mode=st.sampled_from(ImageConfigMode))
def test_a_warm_run_without_faults_reports_what_a_cold_run_reports(
    before: list[tuple[Mix, list[int]]], mode: ImageConfigMode
) -> None:
    async def main(cache: str) -> None:
        content = DemoContent()
        faults = Faults()
        async with lab(content, faults=faults) as here:
            references = [here.ref(f"app:{tag}") for tag in TAGS]
            for mix, chosen in before:
                for tag, number in zip(TAGS, chosen, strict=True):
                    content.add("app", IMAGES[number], tag)
                faults.mix = mix
                await here.audit(
                    *references, cache=cache, image_config=mode, tries=2, workers=2
                )
            faults.mix = None
            cold = await here.audit(*references, image_config=mode)
            # Twice: the first of them may still have to find out what to rely on.
            for _ in range(2):
                warm = await here.audit(*references, cache=cache, image_config=mode)
                assert _without_time(warm.records) == _without_time(cold.records)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(str(Path(folder, "store"))))
