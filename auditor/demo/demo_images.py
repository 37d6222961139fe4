"""What `auditor demo` serves: a few official images, and one image of every other kind.

    async with serve(demo_app(demo_images())) as base_url:
        ...

Anonymous requests may pull `library/*`; `ADMIN` may do everything. The token service
runs at the path of Docker Trusted Registry's, and at those of other products.

`official_images` makes up the layers of the Docker Official Images, with real names,
tags and platforms: 144 repositories, 9,849 tags, 2,496 indexes, 7,935 platform
manifests; `data/README.md` names the source. The same data gives the same digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

import orjson
from aiohttp import web

from auditor.demo.artifact_builder import helm_chart, sbom_artifact, sbom_attestation
from auditor.demo.demo_registry import DemoContent, DemoRegistry, registry_app
from auditor.demo.demo_tokens import (
    ANONYMOUS,
    BearerAccess,
    DemoAccount,
    DemoTokenService,
    SigningKey,
)
from auditor.demo.image_builder import (
    BuiltImage,
    Family,
    PlacedImage,
    image,
    index,
    layer,
)
from auditor.demo.schema1_builder import schema1_image
from auditor.fast_dataclass import dataclass
from auditor.model import Layer

ADMIN = "admin"
ADMIN_PASSWORD = "demo"  # protects made-up images only
REALM = "/auth/v2/token/"
# Twelve repositories, 255 tags; caddy and hello-world have Windows images.
OFFICIAL = tuple(
    f"library/{name}"
    for name in (
        "adminer", "alpine", "busybox", "caddy", "hello-world", "httpd", "memcached",
        "mysql", "rabbitmq", "registry", "ubuntu", "varnish",
    )
)  # fmt: skip
_PLATFORMS = ("linux/amd64", "linux/arm64/v8", "linux/s390x")
# Base images, recognised by a word of the tags. The first match counts: Windows before
# all, `alpine` before `slim`.
_BASES = (
    "nanoserver", "windowsservercore", "alpine", "slim-bookworm", "slim-trixie",
    "bookworm", "trixie", "bullseye", "noble", "jammy", "ubi", "oracle", "slim",
)  # fmt: skip
# Windows builds by release name; the last one is for tags without a release.
_WINDOWS = (
    ("ltsc2025", "10.0.26100.4946"),
    ("ltsc2022", "10.0.20348.4052"),
    ("1809", "10.0.17763.7678"),
    ("", "10.0.20348.4052"),
)
_MAX_OWN_LAYERS = 5


def demo_images() -> tuple[PlacedImage, ...]:
    """All images of the demo: 264 references in 20 repositories."""
    return (*official_images(OFFICIAL), *_private_images())


# What the SBOMs of team/api say: of each platform, and of all.
_API_PACKAGES = [
    [
        f"pkg:deb/debian/libssl3@{openssl}?arch={arch}&upstream=openssl",
        f"pkg:deb/debian/bash@5.2.15-2+b7?arch={arch}",
    ]
    for arch, openssl in (
        ("amd64", "3.0.7-1"),
        ("arm64", "3.0.11-1~deb12u2"),
        ("s390x", "3.0.11-1~deb12u2"),
    )
]
_NODE = ["pkg:npm/lodash@4.17.20", "pkg:npm/express@4.18.2"]

_ALPINE = (
    "linux/386", "linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8",
    "linux/ppc64le", "linux/riscv64", "linux/s390x",
)  # fmt: skip

# A policy for the demo; {host} is its registry.
POLICY = """\
[rules.platforms]
repositories = ["{host}/team/web"]
required_platforms = ["linux/amd64", "linux/arm64"]

[rules.releases]
immutable_tags = ["[0-9]*.[0-9]*.[0-9]*"]

[rules.legacy]
forbidden_media_types = ["application/vnd.docker.distribution.manifest.v1*"]
severity = "warning"
"""


def change_content(content: DemoContent) -> list[str]:
    """What happens between the two nights; return a sentence for each change."""
    alpine = [image("library/alpine, rebuilt", platform=one) for one in _ALPINE]
    content.add("library/alpine", index(alpine), "3.24.1")
    web = image("team/web 2.1", platform=_PLATFORMS[0], family=Family.DOCKER)
    content.add("team/web", index([web], family=Family.DOCKER), "2.1")
    content.add("team/api", image("team/api 1.5.0"), "1.5.0")
    del content.repository("library/busybox").tags["1.37.0"]
    return [
        "library/alpine:3.24.1 was pushed again",
        "team/web:2.1 lost two platforms",
        "team/api:1.5.0 is new",
        "library/busybox:1.37.0 was removed",
    ]


def demo_tokens() -> DemoTokenService:
    """The token service of the demo, with a new key."""
    return DemoTokenService(
        accounts=[
            DemoAccount(ANONYMOUS, "", {"library/*": ("pull",)}),
            DemoAccount(ADMIN, ADMIN_PASSWORD, {"*": ("*",)}),
        ],
        realm=REALM,
    )


def demo_app(content: DemoContent) -> web.Application:
    """The registry of the demo, with its token service at the same origin."""
    registry = DemoRegistry(content)
    return registry_app(registry, access=BearerAccess(demo_tokens()))


def _private_images() -> list[PlacedImage]:
    """One image of every kind that is not among the official images."""
    hello, legacy = "admin/java-hello-world", "admin/legacy"
    web_children = [
        image("team/web", platform=one, family=Family.DOCKER) for one in _PLATFORMS
    ]
    api_children = [image("team/api", platform=one) for one in _PLATFORMS]
    api = index(
        api_children,
        annotations={"org.opencontainers.image.version": "1.4.0"},
        attestations=[
            sbom_attestation(child, packages)
            for child, packages in zip(api_children, _API_PACKAGES, strict=True)
        ],
    )
    workers = index([image("team/worker", platform=one) for one in _PLATFORMS])
    riscv = image("team/worker", platform="linux/riscv64")
    signed = schema1_image(hello, "latest", keys=[SigningKey.from_seed(hello)])
    images = (
        (hello, "latest", signed),
        (legacy, "1.0", schema1_image(legacy, "1.0")),
        ("team/web", "2.1", index(web_children, family=Family.DOCKER)),
        ("team/api", "1.4.0", api),
        ("team/api", "1.4.0-sbom", sbom_artifact("team/api", _NODE, subject=api.root)),
        ("team/worker", "3.0", index([workers, riscv])),
        ("team/tool", "1.0", image("team/tool")),
        ("team/batch", "1.0", image("team/batch", family=Family.DOCKER)),
        ("charts/team-api", "1.4.0", helm_chart("team-api", "1.4.0")),
    )
    return [
        PlacedImage(repository=repository, tags=(tag,), image=built)
        for repository, tag, built in images
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """One image of the data file."""

    repository: str
    tags: Sequence[str]
    shared_tags: Sequence[str]
    platforms: Sequence[str]


def official_images(repositories: Iterable[str] | None = None) -> Iterator[PlacedImage]:
    """All images, or those of some repositories (`library/alpine`, ...).

    They are sorted by repository, as in the data. The image of a platform has the same
    digest in its own index and in those of its shared tags. Raises KeyError for an
    unknown repository.
    """
    sources = _read()
    for repository in sources if repositories is None else repositories:
        yield from _repository_images(sources[repository])


def official_repositories() -> tuple[str, ...]:
    """The names of all repositories."""
    return tuple(_read())


def _read() -> dict[str, list[_Source]]:
    data = files("auditor.demo").joinpath("data", "official-images.json")
    return {
        entry["repository"]: [
            _Source(repository=entry["repository"], **one) for one in entry["images"]
        ]
        for entry in orjson.loads(data.read_bytes())
    }


def _repository_images(sources: Sequence[_Source]) -> Iterator[PlacedImage]:
    shared: dict[str, list[BuiltImage]] = {}
    for source in sources:
        children = [_platform_image(source, platform) for platform in source.platforms]
        for tag in source.shared_tags:
            shared.setdefault(tag, []).extend(children)
        yield PlacedImage(
            repository=source.repository, tags=tuple(source.tags), image=index(children)
        )
    for tag, children in shared.items():
        # With the tag in its annotations, every shared tag has an index of its own, as
        # if each had been pushed at another time.
        annotations = {"org.opencontainers.image.ref.name": tag}
        yield PlacedImage(
            repository=sources[0].repository,
            tags=(tag,),
            image=index(children, annotations=annotations),
        )


def _platform_image(source: _Source, platform: str) -> BuiltImage:
    name = f"{source.repository}:{source.tags[0]}"
    return image(
        name,
        platform=platform,
        layers=_layers(source, platform),
        created=_created(name),
        os_version=_os_version(source) if platform.startswith("windows/") else None,
    )


def _layers(source: _Source, platform: str) -> list[Layer]:
    """A base of many repositories, a layer of the repository, layers of the image."""
    base = _base(source)
    name = f"{source.repository}:{source.tags[0]} {platform}"
    own = 1 + hashlib.sha256(name.encode()).digest()[0] % _MAX_OWN_LAYERS
    return [
        layer(f"base {base} {platform}"),
        layer(f"{source.repository} on {base} {platform}"),
        *(layer(f"{name} {number}") for number in range(own)),
    ]


def _base(source: _Source) -> str:
    tags = " ".join(source.tags)
    base = next((name for name in _BASES if name in tags), "trixie")
    if base in {"nanoserver", "windowsservercore"}:
        return f"{base} {_os_version(source)}"
    return base


def _os_version(source: _Source) -> str:
    tags = " ".join(source.tags)
    return next(version for release, version in _WINDOWS if release in tags)


def _created(name: str) -> str:
    """A time in 2026, derived from the name."""
    seed = hashlib.sha256(name.encode()).digest()
    month, day = 1 + seed[1] % 10, 1 + seed[2] % 28
    hour, minute = seed[3] % 24, seed[4] % 60
    return f"2026-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z"
