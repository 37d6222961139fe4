"""The images that the tests push, one of every kind."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.real.docker_registry import Flavour, RunningRegistry
from tests.real.layouts import INDEX, MANIFEST, Blob, Descriptor, Layout, files
from tests.real.skopeo import Skopeo
from tests.real.token_server import PUSHER
from tests.support.token_service import FakeTokenService

BASE = files({"etc/os-release": b"ID=tests\n" * 400})
TOOLS = files({"bin/tool": bytes(range(256)) * 64})
LABELS = {"org.opencontainers.image.title": "a test", "maintainer": "the tests"}
ANNOTATIONS = {"org.opencontainers.image.version": "1.0", "é": "ü"}


def _app(platform: str) -> Blob:
    return files({"app/main": platform.encode() * 100})


def plain(layout: Layout, platform: str = "linux/amd64") -> Descriptor:
    """Three layers, and the base a second time: a digest that counts once."""
    return layout.image(
        platform,
        [BASE, TOOLS, _app(platform), BASE],
        labels=LABELS,
        annotations=ANNOTATIONS,
    )


def _many(layout: Layout) -> list[Descriptor]:
    return [
        layout.image("linux/amd64", [BASE, TOOLS, _app("amd64")], labels=LABELS),
        layout.image("linux/arm/v7", [BASE, _app("arm")]),
        layout.image("linux/arm64/v8", [BASE, TOOLS, _app("arm64")]),
        layout.image("windows/amd64", [_app("win")], os_version="10.0.20348.4052"),
    ]


def multi(layout: Layout) -> Descriptor:
    """Four platforms, with a variant and an os.version."""
    return layout.index(_many(layout), ANNOTATIONS)


def attested(layout: Layout) -> Descriptor:
    """Two platforms and their attestations, as BuildKit pushes them."""
    children = _many(layout)[:2]
    return layout.index([*children, *map(layout.attested, children)])


def nested(layout: Layout) -> Descriptor:
    """An index of an index and of a platform."""
    inner = layout.index(_many(layout)[1:])
    return layout.index([inner, plain(layout)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an image is built and pushed; without `flags`, by a PUT of the tests."""

    make: Callable[[Layout], Descriptor]
    flags: tuple[str, ...] | None = ()
    schema1: bool = False

    @property
    def keeps_bytes(self) -> bool:
        """Whether the registry keeps the bytes of the layout."""
        return "--format" not in (self.flags or ())


RECIPES = {
    "team/oci:1.0": Recipe(make=plain),
    "public/arm:1.0": Recipe(make=lambda layout: plain(layout, "linux/arm64/v8")),
    "team/docker:1.0": Recipe(make=plain, flags=("--format", "v2s2")),
    "team/signed:1.0": Recipe(make=plain, flags=("--format", "v2s1"), schema1=True),
    "team/multi:1.0": Recipe(make=multi, flags=("--all",)),
    "team/list:1.0": Recipe(make=multi, flags=("--all", "--format", "v2s2")),
    "team/attested:1.0": Recipe(make=attested, flags=("--all",)),
    "team/nested:1.0": Recipe(make=nested, flags=None),  # skopeo cannot copy it
    "secret/oci:1.0": Recipe(make=plain),
}


def names(flavour: Flavour) -> list[str]:
    """The images that a registry of this flavour accepts, as `repository:tag`."""
    return [name for name, one in RECIPES.items() if flavour.schema1 or not one.schema1]


IN_EVERY_FLAVOUR = [name for name, one in RECIPES.items() if not one.schema1]
SIGNED = next(name for name, one in RECIPES.items() if one.schema1)


def push_all(
    registry: RunningRegistry, skopeo: Skopeo, tokens: FakeTokenService, place: Path
) -> dict[str, str]:
    """Push every image; returns the digest of each in its layout, by name."""
    digests = {}
    for number, name in enumerate(names(registry.flavour)):
        recipe = RECIPES[name]
        layout = Layout(place / str(number))
        made = recipe.make(layout)
        digests[name] = made["digest"]
        if recipe.flags is None:
            _put(registry, tokens, layout, made, name)
        else:
            skopeo.copy(layout.tag("image", made), name, *recipe.flags)
    return digests


def _put(
    registry: RunningRegistry,
    tokens: FakeTokenService,
    layout: Layout,
    made: Descriptor,
    name: str,
) -> None:
    """Push a manifest and its parts (distribution-spec, "Pushing manifests")."""
    repository, _, tag = name.partition(":")
    token = tokens.issue(PUSHER, [f"repository:{repository}:pull,push"])
    base = f"http://{registry.host}/v2/{repository}"

    def send(method: str, url: str, content: bytes, media_type: str) -> str:
        request = urllib.request.Request(url, content, method=method)  # noqa: S310
        request.add_header("Authorization", f"Bearer {token}")
        request.add_header("Content-Type", media_type)
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            location: str = answer.headers.get("Location", "")
        return location

    def put(descriptor: Descriptor, reference: str) -> None:
        content, digest = layout.content(descriptor["digest"]), descriptor["digest"]
        kind = descriptor["mediaType"]
        if kind in {INDEX, MANIFEST}:
            document = json.loads(content)
            for part in document.get("manifests") or [
                document["config"],
                *document["layers"],
            ]:
                put(part, part["digest"])
            send("PUT", f"{base}/manifests/{reference}", content, kind)
        else:
            upload = send("POST", f"{base}/blobs/uploads/", b"", kind)
            send("PUT", f"{upload}&digest={digest}", content, kind)

    put(made, tag)
