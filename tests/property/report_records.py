"""Records of a small world, in which names, digests and layers meet often."""

from __future__ import annotations

from hypothesis import strategies as st

from auditor.errors import FailureKind, Stage
from auditor.model import (
    BaseImage,
    FailureRecord,
    ImageRecord,
    Layer,
    PlatformRecord,
    Record,
)
from tests.manifests import digest
from tests.records import failure, image, platform

REGISTRIES = ("a.example", "b.example:5000")
REPOSITORIES = ("team/app", "team/db", "other/deep/x", "solo")
TAGS = ("1", "1.1", "2", "latest")
PATTERNS = ("*", "1*", "[!1]", "l?test", "1.[0-9]")
TIMES = ("2026-11-24T02:00:00Z", "2026-11-24T02:00:01Z")
PLATFORMS = (
    ("linux", "amd64", None),
    ("linux", "arm", "v7"),
    ("windows", "amd64", None),
    (None, None, None),
)
# Layers of manifests, by the hexadecimal digit of each.
CHAINS = ("", "1", "12", "123", "124", "13", "1233", "2", "21", "311", "3114", "4")
# The layer 4 has no size, as in schema 1; manifests disagree on the size of layer 3.
SIZES = {"1": 1000, "2": 20, "3": 7, "4": None}


def _layers(chain: str, seed: int) -> tuple[Layer, ...]:
    sizes = SIZES | {"3": 7 + seed}
    return tuple(
        Layer(digest=digest(name), size=sizes[name], media_type=None) for name in chain
    )


def _platform(number: int, *, there: bool) -> PlatformRecord:
    """The manifest with this number, always with the same platform and layers."""
    os, architecture, variant = PLATFORMS[number % len(PLATFORMS)]
    layers = _layers(CHAINS[number % len(CHAINS)], number % 5) if there else None
    sizes = {one.digest: one.size for one in layers or ()}
    known = [size for size in sizes.values() if size is not None]
    return platform(
        f"{number:064x}"[-1],
        digest="sha256:" + f"{number:064x}",
        os=os,
        architecture=architecture,
        variant=variant,
        base=_base(number),
        size=sum(known) if layers is not None and len(known) == len(sizes) else None,
        layers=layers,
    )


def _base(number: int) -> BaseImage | None:
    """The base image of the manifest with this number: another manifest or an index."""
    if number % 3 == 0:
        return None
    manifest = f"{number * 5 % 48:064x}" if number % 4 else f"f{number % 4:063x}"
    name = (None, "a.example/team/app:1", "other:1", "solo:latest")[number % 4]
    return BaseImage(
        name=name, digest=None if number % 7 == 0 else f"sha256:{manifest}"
    )


def _image(registry: str, repository: str, tag: str, at: str, held: Held) -> Record:
    number, children, missing, flags = held
    platforms = tuple(
        _platform(child, there=child not in missing) for child in children
    )
    names = {
        "/".join(part for part in (one.os, one.architecture, one.variant) if part)
        for one in platforms
        if one.layers is not None and one.os
    }
    return image(
        reference=f"{registry}/{repository}:{tag}",
        registry=registry,
        repository=repository,
        tag=tag,
        digest="sha256:" + f"f{number:063x}",
        architectures=tuple(sorted(names)),
        platforms=platforms,
        size=None,
        signed=flags[0],
        has_sbom=flags[1],
        has_provenance=flags[2],
        audited_at=at,
    )


def _failure(
    registry: str, repository: str, tag: str, at: str, kind: FailureKind
) -> Record:
    return failure(
        reference=f"{registry}/{repository}:{tag}",
        registry=registry,
        repository=repository,
        tag=tag,
        failure=kind,
        audited_at=at,
    )


def _listing(registry: str, repository: str, pattern: str, at: str, why: Why) -> Record:
    kind, status = why
    return failure(
        reference=f"{registry}/{repository}:{pattern}",
        registry=registry,
        repository=repository,
        tag=None,
        stage=Stage.LIST,
        failure=kind,
        status=status,
        audited_at=at,
    )


Flags = tuple[bool | None, bool | None, bool | None]
Held = tuple[int, list[int], frozenset[int], Flags]
Why = tuple[FailureKind, int | None]
_held: st.SearchStrategy[Held] = st.tuples(
    st.integers(0, 3),
    st.lists(st.integers(0, 47), max_size=4, unique=True),
    st.frozensets(st.integers(0, 47), max_size=6),
    st.tuples(*[st.sampled_from([None, None, False, True])] * 3),
)
_kinds = st.sampled_from(
    [FailureKind.TIMEOUT, FailureKind.DENIED, FailureKind.INTERRUPTED]
)
_whys: st.SearchStrategy[Why] = st.sampled_from(
    [
        (FailureKind.TIMEOUT, None),
        (FailureKind.NOT_FOUND, 404),
        (FailureKind.NOT_FOUND, None),  # a complete listing without a match
    ]
)


def records(registries: tuple[str, ...] = REGISTRIES) -> st.SearchStrategy[Record]:
    """An image, a failure or a failed listing."""
    name = (st.sampled_from(registries), st.sampled_from(REPOSITORIES))
    tags, times = st.sampled_from(TAGS), st.sampled_from(TIMES)
    images = st.builds(_image, *name, tags, times, _held)
    malformed = st.builds(
        lambda text: failure(
            reference=text, registry=None, repository=None, tag=None, stage=Stage.INPUT
        ),
        st.sampled_from(["no such:", "team/app:1"]),
    )
    return st.one_of(
        images,
        images,
        images,
        st.builds(_failure, *name, tags, times, _kinds),
        st.builds(_listing, *name, st.sampled_from(PATTERNS), times, _whys),
        malformed,
    )


def reports(
    registries: tuple[str, ...] = REGISTRIES, max_lines: int = 20
) -> st.SearchStrategy[list[Record]]:
    """The lines of a report; a reference may have several."""
    return st.lists(records(registries), max_size=max_lines)


def last_lines(report: list[Record]) -> list[Record]:
    """The latest line of each reference; of equal times, the last one."""
    kept: dict[str, Record] = {}
    for record in report:
        before = kept.get(record.reference)
        if before is None or record.audited_at >= before.audited_at:
            kept[record.reference] = record
    return list(kept.values())


def images_of(report: list[Record]) -> list[ImageRecord]:
    return [one for one in last_lines(report) if isinstance(one, ImageRecord)]


def failures_of(report: list[Record]) -> list[FailureRecord]:
    return [one for one in last_lines(report) if isinstance(one, FailureRecord)]
