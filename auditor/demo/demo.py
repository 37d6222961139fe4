"""What `auditor demo` serves: a few official images, and one of every other kind.

    images = demo_images()
    async with serve(demo_app(images)) as base_url:
        ...

Anyone may pull `library/*`; `ADMIN` with `ADMIN_PASSWORD` may do everything. The
token service answers at the path that Docker Trusted Registry had it at, and at the
others too.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Middleware

from auditor.demo.images import (
    Family,
    Placed,
    artifact,
    helm_chart,
    image,
    index,
    official_images,
)
from auditor.demo.registry import Bearer, Content, registry_app
from auditor.demo.signed_schema1 import schema1_image
from auditor.demo.tokens import ANONYMOUS, Account, SigningKey, TokenService

ADMIN = "admin"
ADMIN_PASSWORD = "sandbox"  # it guards made-up images only
REALM = "/auth/v2/token/"
# Twelve repositories, 255 tags; caddy and hello-world have Windows images.
OFFICIAL = tuple(
    f"library/{name}"
    for name in (
        "adminer",
        "alpine",
        "busybox",
        "caddy",
        "hello-world",
        "httpd",
        "memcached",
        "mysql",
        "rabbitmq",
        "registry",
        "ubuntu",
        "varnish",
    )
)
_PLATFORMS = ("linux/amd64", "linux/arm64/v8", "linux/s390x")


def demo_images() -> tuple[Placed, ...]:
    """Everything that the demo holds: 264 references in 20 repositories."""
    return (*official_images(OFFICIAL), *_private_images())


def demo_tokens() -> TokenService:
    """The token service of the demo, with a new key."""
    return TokenService(
        accounts=[
            Account(ANONYMOUS, "", {"library/*": ("pull",)}),
            Account(ADMIN, ADMIN_PASSWORD, {"*": ("*",)}),
        ],
        realm=REALM,
    )


def demo_app(
    images: Iterable[Placed],
    *,
    tokens: TokenService | None = None,
    middlewares: Iterable[Middleware] = (),
) -> web.Application:
    """The registry of the demo with its token service at the same origin."""
    return registry_app(
        Content.of(images),
        access=Bearer(tokens or demo_tokens()),
        middlewares=middlewares,
    )


def _private_images() -> list[Placed]:
    """One of every kind that the official images are not."""
    hello, legacy = "admin/java-hello-world", "admin/legacy"
    web_children = [
        image("team/web", platform=one, family=Family.DOCKER) for one in _PLATFORMS
    ]
    api = index(
        [image("team/api", platform=one) for one in _PLATFORMS],
        annotations={"org.opencontainers.image.version": "1.4.0"},
        attested=True,
    )
    worker = index(
        [
            index([image("team/worker", platform=one) for one in _PLATFORMS]),
            image("team/worker", platform="linux/riscv64"),
        ]
    )
    signed = schema1_image(hello, "latest", keys=[SigningKey.from_seed(hello)])
    sbom = artifact("team/api sbom", subject=api.root)
    return [
        Placed(repository=hello, tags=("latest",), image=signed),
        Placed(repository=legacy, tags=("1.0",), image=schema1_image(legacy, "1.0")),
        Placed(
            repository="team/web",
            tags=("2.1",),
            image=index(web_children, family=Family.DOCKER),
        ),
        Placed(repository="team/api", tags=("1.4.0",), image=api),
        Placed(repository="team/api", tags=("1.4.0-sbom",), image=sbom),
        Placed(repository="team/worker", tags=("3.0",), image=worker),
        Placed(repository="team/tool", tags=("1.0",), image=image("team/tool")),
        Placed(
            repository="team/batch",
            tags=("1.0",),
            image=image("team/batch", family=Family.DOCKER),
        ),
        Placed(
            repository="charts/team-api",
            tags=("1.4.0",),
            image=helm_chart("team-api", "1.4.0"),
        ),
    ]
