"""What repositories take up: a treemap, and tables of what shares layers.

The whole map is what the registries store, every layer once: a tile for the layers that
only one repository holds, for each of these, and one for all that several hold. Where
repositories are too many and too small for that, namespaces take their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from auditor.analysis.html.lines import Rows
from auditor.analysis.layers import (
    Base,
    Group,
    Inventory,
    SharedLayer,
    Totals,
    Usage,
    open_inventory,
)
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_text

# -- treemap --
# A treemap: rectangles whose areas are proportional to sizes.
#
# Squarified as in Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000): rows are
# filled along the shorter side for as long as that makes their tiles more square.


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


MAX_REPOSITORIES = 300
MAX_LAYERS = 50
# Smaller tiles than those of 60 repositories cannot be told apart.
MAX_TILES = 60

# Width and height in pixels for a screen and for a phone.
WIDE = Box(x=0, y=0, width=1120, height=460)
NARROW = Box(x=0, y=0, width=360, height=520)
# A name needs this much room, in pixels: of a bold, wide sans serif at 12 pixels
# (DejaVu) a character is 8 wide on average, a line 15 high.
_CHAR_WIDTH = 8
_LINE_HEIGHT = 15
_PADDING = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a tile stands for. `name` is null for the tiles of several."""

    label: str
    size: int
    kind: str  # "own", "shared" or "rest"
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A share and its place. `label` is cut to the room, maybe to none."""

    share: Share
    box: Box
    label: str
    room_for_size: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The map in two layouts, and the tables. `group` is what tiles stand for.

    `shared` bytes are in several repositories.
    """

    totals: Totals
    group: Group
    shared: int
    wide: tuple[Tile, ...]
    narrow: tuple[Tile, ...]
    repositories: Rows[Usage]
    layers: Rows[SharedLayer]
    bases: Rows[Base]


def read_space(paths: Sequence[str]) -> Space:
    """Ask the layers of a report: a file, several or globs."""
    with open_inventory(paths) as inventory:
        group, shares = _map(inventory)
        return Space(
            totals=inventory.totals,
            group=group,
            shared=inventory.totals.size - _own(inventory),
            wide=tuple(_tiles(shares, WIDE)),
            narrow=tuple(_tiles(shares, NARROW)),
            repositories=_repositories(inventory),
            layers=_layers(inventory),
            bases=_bases(inventory),
        )


def _own(inventory: Inventory) -> int:
    """Bytes of the layers that only one repository holds."""
    return sum(one.unique for one in inventory.usage(Group.REPOSITORY).rows)


def _repositories(inventory: Inventory) -> Rows[Usage]:
    answer = inventory.usage(Group.REPOSITORY, limit=MAX_REPOSITORIES)
    return Rows(rows=tuple(answer.rows), total=answer.total)


def _layers(inventory: Inventory) -> Rows[SharedLayer]:
    answer = inventory.shared_layers(limit=MAX_LAYERS)
    return Rows(rows=tuple(answer.rows), total=answer.total)


def _bases(inventory: Inventory) -> Rows[Base]:
    answer = inventory.bases(limit=MAX_LAYERS)
    return Rows(rows=tuple(answer.rows), total=answer.total)


def _map(inventory: Inventory) -> tuple[Group, list[Share]]:
    """The shares of repositories, or of namespaces where these say more."""
    repositories = _shares(inventory, Group.REPOSITORY)
    if _named(repositories) < inventory.totals.size / 2:
        namespaces = _shares(inventory, Group.NAMESPACE)
        if _named(namespaces) > _named(repositories):
            return Group.NAMESPACE, namespaces
    return Group.REPOSITORY, repositories


def _named(shares: Sequence[Share]) -> int:
    return sum(share.size for share in shares if share.kind == "own")


def _shares(inventory: Inventory, group: Group) -> list[Share]:
    """Largest first, then what is left over, and what is shared."""
    usages: list[Usage] = []
    own = 0
    for one in inventory.usage(group).rows:
        own += one.unique
        if one.unique and len(usages) < MAX_TILES:
            usages.append(one)
    many = len({usage.registry for usage in usages}) > 1
    # A namespace that all have says nothing.
    parents = {(usage.name or "").rpartition("/")[0] for usage in usages}
    start = (
        len(f"{parents.pop()}/") if len(parents) == 1 and group == "repository" else 0
    )
    shares = [
        Share(
            label=safe_text((usage.name or "")[start:] or "(no name)"),
            name=f"{usage.registry}/{usage.name or ''}" if many else usage.name,
            size=usage.unique,
            kind="own",
        )
        for usage in usages
    ]
    rest, shared = own - _named(shares), inventory.totals.size - own
    shares += [
        Share(label="all others", size=rest, kind="rest"),
        Share(label="shared layers", size=shared, kind="shared"),
    ]
    return [share for share in shares if share.size > 0]


def _tiles(shares: Sequence[Share], room: Box) -> Iterator[Tile]:
    for share, box in zip(shares, _boxes(shares, room), strict=True):
        high = box.height >= _LINE_HEIGHT + _PADDING
        chars = int((box.width - 2 * _PADDING) / _CHAR_WIDTH) if high else 0
        yield Tile(
            share=share,
            box=box,
            label=_fitting(share, chars),
            room_for_size=chars >= len("99.9 MB")
            and box.height >= 2 * _LINE_HEIGHT + _PADDING,
        )


def _boxes(shares: Sequence[Share], room: Box) -> list[Box]:
    """What no single repository holds stands beside the others, or below them."""
    own = [share.size for share in shares if share.kind == "own"]
    others = [share.size for share in shares if share.kind != "own"]
    part = sum(own) / (sum([*own, *others]) or 1)
    across = room.width > room.height
    width = room.width * (part if across else 1)
    height = room.height * (1 if across else part)
    first = replace(room, width=width, height=height)
    second = Box(
        x=room.x + (width if across else 0),
        y=room.y + (0 if across else height),
        width=room.width - (width if across else 0),
        height=room.height - (0 if across else height),
    )
    return squarify(own, first) + squarify(others, second)


def _fitting(share: Share, chars: int) -> str:
    """The label, or its last component, or the start of that, or nothing."""
    short = share.label.rpartition("/")[2]
    for text in (share.label, short):
        if len(text) <= chars:
            return text
    return safe_text(short, chars) if chars >= 4 else ""
