"""A treemap: rectangles whose areas are proportional to sizes.

Squarified as in Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000): rows are
filled along the shorter side for as long as that makes their tiles more square.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditor.fast_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle; y points down."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """In square units."""
        return self.width * self.height


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """A box for each size, which fill `box`. Sizes are positive; large ones first look
    best."""
    boxes: list[Box] = []
    left = sum(sizes)
    start = 0
    while start < len(sizes):
        # The area of one unit of size, in what is left of the box.
        scale = box.area / left
        side = min(box.width, box.height)
        end = start + 1
        while end < len(sizes) and _worst(sizes, start, end + 1, scale, side) <= _worst(
            sizes, start, end, scale, side
        ):
            end += 1
        row, box = _row([size * scale for size in sizes[start:end]], box)
        boxes += row
        left -= sum(sizes[start:end])
        start = end
    return boxes


def _worst(
    sizes: Sequence[float], start: int, end: int, scale: float, side: float
) -> float:
    """The largest ratio of sides in a row; 1 is a square."""
    row = sizes[start:end]
    total, largest, smallest = sum(row) * scale, max(row) * scale, min(row) * scale
    return max(side**2 * largest / total**2, total**2 / (side**2 * smallest))


def _row(areas: Sequence[float], box: Box) -> tuple[list[Box], Box]:
    """Boxes along the shorter side, and what is left of the box."""
    boxes = []
    if box.width >= box.height:
        width = sum(areas) / box.height
        y = box.y
        for area in areas:
            boxes.append(Box(x=box.x, y=y, width=width, height=area / width))
            y += area / width
        rest = Box(
            x=box.x + width,
            y=box.y,
            width=max(box.width - width, 0),
            height=box.height,
        )
        return boxes, rest
    height = sum(areas) / box.width
    x = box.x
    for area in areas:
        boxes.append(Box(x=x, y=box.y, width=area / height, height=height))
        x += area / height
    rest = Box(
        x=box.x,
        y=box.y + height,
        width=box.width,
        height=max(box.height - height, 0),
    )
    return boxes, rest
