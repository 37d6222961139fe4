"""Whatever is put, pruned and reopened: the cache returns what was put, or nothing."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from auditor.cache.digest_cache import DigestCache
from auditor.cache.maintenance import prune
from auditor.config import ImageConfigMode
from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import SigningKey
from auditor.demo.image_builder import image, index
from auditor.demo.schema1_builder import schema1_image
from auditor.model import Record
from tests.examples import examples
from tests.flow.harness import lab
from tests.support.fault_mix import HOSTILE, TRANSIENT, Mix
from tests.support.faults import Faults

HOSTS = ("a.example.com", "b.example.com")

# Few enough that a script asks for what it has put.
bodies = st.sampled_from(range(4)).map(
    lambda n: b'{"number": %d}' % n * (1 + 90 * (n % 3))
)
# Much is asked for, little is pruned: afterwards entries may be missing.
contents = st.tuples(st.sampled_from(["put", "get"]), st.sampled_from(HOSTS), bodies)
steps = st.one_of(
    contents,
    st.tuples(st.just("get"), st.sampled_from(HOSTS), bodies),
    st.tuples(st.just("put_tag"), st.sampled_from(["1", "2"]), bodies),
    st.tuples(st.just("get_tag"), st.sampled_from(["1", "2"]), st.none()),
    st.tuples(st.sampled_from(["flush", "reopen", "wait"]), st.none(), st.none()),
)
scripts = st.builds(
    lambda before, after: [*before, ("prune", None, None), *after],
    st.lists(steps, min_size=20, max_size=40),
    st.lists(steps, max_size=10),
)


def _digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


class Model:
    """A dictionary that models the cache: what was put, confirmed and tagged."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.now = 1_000_000.0
        self.bodies: dict[str, bytes] = {}
        self.confirmed: set[tuple[str, str]] = set()
        self.tags: dict[str, str] = {}
        self.is_pruned = False  # then entries may be missing
        self.cache = self.open()

    def open(self) -> DigestCache:
        return DigestCache(self.path, now=lambda: self.now)

    def put(self, registry: str, body: bytes) -> None:
        self.bodies[_digest(body)] = body
        self.confirmed.add((registry, _digest(body)))
        self.cache.put(registry, _digest(body), body, content_type=None)

    def get(self, registry: str, body: bytes) -> None:
        digest = _digest(body)
        cached = self.cache.get(registry, digest)
        if cached is None:
            assert self.is_pruned or digest not in self.bodies
            return
        assert cached.body == self.bodies[digest] == body
        is_confirmed = (registry, digest) in self.confirmed
        if cached.confirmation:
            assert is_confirmed
        else:
            assert self.is_pruned or not is_confirmed

    def put_tag(self, tag: str, body: bytes) -> None:
        self.tags[tag] = digest = _digest(body)
        self.cache.put_tag(
            HOSTS[0], "app", tag, digest=digest, header=None, content_type="text/plain"
        )

    def get_tag(self, tag: str, _: None) -> None:
        cached = self.cache.tag(HOSTS[0], "app", tag)
        if cached is None:
            assert self.is_pruned or self.path is None or tag not in self.tags
            return
        assert (cached.digest, cached.header) == (self.tags[tag], None)
        assert cached.content_type == "text/plain"

    def flush(self, *_: None) -> None:
        self.cache._storage.flush()

    def wait(self, *_: None) -> None:
        self.now += 100_000

    def prune(self, *_: None) -> None:
        self.reopen()
        if self.path is not None:
            self.is_pruned = True
            connection = self.cache._storage._reader
            assert connection is not None
            prune(connection, 0)

    def reopen(self, *_: None) -> None:
        if self.path is not None:
            self.cache.close()
            self.cache = self.open()


@examples(40)
@given(script=scripts, is_temporary=st.booleans())
def test_the_cache_agrees_with_a_dictionary(
    script: list[Any], is_temporary: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = Model(None if is_temporary else Path(folder, "cache"))
        for step, name, body in script:
            getattr(model, step)(name, body)
        assert model.cache.damaged == 0
        model.cache.close()


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


@examples(
    12,
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
