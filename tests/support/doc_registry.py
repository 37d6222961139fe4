"""The registry that the commands of the documentation are run against.

Its host is `registry.example.com` in the documentation. Two nights: `change` is what
happens between them.
"""

from __future__ import annotations

from aiohttp import web

from auditor.demo.artifact_builder import helm_chart
from auditor.demo.demo_registry import DemoContent, DemoRegistry, registry_app
from auditor.demo.demo_tokens import (
    ANONYMOUS,
    BearerAccess,
    DemoAccount,
    DemoTokenService,
    SigningKey,
)
from auditor.demo.image_builder import BuiltImage, Family, image, index, layer
from auditor.demo.schema1_builder import schema1_image
from tests.support.attached_images import cosign_signature, digest_tag
from tests.support.sbom_images import buildkit_attestation
from tests.support.sboms import Package

USER, PASSWORD = "auditor", "secret"
_BASE = layer("debian 12, without the fix")
_PLATFORMS = ("linux/amd64", "linux/arm64")


def _image(name: str, platform: str, **more: object) -> BuiltImage:
    layers = [_BASE, layer(f"{name} {platform}")]
    labels = {
        "org.opencontainers.image.base.name": "docker.io/library/debian:12",
        "org.example.team": name.partition("/")[0],
    }
    return image(name, platform=platform, layers=layers, labels=labels, **more)  # type: ignore[arg-type]


def _multi(name: str, openssl: tuple[str, ...] = ()) -> BuiltImage:
    """An image of two platforms; those with an openssl have an SBOM that says so."""
    children = [_image(name, one) for one in _PLATFORMS]
    attestations = [
        buildkit_attestation(child, _packages(version))
        for child, version in zip(children, openssl or (None, None), strict=True)
    ]
    return index(children, attestations=attestations)


def _packages(openssl: str | None) -> list[Package] | None:
    if openssl is None:
        return None
    url = f"pkg:deb/debian/libssl3@{openssl}?upstream=openssl"
    lodash = "pkg:npm/lodash@4.17.20"
    return [
        Package("libssl3", openssl, url, "Apache-2.0"),
        Package("lodash", "4.17.20", lodash, "MIT"),
    ]


def documented_content() -> DemoContent:
    """The first night."""
    content = DemoContent()
    for tag in ("1.0", "1.1", "v1.4.0", "v1.4.1"):
        content.add("team/app", _multi(f"team/app {tag}"), tag)
    app = content.add("team/app", _multi("team/app 1.2"), "1.2", "latest")
    signature = cosign_signature(app.root)
    content.add("team/app", signature, digest_tag(app.root, ".sig"))
    web_image = _image("team/web 2.1", "linux/amd64", family=Family.DOCKER)
    content.add("team/web", web_image, "2.1", "latest")
    content.add("team/old/tool", _image("team/old/tool", "linux/amd64"), "0.9")
    content.add("prod/shop", _multi("prod/shop 3.0", ("3.0.7-1", "3.0.9-1")), "3.0")
    content.add("prod/legacy-erp", schema1_image("prod/legacy-erp", "1.0"), "1.0")
    hello = "admin/java-hello-world"
    signed = schema1_image(hello, "latest", keys=[SigningKey.from_seed(hello)])
    content.add(hello, signed, "latest")
    content.add("charts/shop", helm_chart("shop", "3.0.0"), "3.0.0")
    content.add("library/alpine", _multi("library/alpine"), "3.20", "latest")
    return content


def change(content: DemoContent) -> None:
    """What happens between the two nights."""
    content.add("team/app", _multi("team/app 1.2, again"), "1.2")
    content.add("team/web", _image("team/web 2.2", "linux/amd64"), "2.2")
    del content.repository("team/app").tags["1.0"]


def documented_app(content: DemoContent, realm: str = "/auth/token") -> web.Application:
    """The registry, with its token service; strangers may pull as well."""
    everything = {"*": ("*",)}
    tokens = DemoTokenService(
        accounts=[
            DemoAccount(ANONYMOUS, "", everything),
            DemoAccount(USER, PASSWORD, everything),
        ],
        realm=realm,
    )
    return registry_app(DemoRegistry(content), access=BearerAccess(tokens))
