"""What `auditor demo` serves: a few official images, and one image of every other kind.

    async with serve(demo_app(demo_images())) as base_url:
        ...

Anonymous requests may pull `library/*`; `ADMIN` may do everything. The token service
runs at the path of Docker Trusted Registry's, and at those of other products.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from auditor.demo.demo_registry import DemoContent, DemoRegistry, registry_app
from auditor.demo.demo_tokens import (
    ANONYMOUS,
    BearerAccess,
    DemoAccount,
    DemoTokenService,
    SigningKey,
)
from auditor.demo.image_builder import (
    Family,
    PlacedImage,
    artifact,
    helm_chart,
    image,
    index,
)
from auditor.demo.official_images import official_images
from auditor.demo.schema1_builder import schema1_image

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


def demo_images() -> tuple[PlacedImage, ...]:
    """All images of the demo: 264 references in 20 repositories."""
    return (*official_images(OFFICIAL), *_private_images())


def demo_tokens() -> DemoTokenService:
    """The token service of the demo, with a new key."""
    return DemoTokenService(
        accounts=[
            DemoAccount(ANONYMOUS, "", {"library/*": ("pull",)}),
            DemoAccount(ADMIN, ADMIN_PASSWORD, {"*": ("*",)}),
        ],
        realm=REALM,
    )


def demo_app(images: Iterable[PlacedImage]) -> web.Application:
    """The registry of the demo, with its token service at the same origin."""
    registry = DemoRegistry(DemoContent.of(images))
    return registry_app(registry, access=BearerAccess(demo_tokens()))


def _private_images() -> list[PlacedImage]:
    """One image of every kind that is not among the official images."""
    hello, legacy = "admin/java-hello-world", "admin/legacy"
    web_children = [
        image("team/web", platform=one, family=Family.DOCKER) for one in _PLATFORMS
    ]
    api = index(
        [image("team/api", platform=one) for one in _PLATFORMS],
        annotations={"org.opencontainers.image.version": "1.4.0"},
        attested=True,
    )
    workers = index([image("team/worker", platform=one) for one in _PLATFORMS])
    riscv = image("team/worker", platform="linux/riscv64")
    signed = schema1_image(hello, "latest", keys=[SigningKey.from_seed(hello)])
    images = (
        (hello, "latest", signed),
        (legacy, "1.0", schema1_image(legacy, "1.0")),
        ("team/web", "2.1", index(web_children, family=Family.DOCKER)),
        ("team/api", "1.4.0", api),
        ("team/api", "1.4.0-sbom", artifact("team/api sbom", subject=api.root)),
        ("team/worker", "3.0", index([workers, riscv])),
        ("team/tool", "1.0", image("team/tool")),
        ("team/batch", "1.0", image("team/batch", family=Family.DOCKER)),
        ("charts/team-api", "1.4.0", helm_chart("team-api", "1.4.0")),
    )
    return [
        PlacedImage(repository=repository, tags=(tag,), image=built)
        for repository, tag, built in images
    ]
