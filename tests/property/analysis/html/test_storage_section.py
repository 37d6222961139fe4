from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.analysis.html.storage_section import Box, squarify
from tests.examples import examples

SIZES = st.lists(st.integers(1, 10**15), min_size=1, max_size=60)
SIDES = st.integers(10, 2000)
# Areas are sums and quotients of floats of some 15 digits.
NEARLY = 1e-6


@given(SIZES, SIDES, SIDES)
@examples(150)
def test_boxes_have_the_area_of_their_sizes(
    sizes: list[int], width: int, height: int
) -> None:
    room = Box(x=3, y=5, width=width, height=height)
    boxes = squarify(sizes, room)
    assert len(boxes) == len(sizes)
    for box, size in zip(boxes, sizes, strict=True):
        share = size / sum(sizes)
        assert box.area / room.area == pytest.approx(share, rel=NEARLY, abs=NEARLY)


@given(SIZES, SIDES, SIDES)
@examples(150)
def test_boxes_lie_in_the_room_and_never_on_each_other(
    sizes: list[int], width: int, height: int
) -> None:
    room = Box(x=3, y=5, width=width, height=height)
    boxes = squarify(sizes, room)
    slack = NEARLY * (width + height)
    for number, one in enumerate(boxes):
        assert room.x - slack <= one.x
        assert room.y - slack <= one.y
        assert one.x + one.width <= room.x + room.width + slack
        assert one.y + one.height <= room.y + room.height + slack
        for other in boxes[number + 1 :]:
            across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
            down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
            assert min(across, down) <= slack


@given(st.integers(1, 50))
@examples(20)
def test_equal_sizes_are_nearly_squares(count: int) -> None:
    boxes = squarify([1] * count, Box(x=0, y=0, width=1000, height=600))
    for box in boxes:
        assert max(box.width / box.height, box.height / box.width) <= 3
