"""Whatever went wrong on earlier nights, the store makes no later report differ."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.config import ImageConfigMode
from auditor.demo.images import image, index
from auditor.demo.registry import Content
from auditor.demo.signed_schema1 import schema1_image
from auditor.demo.tokens import SigningKey
from auditor.model import Record
from tests.flow.harness import lab
from tests.support.fault_mix import HOSTILE, TRANSIENT, Mix
from tests.support.faults import Faults

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
