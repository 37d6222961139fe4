"""A synthetic report of any size, the same for the same arguments.

    python -m bench.synthetic_report 5000000 --output big.jsonl
    python -m bench.synthetic_report 5000000 --night 1 --output next.jsonl

It is streamed: 5,000,000 lines need no more memory than 5. Layers are shared as in a
real registry: few base images serve most repositories, neighbouring versions have the
same dependencies, several tags point to one manifest. From one night to the next 2 % of
the repositories release a version (a tag is added, the oldest is removed, `latest`
moves), and other references fail.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from auditor.errors import FailureKind, Stage
from auditor.model import (
    Access,
    AccessState,
    ContentKind,
    FailureRecord,
    ImageRecord,
    Layer,
    PlatformRecord,
    Record,
    Shape,
    Warn,
    WarningCode,
)
from auditor.report.shapes import encoder

REGISTRY = "registry.example.com"
VERSIONS = 49  # of a repository at any time; with two tags each, and two that move
TAGS = 2 * VERSIONS + 2
BASES = 300
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
        index, place = divmod(number, TAGS)
        at = start + timedelta(seconds=number // LINES_PER_SECOND)
        yield _record(
            _Repository(index, seed), place, night, f"{at:%Y-%m-%dT%H:%M:%SZ}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("records", type=int)
    parser.add_argument("--night", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="-", help="a file; - is standard output")
    given = parser.parse_args()
    encode = encoder(Shape.IMAGE)
    made = records(given.records, night=given.night, seed=given.seed)
    if given.output == "-":
        sys.stdout.buffer.writelines(map(encode, made))
    else:
        with Path(given.output).open("wb") as out:
            out.writelines(map(encode, made))


class _Repository:
    """The properties of a repository, derived from its number."""

    __slots__ = ("base", "chance", "name", "schema1", "seed", "two_platforms")

    def __init__(self, index: int, seed: int) -> None:
        self.seed = seed
        self.chance = _chance(f"{seed}/repository/{index}")
        self.name = f"team-{self.chance % 97:02}/service-{index:06}"
        # The cube gives the first base a seventh of all repositories.
        self.base = int(BASES * (self.chance / 2**64) ** 3)
        self.schema1 = self.chance % 101 == 0
        self.two_platforms = self.chance % 5 == 0 and not self.schema1

    def releases(self, night: int) -> int:
        """The number of versions released since the first night."""
        phase = self.chance % NIGHTS_BETWEEN_RELEASES
        return (night + phase) // NIGHTS_BETWEEN_RELEASES


def _record(repository: _Repository, place: int, night: int, at: str) -> Record:
    oldest = repository.releases(night)
    version = oldest + min(place // 2, VERSIONS - 1)
    if place >= 2 * VERSIONS:
        tag = ("1", "latest")[place - 2 * VERSIONS]
    elif place % 2:
        tag = f"build-{_chance(f'{repository.name}@{version}') % 16**8:08x}"
    else:
        tag = f"1.{version}.0"
    reference = f"{REGISTRY}/{repository.name}:{tag}"
    chance = _chance(f"{reference}?{night}")
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
            audited_at=at,
        )
    return _image(repository, version, reference, tag, at)


def _image(
    repository: _Repository, version: int, reference: str, tag: str, at: str
) -> ImageRecord:
    wanted = PLATFORMS[: 1 + repository.two_platforms]
    platforms = tuple(
        _platform(repository, version, number) for number in range(len(wanted))
    )
    several = len(platforms) > 1
    sizes = [platform.size for platform in platforms]
    return ImageRecord(
        reference=reference,
        registry=REGISTRY,
        repository=repository.name,
        tag=tag,
        digest=_digest(f"{reference.rpartition(':')[0]}#{version}")
        if several
        else platforms[0].digest,
        media_type=f"{OCI}.index.v1+json" if several else platforms[0].media_type,
        schema_version=1 if repository.schema1 else 2,
        artifact_type=None,
        content=ContentKind.IMAGE,
        architectures=("linux/amd64", "linux/arm64")[: len(platforms)],
        platforms=platforms,
        platforms_left_out=0,
        attachments=(),
        signed=None,
        has_sbom=None,
        has_provenance=None,
        size=None if repository.schema1 else sum(size or 0 for size in sizes),
        annotations={"org.opencontainers.image.version": f"1.{version}.0"}
        if several
        else {},
        access=ACCESS,
        warnings=(Warn(code=WarningCode.NO_DIGEST_HEADER, detail="no digest header"),)
        if repository.schema1
        else (),
        audited_at=at,
    )


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
    )
    return PlatformRecord(
        os=os,
        architecture=architecture,
        variant=variant,
        os_version=None,
        digest=_digest(f"{where}/{name}/{version}/manifest"),
        media_type=SCHEMA1 if schema1 else f"{OCI}.manifest.v1+json",
        config_digest=None if schema1 else _digest(f"{where}/{name}/{version}/config"),
        created=f"20{16 + version % 10}-0{1 + version % 9}-05T10:00:00Z",
        config=None,
        base=None,
        size=None if schema1 else sum(layer.size or 0 for layer in layers),
        layers=layers,
        layer_traits=(),
    )


@lru_cache(maxsize=4096)
def _layer(name: str, around_bytes: int, schema1: bool) -> Layer:
    return Layer(
        digest=_digest(name),
        size=None if schema1 else around_bytes // 2 + _chance(name) % around_bytes,
        media_type=None if schema1 else f"{OCI}.layer.v1.tar+gzip",
    )


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _chance(text: str) -> int:
    """A pseudo-random number below 2**64."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


if __name__ == "__main__":
    main()
