"""The layers of a report as text, Markdown, CSV or JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from auditor.analysis.csv_lines import csv_rows
from auditor.analysis.find_digest import ROLES, DigestSearch, DigestUse
from auditor.analysis.layers import Base, LayerInventory, NamedBase, Usage
from auditor.analysis.layers_sql import UsageGroup
from auditor.analysis.text_tables import (
    TableColumn,
    TitledTable,
    code_column,
    count_column,
    number_column,
    result_lines,
    size_column,
    text_column,
)
from auditor.util.terminal import Screen
from auditor.util.text import format_size, pluralize


def inventory_lines(
    inventory: LayerInventory, form: str, limit: int, screen: Screen
) -> Iterator[str]:
    """The lines of `--format text|jsonl|markdown|csv`.

    JSON lines have every row, then the totals; CSV has the storage of repositories,
    namespaces and architectures, because it is one table. `limit` is the maximum number
    of rows per table in the other formats, 0 for all.
    """
    if form == "csv":
        usages = (row for group in UsageGroup for row in inventory.usage(group).rows)
        return csv_rows(Usage, usages)
    return result_lines(
        form,
        summary=_summary_lines(inventory),
        tables=_tables(inventory, limit),
        documents=_documents(inventory),
        screen=screen,
    )


def digest_use_lines(
    search: DigestSearch, form: str, limit: int, screen: Screen
) -> Iterator[str]:
    """The lines of `layers --digest`, in the formats of `inventory_lines`."""
    digests = search.digests
    if form == "csv":
        found = (use for digest in digests for use in search.uses(digest))
        return csv_rows(DigestUse, found)
    return result_lines(
        form,
        summary=_search_summary(search, digests),
        tables=_digest_tables(search, digests, limit),
        documents=_digest_documents(search, digests),
        screen=screen,
    )


# -- the inventory --


def _documents(inventory: LayerInventory) -> Iterator[object]:
    for group in UsageGroup:
        yield from inventory.usage(group).rows
    yield from inventory.shared_layers().rows
    yield from inventory.bases().rows
    yield from inventory.named_bases().rows
    yield inventory.totals


def _summary_lines(inventory: LayerInventory) -> Iterator[str]:
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
    yield line
    if totals.foreign:
        layers = pluralize(totals.foreign, "layer")
        yield f"{totals.foreign:,} {layers} with URLs elsewhere are not in the registry"
    if totals.untagged:
        line = (
            f"{totals.untagged:,} {pluralize(totals.untagged, 'manifest')} without a"
            f" tag: {totals.untagged_unused:,} that nothing needs, with"
            f" {format_size(totals.untagged_size)} of their own"
        )
        if totals.untagged_unknown:
            line += f", and {totals.untagged_unknown:,} of which this is not known"
        yield line
    yield from _unknown_layers(totals.failures, totals.missing)
    yield from inventory.notices()


def _unknown_layers(failures: int, missing: int) -> Iterator[str]:
    if failures:
        references = pluralize(failures, "reference")
        yield f"{failures:,} {references} could not be audited; layers unknown"
    if missing:
        manifests = pluralize(missing, "platform manifest")
        yield (
            f"{missing:,} {manifests} missing from the registry, or too long for the"
            " report; layers unknown"
        )


_GROUP_TITLES = {
    UsageGroup.REPOSITORY: "repositories",
    UsageGroup.NAMESPACE: "namespaces",
    UsageGroup.ARCHITECTURE: "architectures",
}


def _tables(inventory: LayerInventory, limit: int) -> Iterator[TitledTable]:
    for group, title in _GROUP_TITLES.items():
        usages = inventory.usage(group, limit=limit)
        yield TitledTable(
            title=title,
            columns=(
                code_column(group.value, "name", missing="(none)"),
                code_column("registry"),
                *map(size_column, ("unique", "shared", "size")),
                *map(count_column, ("layers", "manifests", "images")),
            ),
            rows=tuple(usages.rows),
            total=usages.total,
            note=f"unique bytes are in no other {group.value}: deleting it frees them",
        )
    layers = inventory.shared_layers(limit=limit)
    yield TitledTable(
        title="shared layers",
        columns=(
            code_column("layer", "digest"),
            size_column("size"),
            *map(count_column, ("repositories", "manifests")),
        ),
        rows=tuple(layers.rows),
        total=layers.total,
    )
    bases = inventory.bases(limit=limit)
    yield TitledTable(
        title="probable base images",
        columns=(
            code_column("image", missing="(not in the report)"),
            code_column("platform"),
            count_column("layers"),
            size_column("size", _base_size),
            *map(count_column, ("repositories", "manifests")),
            code_column("last layer", "top"),
        ),
        rows=tuple(bases.rows),
        total=bases.total,
        note="manifests: number of manifests that start with the same layers",
    )
    named = inventory.named_bases(limit=limit)
    if named.total:
        yield TitledTable(
            title="declared base images",
            columns=(
                code_column("base", "name", missing="(no name)"),
                code_column("digest", missing="(no digest)"),
                *map(
                    count_column,
                    ("repositories", "manifests", "confirmed", "denied"),
                ),
                text_column("name today", _name_today),
            ),
            rows=tuple(named.rows),
            total=named.total,
            note="confirmed: manifests that start with the layers of the base",
        )


def _base_size(base: Base) -> int | None:
    return None if base.unsized == base.layers else base.size


def _name_today(base: NamedBase) -> str | None:
    texts = {True: "same digest", False: "moved", None: "not in the report"}
    return texts[base.current] if base.digest else None


# -- the search for digests --


def _digest_documents(search: DigestSearch, digests: Sequence[str]) -> Iterator[object]:
    for digest in digests:
        yield from search.uses(digest)
    yield search.totals


def _search_summary(search: DigestSearch, digests: Sequence[str]) -> Iterator[str]:
    for digest in digests:
        if not any(search.count(digest, role) for role in ROLES):
            yield f"no image in this report contains {digest}"
    yield from _unknown_layers(search.totals.failures, search.totals.missing)


_REFERENCE, _PLATFORM = code_column("reference"), code_column("platform")
_POSITION = number_column("layer from the base", "position")
# Titles and columns by role.
_ROLE_TABLES: dict[str, tuple[str, tuple[TableColumn, ...]]] = {
    "image": ("tags that point at", (_REFERENCE,)),
    "platform": ("images whose index contains", (_REFERENCE, _PLATFORM)),
    "config": ("images with the config", (_REFERENCE, _PLATFORM)),
    "layer": ("images that contain the layer", (_REFERENCE, _PLATFORM, _POSITION)),
    "attachment": ("images with the attachment", (_REFERENCE,)),
}


def _digest_tables(
    search: DigestSearch, digests: Sequence[str], limit: int
) -> Iterator[TitledTable]:
    for digest in digests:
        for role, (title, columns) in _ROLE_TABLES.items():
            if total := search.count(digest, role):
                yield TitledTable(
                    title=f"{title} {digest}",
                    columns=columns,
                    rows=tuple(search.uses(digest, role, limit=limit)),
                    total=total,
                )
