"""`layers` agrees with an implementation with dictionaries, sets and loops."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from auditor.analysis.find_digest import DigestUse, search_digests
from auditor.analysis.layers import (
    Base,
    NamedBase,
    SharedLayer,
    Usage,
    open_layer_inventory,
)
from auditor.analysis.layers_sql import UsageGroup
from auditor.model import ImageRecord, PlatformRecord, Record
from tests import records
from tests.examples import examples
from tests.manifests import digest
from tests.property.report_records import failures_of, images_of, reports
from tests.reports import write_report

Chain = tuple[str, ...]


def name_of(one: PlatformRecord) -> str | None:
    parts = (one.os, one.architecture, one.variant)
    return "/".join(part for part in parts if part) or None


def known_platforms(
    images: Iterable[ImageRecord],
) -> list[tuple[ImageRecord, PlatformRecord]]:
    """Every platform with known layers."""
    return [
        (image, one)
        for image in images
        for one in image.platforms
        if one.layers is not None
    ]


def sizes_of(images: list[ImageRecord]) -> dict[str, int | None]:
    sizes: dict[str, int | None] = {}
    for _, one in known_platforms(images):
        for layer in one.layers or ():
            known = [sizes.get(layer.digest), layer.size]
            sizes[layer.digest] = max((s for s in known if s is not None), default=None)
    return sizes


def digests_of(one: PlatformRecord) -> Chain:
    return tuple(layer.digest for layer in one.layers or ())


GROUPS: dict[UsageGroup, Callable[[ImageRecord, PlatformRecord | None], str | None]] = {
    UsageGroup.REPOSITORY: lambda image, _: image.repository,
    UsageGroup.NAMESPACE: lambda image, _: (
        image.repository.split("/")[0] if "/" in image.repository else None
    ),
    UsageGroup.ARCHITECTURE: lambda _, one: name_of(one) if one else None,
}


def usage_of(images: list[ImageRecord], group: UsageGroup) -> list[Usage]:
    name, sizes = GROUPS[group], sizes_of(images)
    references, manifests, layers = (
        defaultdict[tuple[str, str | None], set[str]](set) for _ in range(3)
    )
    for image, one in known_platforms(images):
        key = image.registry, name(image, one)
        references[key].add(image.reference)
        manifests[key].add(one.digest)
        layers[key].update(digests_of(one))
    if group is not UsageGroup.ARCHITECTURE:
        for image in images:
            references[image.registry, name(image, None)].add(image.reference)
    found = []
    for key in references:
        registry = key[0]
        elsewhere = set[str]().union(
            *(
                layers[other]
                for other in references
                if other != key and other[0] == registry
            )
        )
        size = sum(sizes[one] or 0 for one in layers[key])
        unique = sum(sizes[one] or 0 for one in layers[key] - elsewhere)
        found.append(
            Usage(
                kind=group,
                registry=registry,
                name=key[1],
                images=len(references[key]),
                manifests=len(manifests[key]),
                layers=len(layers[key]),
                size=size,
                unique=unique,
                shared=size - unique,
                unsized=sum(sizes[one] is None for one in layers[key]),
            )
        )
    return sorted(
        found, key=lambda one: (-one.unique, -one.size, one.registry, one.name or "")
    )


def shared_layers_of(images: list[ImageRecord]) -> list[SharedLayer]:
    sizes = sizes_of(images)
    found = []
    for layer in sizes:
        holders = [
            (i, one) for i, one in known_platforms(images) if layer in digests_of(one)
        ]
        manifests = {one.digest for _, one in holders}
        repositories = {(image.registry, image.repository) for image, _ in holders}
        if len(manifests) > 1 or len(repositories) > 1:
            found.append(
                SharedLayer(
                    digest=layer,
                    size=sizes[layer],
                    manifests=len(manifests),
                    repositories=len(repositories),
                )
            )
    return sorted(
        found,
        key=lambda one: (
            -one.repositories,
            -one.manifests,
            -(one.size or 0),
            one.digest,
        ),
    )


def bases_of(images: list[ImageRecord]) -> list[Base]:
    sizes = sizes_of(images)
    chains = {one.digest: digests_of(one) for _, one in known_platforms(images)}
    prefixes = {
        chain[:length]
        for chain in chains.values()
        for length in range(1, len(chain) + 1)
    }

    def sharers(prefix: Chain) -> set[str]:
        return {
            name for name, chain in chains.items() if chain[: len(prefix)] == prefix
        }

    found = []
    for prefix in prefixes:
        longer = [one for one in prefixes if one[:-1] == prefix]
        builders = {one for one in sharers(prefix) if len(chains[one]) > len(prefix)}
        parts_ways = all(len(sharers(one)) < len(sharers(prefix)) for one in longer)
        if len(sharers(prefix)) < 2 or not builders or not parts_ways:
            continue
        itself = [
            i.reference
            for i, one in known_platforms(images)
            if digests_of(one) == prefix
        ]
        example = min(sharers(prefix))
        names = [
            name_of(one) or ""
            for _, one in known_platforms(images)
            if one.digest == example
        ]
        found.append(
            Base(
                image=min(itself, key=lambda name: (len(name), name), default=None),
                platform=min(names) or None,
                layers=len(prefix),
                size=sum(sizes[one] or 0 for one in set(prefix)),
                unsized=sum(sizes[one] is None for one in set(prefix)),
                top=prefix[-1],
                manifests=len(builders),
                repositories=len(
                    {
                        (image.registry, image.repository)
                        for image, one in known_platforms(images)
                        if one.digest in builders
                    }
                ),
            )
        )
    return found


def named_bases_of(images: list[ImageRecord]) -> list[NamedBase]:
    chains = {one.digest: digests_of(one) for _, one in known_platforms(images)}
    naming = [(image, one) for image, one in known_platforms(images) if one.base]
    declared = {one.base for _, one in naming if one.base and (one.base.name or
            one.base.digest)}  # fmt: skip
    found = []
    for base in declared:
        users = {one.digest: one for _, one in naming if one.base == base}
        verdicts: dict[str, bool] = {}
        for user in users.values():
            origins = {
                one.digest
                for image, one in known_platforms(images)
                if one.digest == base.digest
                or (image.digest == base.digest and name_of(one) == name_of(user))
            }
            if origins:
                own = chains[user.digest]
                verdicts[user.digest] = any(
                    own[: len(chains[one])] == chains[one] for one in origins
                )
        spelt = {f"{prefix}{base.name}" for prefix in
                 ("", "docker.io/", "docker.io/library/")}  # fmt: skip
        there = [
            base.digest in {image.digest, *(one.digest for one in image.platforms)}
            for image in images
            if base.name and base.digest and image.reference in spelt
        ]
        found.append(
            NamedBase(
                name=base.name,
                digest=base.digest,
                manifests=len(users),
                repositories=len(
                    {(i.registry, i.repository) for i, o in naming if o.base == base}
                ),
                confirmed=sum(verdicts.values()),
                denied=sum(not verdict for verdict in verdicts.values()),
                current=any(there) if there else None,
            )
        )
    return found


def base_order(base: Base) -> tuple[int, int, int, str]:
    return -base.repositories, -base.manifests, -base.layers, base.top


# Two tags of one index, of which one was audited for fewer platforms.
WHOLE = records.image(
    reference="r.example.com/team/app:whole",
    platforms=(
        records.platform("a", layers=(records.layer("1"),)),
        records.platform(
            "b", architecture="arm64", layers=(records.layer("1"), records.layer("2"))
        ),
    ),
)
BARE = replace(WHOLE, reference="r.example.com/team/app:2", platforms=())


@examples(60)
@given(reports())
@example([BARE, WHOLE])
def test_the_inventory_agrees_with_a_plain_implementation(report: list[Record]) -> None:
    images = images_of(report)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_layer_inventory(
            [write_report(Path(folder, "r.jsonl"), report)], allow_empty=True
        ) as inventory,
    ):
        for group in UsageGroup:
            usage = inventory.usage(group)
            assert list(usage.rows) == usage_of(images, group)
            assert usage.total == len(usage_of(images, group))
            limited = list(inventory.usage(group, limit=1).rows)
            assert limited == usage_of(images, group)[:1]
        assert list(inventory.shared_layers().rows) == shared_layers_of(images)
        bases = list(inventory.bases().rows)
        assert list(map(base_order, bases)) == sorted(map(base_order, bases))
        assert sorted(bases, key=repr) == sorted(bases_of(images), key=repr)
        named = list(inventory.named_bases().rows)
        assert sorted(named, key=repr) == sorted(named_bases_of(images), key=repr)
        totals, sizes = inventory.totals, sizes_of(images)
        blobs = {
            (i.registry, d)
            for i, one in known_platforms(images)
            for d in digests_of(one)
        }
        assert totals.images == len(images)
        assert totals.failures == len(failures_of(report))
        assert totals.manifests == len(
            {one.digest for _, one in known_platforms(images)}
        )
        assert totals.layers == len(blobs)
        assert totals.size == sum(sizes[one] or 0 for _, one in blobs)
        assert totals.unsized == sum(sizes[one] is None for _, one in blobs)
        assert totals.missing == len(
            {
                (image.registry, one.digest)
                for image in images
                for one in image.platforms
                if one.layers is None
            }
        )


def uses_of(images: list[ImageRecord], searched: str) -> list[DigestUse]:
    found = []
    for image in images:

        def add(
            role: str,
            platform: str | None = None,
            position: int | None = None,
            image: ImageRecord = image,
        ) -> None:
            found.append(
                DigestUse(
                    digest=searched,
                    role=role,
                    reference=image.reference,
                    registry=image.registry,
                    repository=image.repository,
                    tag=image.tag,
                    image_digest=image.digest,
                    platform=platform,
                    position=position,
                )
            )

        if image.digest == searched:
            add("image")
        for one in image.platforms:
            if one.digest == searched:
                add("platform", name_of(one))
            if one.config_digest == searched:
                add("config", name_of(one))
            for position, layer in enumerate(one.layers or ()):
                if layer.digest == searched:
                    add("layer", name_of(one), position)
    return found


searched = st.one_of(
    st.sampled_from([digest("1"), digest("3"), digest("4"), digest("c")]),
    st.integers(0, 47).map(lambda number: f"sha256:{number:064x}"),
    st.integers(0, 3).map(lambda number: f"sha256:f{number:063x}"),
)


@examples(40)
@given(reports().filter(bool), st.lists(searched, min_size=1, max_size=3, unique=True))
def test_every_use_of_a_digest_is_found(
    report: list[Record], digests: list[str]
) -> None:
    images = images_of(report)
    with (
        tempfile.TemporaryDirectory() as folder,
        search_digests(
            [write_report(Path(folder, "r.jsonl"), report)], digests
        ) as search,
    ):
        for one in digests:
            found = list(search.uses(one))
            assert sorted(found, key=repr) == sorted(uses_of(images, one), key=repr)
            layers = [use for use in found if use.role == "layer"]
            assert search.count(one, "layer") == len(layers)
            assert list(search.uses(one, "layer", limit=1)) == layers[:1]
        assert search.totals.failures == len(failures_of(report))
        assert search.totals.missing == sum(
            any(one.layers is None for one in image.platforms) for image in images
        )
