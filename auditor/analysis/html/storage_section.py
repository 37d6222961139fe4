"""Storage by repository: a treemap, and tables of shared layers and base images.

The area of the map stands for the bytes that the registries store, each layer once: a
tile for each repository with the layers that only this repository contains, and one
tile for all layers in several repositories. If there are too many small repositories,
the tiles stand for namespaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

from auditor.analysis.html.report_lines import ShownRows
from auditor.analysis.layers import (
    LayerInventory,
    RankedRows,
    Usage,
    open_layer_inventory,
)
from auditor.analysis.layers_sql import UsageGroup
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text

MAX_REPOSITORIES = 300
MAX_LAYERS = 50
# Tiles smaller than those of 60 repositories cannot be told apart.
MAX_TILES = 60

# Bold sans serif (DejaVu) of 12 px: a character is about 8 px wide, a line 15 px high.
_CHAR_WIDTH = 8
_LINE_HEIGHT = 15
_PADDING = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle; y points down."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Width times height."""
        return self.width * self.height


# The map's size in pixels, on a screen and on a phone.
WIDE = Box(x=0, y=0, width=1120, height=460)
NARROW = Box(x=0, y=0, width=360, height=520)


class TileKind(StrEnum):
    """The kind of content of a tile."""

    OWN = "own"  # layers of one repository or namespace only
    SHARED = "shared"  # layers of several
    REST = "rest"  # those beyond `MAX_TILES`


@dataclass(frozen=True, slots=True, kw_only=True)
class TileContent:
    """The layers of a tile. `name` is that of a repository or namespace."""

    label: str
    size: int
    kind: TileKind
    name: str | None = None


def read_storage(paths: Sequence[str]) -> SimpleNamespace:
    """The storage of the repositories of a report, given as files or globs.

    `wide` and `narrow` are two layouts of the map; each tile is a `group`. `shared` is
    the size in bytes of layers that several repositories contain.
    """
    with open_layer_inventory(paths, allow_empty=True) as inventory:
        group, tiles = _map(inventory)
        own = sum(row.unique for row in inventory.usage(UsageGroup.REPOSITORY).rows)
        return SimpleNamespace(
            totals=inventory.totals,
            group=group,
            shared=inventory.totals.size - own,
            wide=list(_tiles(tiles, WIDE)),
            narrow=list(_tiles(tiles, NARROW)),
            repositories=_shown(
                inventory.usage(UsageGroup.REPOSITORY, limit=MAX_REPOSITORIES)
            ),
            layers=_shown(inventory.shared_layers(limit=MAX_LAYERS)),
            bases=_shown(inventory.bases(limit=MAX_LAYERS)),
        )


def _shown(ranked: RankedRows[Any]) -> ShownRows:
    return ShownRows(rows=tuple(ranked.rows), total=ranked.total)


def _map(inventory: LayerInventory) -> tuple[UsageGroup, list[TileContent]]:
    """Tiles of repositories, or of namespaces if these cover more."""
    repositories = _contents(inventory, UsageGroup.REPOSITORY)
    if _own_size(repositories) < inventory.totals.size / 2:
        namespaces = _contents(inventory, UsageGroup.NAMESPACE)
        if _own_size(namespaces) > _own_size(repositories):
            return UsageGroup.NAMESPACE, namespaces
    return UsageGroup.REPOSITORY, repositories


def _own_size(contents: Sequence[TileContent]) -> int:
    return sum(one.size for one in contents if one.kind is TileKind.OWN)


def _contents(inventory: LayerInventory, group: UsageGroup) -> list[TileContent]:
    """The largest groups, then the other groups as one, then shared layers."""
    usages = [
        usage for usage in inventory.usage(group, limit=MAX_TILES).rows if usage.unique
    ]
    own = sum(usage.unique for usage in inventory.usage(group).rows)
    with_registry = len({usage.registry for usage in usages}) > 1
    contents = [
        TileContent(
            label=safe_text(label or "(no name)"),
            name=f"{usage.registry}/{usage.name or ''}"
            if with_registry
            else usage.name,
            size=usage.unique,
            kind=TileKind.OWN,
        )
        for usage, label in zip(usages, _labels(usages, group), strict=True)
    ]
    rest, shared = own - _own_size(contents), inventory.totals.size - own
    contents += [
        TileContent(label="all others", size=rest, kind=TileKind.REST),
        TileContent(label="shared layers", size=shared, kind=TileKind.SHARED),
    ]
    return [content for content in contents if content.size > 0]


def _labels(usages: Sequence[Usage], group: UsageGroup) -> list[str]:
    """Names, without the namespace if all repositories are in the same namespace."""
    names = [usage.name or "" for usage in usages]
    namespaces = {name.rpartition("/")[0] for name in names}
    if group is not UsageGroup.REPOSITORY or len(namespaces) != 1:
        return names
    (namespace,) = namespaces
    return [name.removeprefix(f"{namespace}/") for name in names]


def _tiles(contents: Sequence[TileContent], area: Box) -> Iterator[SimpleNamespace]:
    """Tiles with labels truncated to their width, possibly to nothing."""
    for content, box in zip(contents, _boxes(contents, area), strict=True):
        has_line = box.height >= _LINE_HEIGHT + _PADDING
        chars = int((box.width - 2 * _PADDING) / _CHAR_WIDTH) if has_line else 0
        yield SimpleNamespace(
            share=content,
            box=box,
            label=_fitting_label(content.label, chars),
            room_for_size=chars >= len("99.9 MB")
            and box.height >= 2 * _LINE_HEIGHT + _PADDING,
        )


def _boxes(contents: Sequence[TileContent], area: Box) -> list[Box]:
    """A box per tile; tiles of several repositories are to the right or below."""
    own = [one.size for one in contents if one.kind is TileKind.OWN]
    others = [one.size for one in contents if one.kind is not TileKind.OWN]
    fraction = sum(own) / (sum([*own, *others]) or 1)
    if area.width > area.height:
        width = area.width * fraction
        rest = replace(area, x=area.x + width, width=area.width - width)
        return squarify(own, replace(area, width=width)) + squarify(others, rest)
    height = area.height * fraction
    rest = replace(area, y=area.y + height, height=area.height - height)
    return squarify(own, replace(area, height=height)) + squarify(others, rest)


def _fitting_label(label: str, chars: int) -> str:
    """The label, else its last path component, else the start of that, else nothing."""
    last_component = label.rpartition("/")[2]
    fitting = (text for text in (label, last_component) if len(text) <= chars)
    return next(fitting, safe_text(last_component, chars) if chars >= 4 else "")


# -- squarified treemap --
# Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000): a row along the shorter
# side grows for as long as that makes its tiles more square.


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """Divide `box` into one box per size (> 0); best if the sizes are descending."""
    boxes: list[Box] = []
    remaining = sum(sizes)
    start = 0
    while start < len(sizes):
        # Area per unit of size in the remaining box.
        scale = box.area / remaining
        side = min(box.width, box.height)
        end = start + 1
        while end < len(sizes) and _worst(sizes, start, end + 1, scale, side) <= _worst(
            sizes, start, end, scale, side
        ):
            end += 1
        row, box = _row([size * scale for size in sizes[start:end]], box)
        boxes += row
        remaining -= sum(sizes[start:end])
        start = end
    return boxes


def _worst(
    sizes: Sequence[float], start: int, end: int, scale: float, side: float
) -> float:
    """The largest aspect ratio in a row; 1 is a square."""
    row = sizes[start:end]
    total, largest, smallest = sum(row) * scale, max(row) * scale, min(row) * scale
    return max(side**2 * largest / total**2, total**2 / (side**2 * smallest))


def _row(areas: Sequence[float], box: Box) -> tuple[list[Box], Box]:
    """Boxes along the shorter side, and the remaining box."""
    if box.width < box.height:
        boxes, rest = _row(areas, _transposed(box))
        return [_transposed(one) for one in boxes], _transposed(rest)
    boxes = []
    width = sum(areas) / box.height
    y = box.y
    for area in areas:
        boxes.append(Box(x=box.x, y=y, width=width, height=area / width))
        y += area / width
    return boxes, replace(box, x=box.x + width, width=max(box.width - width, 0))


def _transposed(box: Box) -> Box:
    return Box(x=box.y, y=box.x, width=box.height, height=box.width)
