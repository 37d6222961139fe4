"""A synthetic report of any size, the same for the same arguments.

    python -m bench.synthetic_report 5000000 --output big.jsonl
    python -m bench.synthetic_report 5000000 --night 1 --output next.jsonl
    python -m bench.synthetic_report 5000000 --running --output cluster.jsonl
    python -m bench.synthetic_report 5000000 --sboms --output sboms.jsonl

It is streamed: 5,000,000 lines need no more memory than 5. Layers are shared as in a
real registry: few base images serve most repositories, neighbouring versions have the
same dependencies, several tags point to one manifest. From one night to the next 2 % of
the repositories release a version (a tag is added, the oldest is removed, `latest`
moves), and other references fail.

It is a report of an audit with all options: who owns a repository, manifests without a
tag (children of indexes, signatures, versions that lost their tags), attachments and
signatures (`bench.synthetic_attachments`), bases of which most have moved. `--running`
is the report of a cluster in which a part of these images runs; `--sboms` is the SBOM
file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from auditor.errors import FailureKind, Stage
from auditor.model import (
    Access,
    AccessState,
    BaseCheck,
    BaseImage,
    ConfigDetails,
    ContentKind,
    FailureRecord,
    ImageRecord,
    Layer,
    PlatformRecord,
    Record,
    Shape,
    Source,
    Warn,
    WarningCode,
)
from auditor.report.sbom_file import SbomRecord, encode_record
from auditor.report.shapes import encoder
from bench.synthetic_attachments import (
    KEY,
    attachments,
    chance_of,
    digest_of,
    sbom_of,
    signatures,
)

REGISTRY = "registry.example.com"
VERSIONS = 49  # of a repository at any time; with two tags each, and two that move
TAGS = 2 * VERSIONS + 2
UNTAGGED = 10  # manifests of a repository
PLACES = TAGS + UNTAGGED
BASES = 300
OWN_BASES = 100  # the first repositories; the other bases are on Docker Hub
WITH_SBOM = 10  # versions of a repository, the newest; a tenth of them have SBOMs
RUNNING = 10  # versions of a repository, the newest; of three fifths of them
NIGHTS_BETWEEN_RELEASES = 50
FIRST_NIGHT = datetime(2026, 11, 24, 2, tzinfo=UTC)
LINES_PER_SECOND = 2000  # so `audited_at` spreads as in a real run

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
SCHEMA1 = f"{DOCKER}.distribution.manifest.v1+prettyjws"
PLATFORMS = (("linux", "amd64", None), ("linux", "arm64", "v8"))
FAILURES = (
    (FailureKind.NOT_FOUND, 404, "not found, or not visible to this account (404)"),
    (FailureKind.TIMEOUT, None, "no answer within 30 seconds"),
    (FailureKind.DENIED, 403, "the registry denies it (403)"),
)
ACCESS = Access(
    state=AccessState.GRANTED,
    actions=("pull",),
    subject="audit",
    issuer="auth.example.com",
    verified=False,
    credential=None,
)


def records(count: int, *, night: int = 0, seed: int = 0) -> Iterator[Record]:
    """`count` records of one night, in the order of their references."""
    start = FIRST_NIGHT + timedelta(days=night)
    for number in range(count):
        index, place = divmod(number, PLACES)
        at = start + timedelta(seconds=number // LINES_PER_SECOND)
        yield _record(
            _repository(index, seed), place, night, f"{at:%Y-%m-%dT%H:%M:%SZ}"
        )


def running_records(count: int, *, night: int = 0, seed: int = 0) -> Iterator[Record]:
    """What runs in a cluster of the registry with `count` records."""
    at = f"{FIRST_NIGHT + timedelta(days=night):%Y-%m-%dT%H:%M:%SZ}"
    for index in range(-(-count // PLACES)):
        repository = _repository(index, seed)
        if repository.chance // 13 % 5 < 2:
            continue
        for version in range(VERSIONS - RUNNING, VERSIONS):
            record = _record(repository, 2 * version, night, at)
            workload = f"{repository.name.rpartition('/')[2]}-{version}"
            sources = tuple(
                Source(
                    list="cluster",
                    place=f"cluster: {namespace}/Deployment/{workload}",
                    namespace=namespace,
                    workload=f"Deployment/{workload}",
                    container="main",
                )
                for namespace in ("production", "staging")[: 1 + version % 2]
            )
            yield replace(record, sources=sources, input_labels=None)


def sboms(
    count: int, *, night: int = 0, seed: int = 0, packages: int = 500
) -> Iterator[SbomRecord]:
    """The SBOMs of the images in a report of `count` records, of so many packages."""
    for index in range(-(-count // PLACES)):
        repository = _repository(index, seed)
        if repository.has_sboms:
            newest = repository.newest(night)
            for version in range(newest - WITH_SBOM + 1, newest + 1):
                yield sbom_of(repository.name, version, packages)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("records", type=int)
    parser.add_argument("--night", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="-", help="a file; - is standard output")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--running", action="store_true", help="what runs in a cluster")
    kind.add_argument("--sboms", action="store_true", help="the SBOM file")
    given = parser.parse_args()
    encode = encoder(Shape.IMAGE)
    common = {"night": given.night, "seed": given.seed}
    lines: Iterator[bytes]
    if given.sboms:
        made = sboms(given.records, **common)
        lines = (encode_record(one) + b"\n" for one in made)
    elif given.running:
        lines = map(encode, running_records(given.records, **common))
    else:
        lines = map(encode, records(given.records, **common))
    if given.output == "-":
        sys.stdout.buffer.writelines(lines)
    else:
        with Path(given.output).open("wb") as out:
            out.writelines(lines)


class _Repository:
    """The properties of a repository, derived from its number."""

    def __init__(self, index: int, seed: int) -> None:
        self.seed = seed
        self.index = index
        self.chance = chance_of(f"{seed}/repository/{index}")
        team = self.chance % 97
        self.name = f"team-{team:02}/service-{index:06}"
        self.is_base = index < OWN_BASES
        # The cube gives the first base a seventh of all repositories.
        self.base = index if self.is_base else int(BASES * (self.chance / 2**64) ** 3)
        self.schema1 = self.chance % 101 == 0 and not self.is_base
        self.two_platforms = self.chance % 5 == 0 and not self.schema1
        self.signed = self.chance // 7 % 10 < 3 and not self.schema1
        self.has_sboms = self.chance // 11 % 10 == 0 and not self.schema1
        self.names_base = self.chance // 17 % 2 == 0 and not self.schema1
        self.end_of_life = "2026-12-31" if self.chance // 19 % 20 == 0 else None
        self.sources = (
            Source(list="inventory.csv", place=f"inventory.csv:{index + 2}"),
        )
        self.input_labels: dict[str, tuple[str, ...]] = {
            "team": (f"team-{team:02}",),
            "cost centre": (str(4000 + team),),
        }

    def newest(self, night: int) -> int:
        """The newest version."""
        return self.releases(night) + VERSIONS - 1

    def releases(self, night: int) -> int:
        """The number of versions released since the first night."""
        phase = self.chance % NIGHTS_BETWEEN_RELEASES
        return (night + phase) // NIGHTS_BETWEEN_RELEASES


@lru_cache(maxsize=2 * OWN_BASES)
def _repository(index: int, seed: int) -> _Repository:
    return _Repository(index, seed)


def _record(repository: _Repository, place: int, night: int, at: str) -> Record:
    if place >= TAGS:
        return _untagged(repository, place - TAGS, night, at)
    oldest = repository.releases(night)
    version = oldest + min(place // 2, VERSIONS - 1)
    if place >= 2 * VERSIONS:
        tag = ("1", "latest")[place - 2 * VERSIONS]
    elif place % 2:
        tag = f"build-{chance_of(f'{repository.name}@{version}') % 16**8:08x}"
    else:
        tag = f"1.{version}.0"
    reference = f"{REGISTRY}/{repository.name}:{tag}"
    chance = chance_of(f"{reference}?{night}")
    if chance % 400 == 0:
        failure, status, detail = FAILURES[chance // 400 % len(FAILURES)]
        return FailureRecord(
            reference=reference,
            registry=REGISTRY,
            repository=repository.name,
            tag=tag,
            digest=None,
            stage=Stage.MANIFEST,
            failure=failure,
            status=status,
            detail=detail,
            attempts=1 if status else 3,
            sources=repository.sources,
            input_labels=repository.input_labels,
            audited_at=at,
        )
    return _image(repository, version, tag, night, at)


def _untagged(repository: _Repository, number: int, night: int, at: str) -> ImageRecord:
    """Of an index its children, of others their signatures, and lost versions."""
    if repository.two_platforms and number < 8:
        version = repository.newest(night) - number // 2
        record = _image(repository, version, None, night, at)
        child = record.platforms[number % 2]
        return replace(
            record,
            reference=f"{REGISTRY}/{repository.name}@{child.digest}",
            digest=child.digest,
            media_type=child.media_type,
            architectures=record.architectures[number % 2 :][:1],
            platforms=(child,),
            annotations={},
            attachments=(),
            signatures=(),
            size=child.size,
        )
    if repository.signed and not repository.two_platforms and number < 4:
        version = repository.newest(night) - number
        record = _image(repository, version, None, night, at)
        signature = record.attachments[0]
        return replace(
            record,
            reference=f"{REGISTRY}/{repository.name}@{signature.digest}",
            digest=signature.digest,
            artifact_type=signature.artifact_type,
            content=ContentKind.ATTACHMENT,
            architectures=(),
            platforms=(),
            attachments=(),
            signatures=(),
            bases=(),
            size=signature.size,
            subject=signature.subject,
        )
    version = repository.releases(night) - 1 - number
    return _image(repository, version, None, night, at)


def _image(
    repository: _Repository, version: int, tag: str | None, night: int, at: str
) -> ImageRecord:
    wanted = PLATFORMS[: 1 + repository.two_platforms]
    platforms = tuple(
        _platform(repository, version, number) for number in range(len(wanted))
    )
    several = len(platforms) > 1
    sizes = [platform.size for platform in platforms]
    digest = _image_digest(repository, version)
    has_sbom = repository.has_sboms and version > repository.newest(night) - WITH_SBOM
    attached = attachments(
        repository.name,
        version,
        digest,
        signed=repository.signed,
        has_sbom=has_sbom,
        end_of_life=repository.end_of_life,
    )
    name = f"{REGISTRY}/{repository.name}"
    return ImageRecord(
        reference=f"{name}@{digest}" if tag is None else f"{name}:{tag}",
        registry=REGISTRY,
        repository=repository.name,
        tag=tag,
        digest=digest,
        media_type=f"{OCI}.index.v1+json" if several else platforms[0].media_type,
        schema_version=1 if repository.schema1 else 2,
        artifact_type=None,
        content=ContentKind.IMAGE,
        architectures=("linux/amd64", "linux/arm64")[: len(platforms)],
        platforms=platforms,
        platforms_left_out=0,
        attachments=attached,
        signed=repository.signed,
        has_sbom=has_sbom,
        has_provenance=repository.signed,
        size=None if repository.schema1 else sum(size or 0 for size in sizes),
        annotations={"org.opencontainers.image.version": f"1.{version}.0"}
        if several
        else {},
        access=ACCESS,
        pushed_at=_created(version),
        pulled_at="2026-11-20T08:00:00Z" if version % 5 else None,
        manifest_size=1200,
        bases=_base_checks(repository, version, night, len(platforms)),
        untagged=tag is None,
        sources=repository.sources,
        input_labels=repository.input_labels,
        verified_by=(KEY,) if repository.signed else (),
        not_verified_by=() if repository.signed else (KEY,),
        signatures=signatures(attached),
        warnings=(Warn(code=WarningCode.NO_DIGEST_HEADER, detail="no digest header"),)
        if repository.schema1
        else (),
        audited_at=at,
    )


def _image_digest(repository: _Repository, version: int) -> str:
    where, name = f"{repository.seed}/amd64", repository.name
    return digest_of(
        f"{REGISTRY}/{name}#{version}"
        if repository.two_platforms
        else f"{where}/{name}/{version}/manifest"
    )


def _base(repository: _Repository, version: int, night: int) -> BaseImage | None:
    """The base of a version; at night 0, as it was built."""
    if not repository.names_base:
        return None
    if repository.base >= OWN_BASES or repository.is_base:
        generation = digest_of(f"hub/{repository.base}/{version // 10}")
        name = f"docker.io/library/base-{repository.base:03}:12"
        return BaseImage(name=name, digest=generation)
    base = _repository(repository.base, repository.seed)
    built_on = min(version // 10 * 10, base.newest(night))
    return BaseImage(
        name=f"{REGISTRY}/{base.name}:latest", digest=_image_digest(base, built_on)
    )


@lru_cache(maxsize=8)
def _base_checks(
    repository: _Repository, version: int, night: int, platforms: int
) -> tuple[BaseCheck, ...]:
    """The newest versions are built on the base as it is now."""
    base = _base(repository, version, night)
    if base is None:
        return ()
    newest = repository.newest(night)
    current = _base(repository, newest, night)
    assert current is not None
    return (
        BaseCheck(
            name=base.name,
            reference=base.name,
            digest=base.digest,
            current_digest=current.digest,
            is_stale=base.digest != current.digest,
            platforms=("linux/amd64", "linux/arm64")[:platforms],
            detail=None,
        ),
    )


def _created(version: int) -> str:
    return f"20{16 + version % 10}-0{1 + version % 9}-05T10:00:00Z"


@lru_cache(maxsize=8)  # the tags of one version are neighbours
def _platform(repository: _Repository, version: int, number: int) -> PlatformRecord:
    os, architecture, variant = PLATFORMS[number]
    where = f"{repository.seed}/{architecture}"
    name, base, schema1 = repository.name, repository.base, repository.schema1
    layers = (
        _layer(f"{where}/base/{base}/{version // 10}/system", 30_000_000, schema1),
        _layer(f"{where}/base/{base}/{version // 10}/runtime", 12_000_000, schema1),
        _layer(f"{where}/{name}/{version // 7}/dependencies", 40_000_000, schema1),
        _layer(f"{where}/{name}/{version}/program", 2_000_000, schema1),
    )[: 2 if repository.is_base else None]
    config = ConfigDetails(
        user="1000" if repository.chance % 3 else None,
        history=12,
        labels={"org.example.team": repository.input_labels["team"][0]},
    )
    return PlatformRecord(
        os=os,
        architecture=architecture,
        variant=variant,
        os_version=None,
        digest=digest_of(f"{where}/{name}/{version}/manifest"),
        media_type=SCHEMA1 if schema1 else f"{OCI}.manifest.v1+json",
        config_digest=None
        if schema1
        else digest_of(f"{where}/{name}/{version}/config"),
        created=_created(version),
        config=None if schema1 else config,
        base=_base(repository, version, 0),
        size=None if schema1 else sum(layer.size or 0 for layer in layers),
        layers=layers,
        layer_traits=(),
        manifest_size=1200,
        config_size=None if schema1 else 4000,
    )


@lru_cache(maxsize=4096)
def _layer(name: str, around_bytes: int, schema1: bool) -> Layer:
    return Layer(
        digest=digest_of(name),
        size=None if schema1 else around_bytes // 2 + chance_of(name) % around_bytes,
        media_type=None if schema1 else f"{OCI}.layer.v1.tar+gzip",
    )


if __name__ == "__main__":
    main()
