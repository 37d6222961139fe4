"""The layers of a report for a person, or as JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import orjson

from auditor.analysis.find_digest import ROLES, DigestSearch, DigestUse
from auditor.analysis.layers import (
    Base,
    LayerInventory,
    NamedBase,
    RankedRows,
    SharedLayer,
    Usage,
    UsageGroup,
)
from auditor.analysis.text_tables import (
    TableColumn,
    TitledTable,
    code_columns,
    number_columns,
    render_tables,
)
from auditor.util.text import format_size, pluralize

_GROUP_TITLES = {
    UsageGroup.REPOSITORY: "repositories",
    UsageGroup.NAMESPACE: "namespaces",
    UsageGroup.ARCHITECTURE: "architectures",
}
_USAGE_NOTE = "unique bytes are in no other of them: deleting it frees them"
_ROLE_TITLES = {
    "image": "tags that point at",
    "platform": "images whose index holds",
    "config": "images with the config",
    "layer": "images that contain the layer",
    "attachment": "images with the attachment",
}


def inventory_lines(inventory: LayerInventory, form: str, limit: int) -> Iterator[str]:
    """The lines of `layers` as text, jsonl or markdown; JSON lines hold everything."""
    if form == "jsonl":
        for answer in _answers(inventory, 0):
            for row in answer.rows:
                yield orjson.dumps(row).decode()
        yield orjson.dumps(inventory.totals).decode()
        return
    yield from render_tables(
        _totals_lines(inventory), _sections(inventory, limit), form
    )


def place_lines(
    places: DigestSearch, digests: Sequence[str], form: str, limit: int
) -> Iterator[str]:
    """The lines of `layers --digest` as text, jsonl or markdown."""
    if form == "jsonl":
        for digest in digests:
            for place in places.places(digest):
                yield orjson.dumps(place).decode()
        yield orjson.dumps(places.totals()).decode()
        return
    heads = [
        f"nothing holds {digest}"
        for digest in digests
        if not any(places.count(digest, role) for role in ROLES)
    ]
    heads += _blind_spots(places.failures, places.missing)
    yield from render_tables(heads, _place_sections(places, digests, limit), form)


def _totals_lines(inventory: LayerInventory) -> list[str]:
    totals = inventory.totals
    line = (
        f"{totals.images:,} {pluralize(totals.images, 'image')},"
        f" {totals.manifests:,} {pluralize(totals.manifests, 'manifest')} of platforms,"
        f" {totals.layers:,} distinct {pluralize(totals.layers, 'layer')},"
        f" {format_size(totals.size)} compressed"
    )
    if totals.unsized:
        layers = pluralize(totals.unsized, "layer")
        line += f", and {totals.unsized:,} {layers} of unknown size (schema 1)"
    return [line, *_blind_spots(totals.failures, totals.missing)]


def _blind_spots(failures: int, missing: int) -> Iterator[str]:
    if failures:
        holder = "it holds" if failures == 1 else "they hold"
        yield (
            f"{failures:,} {pluralize(failures, 'reference')} could not be audited: what"
            f" {holder} is unknown"
        )
    if missing == 1:
        yield (
            "1 manifest or image lacks a platform that its index names: what it holds"
            " is unknown"
        )
    elif missing:
        yield (
            f"{missing:,} manifests or images lack a platform that their index names:"
            " what it holds is unknown"
        )


def _answers(
    inventory: LayerInventory, limit: int
) -> Iterator[
    RankedRows[Usage]
    | RankedRows[SharedLayer]
    | RankedRows[Base]
    | RankedRows[NamedBase]
]:
    for group in UsageGroup:
        yield inventory.usage(group, limit=limit)
    yield inventory.shared_layers(limit=limit)
    yield inventory.bases(limit=limit)
    yield inventory.named_bases(limit=limit)


def _sections(inventory: LayerInventory, limit: int) -> Iterator[TitledTable]:
    for group in UsageGroup:
        usages = inventory.usage(group, limit=limit)
        yield TitledTable(
            title=_GROUP_TITLES[group],
            columns=(
                *code_columns(group.value, "registry"),
                *number_columns(
                    "unique", "shared", "size", "layers", "manifests", "images"
                ),
            ),
            rows=tuple(map(_usage, usages.rows)),
            total=usages.total,
            note=_USAGE_NOTE,
        )
    layers = inventory.shared_layers(limit=limit)
    yield TitledTable(
        title="shared layers",
        columns=(
            *code_columns("layer"),
            *number_columns("size", "repositories", "manifests"),
        ),
        rows=tuple(map(_shared_layer, layers.rows)),
        total=layers.total,
    )
    bases = inventory.bases(limit=limit)
    yield TitledTable(
        title="probable base images",
        columns=(
            *code_columns("image", "platform"),
            *number_columns("layers", "size", "repositories", "manifests"),
            *code_columns("last layer"),
        ),
        rows=tuple(map(_base, bases.rows)),
        total=bases.total,
        note="so many manifests begin with the same layers and go on with more",
    )
    named = inventory.named_bases(limit=limit)
    if named.total:
        yield TitledTable(
            title="bases that images name",
            columns=(
                *code_columns("base", "digest"),
                *number_columns("repositories", "manifests", "confirmed", "denied"),
                TableColumn(title="the name now"),
            ),
            rows=tuple(map(_named_base, named.rows)),
            total=named.total,
            note="confirmed ones begin with the base's layers, denied ones do not",
        )


def _usage(usage: Usage) -> tuple[str, ...]:
    sizes = map(format_size, (usage.unique, usage.shared, usage.size))
    counts = (f"{count:,}" for count in (usage.layers, usage.manifests, usage.images))
    return usage.name or "(none)", usage.registry, *sizes, *counts


def _shared_layer(layer: SharedLayer) -> tuple[str, ...]:
    size = "-" if layer.size is None else format_size(layer.size)
    return layer.digest, size, f"{layer.repositories:,}", f"{layer.manifests:,}"


def _base(base: Base) -> tuple[str, ...]:
    counts = f"{base.repositories:,}", f"{base.manifests:,}"
    size = "-" if base.unsized == base.layers else format_size(base.size)
    image, platform = base.image or "(not in the report)", base.platform or "-"
    return image, platform, f"{base.layers}", size, *counts, base.top


_CURRENT = {True: "the same", False: "has moved", None: "not in the report"}


def _named_base(base: NamedBase) -> tuple[str, ...]:
    counts = (base.repositories, base.manifests, base.confirmed, base.denied)
    names = base.name or "(no name)", base.digest or "(no digest)"
    shown = (f"{count:,}" for count in counts)
    return *names, *shown, _CURRENT[base.current] if base.digest else "-"


def _place_sections(
    places: DigestSearch, digests: Sequence[str], limit: int
) -> Iterator[TitledTable]:
    for digest in digests:
        for role, (columns, row_of) in _PLACE_TABLES.items():
            total = places.count(digest, role)
            if total:
                yield TitledTable(
                    title=f"{_ROLE_TITLES[role]} {digest}",
                    columns=columns,
                    rows=tuple(map(row_of, places.places(digest, role, limit=limit))),
                    total=total,
                )


def _image_row(place: DigestUse) -> tuple[str, ...]:
    return (place.reference,)


def _platform_row(place: DigestUse) -> tuple[str, ...]:
    return place.reference, place.platform or "-"


def _layer_row(place: DigestUse) -> tuple[str, ...]:
    return *_platform_row(place), str(place.position)


_PLATFORM = code_columns("reference", "platform")
_PLACE_TABLES: dict[
    str, tuple[tuple[TableColumn, ...], Callable[[DigestUse], tuple[str, ...]]]
] = {
    "image": (code_columns("reference"), _image_row),
    "platform": (_PLATFORM, _platform_row),
    "config": (_PLATFORM, _platform_row),
    "layer": ((*_PLATFORM, *number_columns("position from the base")), _layer_row),
    "attachment": (code_columns("reference"), _image_row),
}
