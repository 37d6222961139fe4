"""The layers of a report as text, Markdown or JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import orjson

from auditor.analysis.find_digest import ROLES, DigestSearch, DigestUse
from auditor.analysis.layers import (
    Base,
    LayerInventory,
    NamedBase,
    SharedLayer,
    Usage,
    UsageGroup,
)
from auditor.analysis.text_tables import (
    CellKind,
    TableColumn,
    TitledTable,
    code_columns,
    number_columns,
    render_tables,
)
from auditor.util.text import format_size, pluralize

Row = tuple[str, ...]

_GROUP_TITLES = {
    UsageGroup.REPOSITORY: "repositories",
    UsageGroup.NAMESPACE: "namespaces",
    UsageGroup.ARCHITECTURE: "architectures",
}
_ROLE_TITLES = {
    "image": "tags that point at",
    "platform": "images whose index contains",
    "config": "images with the config",
    "layer": "images that contain the layer",
    "attachment": "images with the attachment",
}


def inventory_lines(inventory: LayerInventory, form: str, limit: int) -> Iterator[str]:
    """The lines of `--format text|jsonl|markdown`.

    JSON lines have every row, then the totals; `limit` is the maximum number of rows
    per table in the other formats, 0 for all.
    """
    if form != "jsonl":
        summary = _summary_lines(inventory)
        yield from render_tables(summary, _tables(inventory, limit), form)
        return
    for row in chain(
        *(inventory.usage(group).rows for group in UsageGroup),
        inventory.shared_layers().rows,
        inventory.bases().rows,
        inventory.named_bases().rows,
    ):
        yield orjson.dumps(row).decode()
    yield orjson.dumps(inventory.totals).decode()


def digest_use_lines(
    search: DigestSearch, digests: Sequence[str], form: str, limit: int
) -> Iterator[str]:
    """The lines of `layers --digest`, in the same formats."""
    if form != "jsonl":
        summary = [
            f"no image in this report contains {digest}"
            for digest in digests
            if not any(search.count(digest, role) for role in ROLES)
        ]
        summary += _unknown_layers(search.totals.failures, search.totals.missing)
        tables = _digest_tables(search, digests, limit)
        yield from render_tables(summary, tables, form)
        return
    for digest in digests:
        for use in search.uses(digest):
            yield orjson.dumps(use).decode()
    yield orjson.dumps(search.totals).decode()


def _summary_lines(inventory: LayerInventory) -> list[str]:
    totals = inventory.totals
    line = (
        f"{totals.images:,} {pluralize(totals.images, 'image')},"
        f" {totals.manifests:,} platform {pluralize(totals.manifests, 'manifest')},"
        f" {totals.layers:,} distinct {pluralize(totals.layers, 'layer')},"
        f" {format_size(totals.size)} compressed"
    )
    if totals.unsized:
        layers = pluralize(totals.unsized, "layer")
        line += f", and {totals.unsized:,} {layers} of unknown size (schema 1)"
    return [line, *_unknown_layers(totals.failures, totals.missing)]


def _unknown_layers(failures: int, missing: int) -> Iterator[str]:
    if failures:
        references = pluralize(failures, "reference")
        yield f"{failures:,} {references} could not be audited; layers unknown"
    if missing:
        manifests = pluralize(missing, "platform manifest")
        yield f"{missing:,} {manifests} missing from the registry; layers unknown"


def _tables(inventory: LayerInventory, limit: int) -> Iterator[TitledTable]:
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
            note=f"unique bytes are in no other {group.value}: deleting it frees them",
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
        note="manifests: number of manifests that start with the same layers",
    )
    named = inventory.named_bases(limit=limit)
    if named.total:
        yield TitledTable(
            title="declared base images",
            columns=(
                *code_columns("base", "digest"),
                *number_columns("repositories", "manifests", "confirmed", "denied"),
                TableColumn(title="name today"),
            ),
            rows=tuple(map(_named_base, named.rows)),
            total=named.total,
            note="confirmed: manifests that start with the layers of the base",
        )


def _usage(usage: Usage) -> Row:
    sizes = map(format_size, (usage.unique, usage.shared, usage.size))
    counts = (f"{count:,}" for count in (usage.layers, usage.manifests, usage.images))
    return usage.name or "(none)", usage.registry, *sizes, *counts


def _shared_layer(layer: SharedLayer) -> Row:
    size = "-" if layer.size is None else format_size(layer.size)
    return layer.digest, size, f"{layer.repositories:,}", f"{layer.manifests:,}"


def _base(base: Base) -> Row:
    counts = f"{base.repositories:,}", f"{base.manifests:,}"
    size = "-" if base.unsized == base.layers else format_size(base.size)
    image, platform = base.image or "(not in the report)", base.platform or "-"
    return image, platform, f"{base.layers}", size, *counts, base.top


_CURRENT = {True: "same digest", False: "moved", None: "not in the report"}


def _named_base(base: NamedBase) -> Row:
    counts = (base.repositories, base.manifests, base.confirmed, base.denied)
    names = base.name or "(no name)", base.digest or "(no digest)"
    cells = (f"{count:,}" for count in counts)
    return *names, *cells, _CURRENT[base.current] if base.digest else "-"


def _digest_tables(
    search: DigestSearch, digests: Sequence[str], limit: int
) -> Iterator[TitledTable]:
    for digest in digests:
        for role in ROLES:
            total = search.count(digest, role)
            if total:
                fields = _USE_FIELDS[role]
                yield TitledTable(
                    title=f"{_ROLE_TITLES[role]} {digest}",
                    columns=tuple(_USE_COLUMNS[field] for field in fields),
                    rows=tuple(
                        tuple(_use_cell(use, field) for field in fields)
                        for use in search.uses(digest, role, limit=limit)
                    ),
                    total=total,
                )


_USE_COLUMNS = {
    "reference": TableColumn(title="reference", kind=CellKind.CODE),
    "platform": TableColumn(title="platform", kind=CellKind.CODE),
    "position": TableColumn(title="layer from the base", kind=CellKind.NUMBER),
}
_USE_FIELDS = {
    "image": ("reference",),
    "platform": ("reference", "platform"),
    "config": ("reference", "platform"),
    "layer": ("reference", "platform", "position"),
    "attachment": ("reference",),
}


def _use_cell(use: DigestUse, field: str) -> str:
    value = getattr(use, field)
    return "-" if value is None else str(value)
