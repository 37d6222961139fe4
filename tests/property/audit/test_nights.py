"""Warm nights report what cold runs report, whatever the registry lost or regained."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from hypothesis import given
from hypothesis import strategies as st

from auditor.config import AttachmentMode, ImageConfigMode
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import image, index
from auditor.demo.schema1_builder import schema1_image
from auditor.model import Record
from tests.examples import examples
from tests.flow.harness import Lab, Outcome, lab
from tests.support.attached_images import (
    cosign_signature,
    digest_tag,
    notation_signature,
)

REPOSITORIES = ("a", "b/c")
TAGS = ("1", "2", "3")
WEEK_S = 7 * 24 * 3600.0

_AMD64, _ARM64, _S390X = (
    image("app", platform=one) for one in ("linux/amd64", "linux/arm64", "linux/s390x")
)
_PAIR = index([_AMD64, _ARM64])
# Images that share children; one child is an image with a tag of its own. By name, so
# that a case is printed in a few lines.
IMAGES = {
    "pair": _PAIR,
    "same children": index([_AMD64, _ARM64], annotations={"of": "another tag"}),
    "nested": index([_S390X, _PAIR, _AMD64]),
    "amd64": _AMD64,
    "lone": image("lone"),
    "schema 1": schema1_image("old", "1"),
}
SIGNATURES = {
    "notation": notation_signature(_PAIR.root),
    "cosign": cosign_signature(_AMD64.root),
}
HEADER = "Docker-Content-Digest"
# What a registry can lose: manifests, configs and layers, by kind and image.
LAYERS = {
    f"layer {number} of {name}": layer.digest
    for name, built in {"amd64": _AMD64, "arm64": _ARM64}.items()
    for platform in built.content.platforms
    for number, layer in enumerate(platform.layers or ())
}
PARTS = {
    **LAYERS,
    **{
        f"manifest {number} of {name}": manifest.digest
        for name, built in {**IMAGES, **SIGNATURES}.items()
        for number, manifest in enumerate(built.manifests)
    },
    **{
        f"config {number} of {name}": blob.digest
        for name, built in {**IMAGES, **SIGNATURES}.items()
        for number, blob in enumerate(built.blobs)
    },
}
DIGESTS = {
    **{name: built.root.digest for name, built in IMAGES.items()},
    "arm64": _ARM64.root.digest,
    "s390x": _S390X.root.digest,
}
# The modes in which nothing that was not confirmed in the night may be reported. Only
# `--verify-blobs` looks at each repository of its own.
MODES: dict[str, dict[str, Any]] = {
    "verify-blobs": {"verify_blobs": True},
    "recheck 0": {"cache_recheck_s": 0.0},
    "recheck over": {},
}


@dataclass(frozen=True, kw_only=True)
class Night:
    """What a registry has in one night: the image of each tag, and the lost parts.

    `odd` parts are sent as `application/json`, for any method and name; if
    `has_header` is false, no response has a `Docker-Content-Digest`.
    """

    tags: dict[str, str]  # `repository:tag` to the name of an image
    lost: tuple[tuple[str, str], ...]  # repository, name of the part
    odd: frozenset[str]
    has_header: bool

    def content(self) -> DemoContent:
        content = DemoContent()
        for name in REPOSITORIES:
            repository = content.repository(name)
            for built in (*IMAGES.values(), *SIGNATURES.values()):
                repository.add(built)
            repository.add(SIGNATURES["cosign"], [digest_tag(_AMD64.root, ".sig")])
        for reference, built_name in self.tags.items():
            name, _, tag = reference.partition(":")
            content.add(name, IMAGES[built_name], tag)
        for name, part in self.lost:
            content.repository(name).manifests.pop(PARTS[part], None)
            content.repository(name).blobs.pop(PARTS[part], None)
            content.repository(name).layer_sizes.pop(PARTS[part], None)
        return content

    def edit(self, response: web.StreamResponse) -> None:
        digest = response.headers.get(HEADER)
        if digest in {PARTS[part] for part in self.odd}:
            response.headers["Content-Type"] = "application/json"
        if not self.has_header:
            response.headers.popall(HEADER, None)


@dataclass(frozen=True, kw_only=True)
class Case:
    mode: str
    nights: tuple[Night, ...]
    references: tuple[str, ...]
    workers: int
    seed: int
    changes: dict[str, Any]


TAGGED = tuple(f"{name}:{tag}" for name in REPOSITORIES for tag in TAGS)
REFERENCES = (*TAGGED, *(f"{name}@{one}" for name in REPOSITORIES for one in DIGESTS))


@st.composite
def _nights(draw: st.DrawFn, *, everywhere: bool) -> Night:
    places = [REPOSITORIES] if everywhere else [(name,) for name in REPOSITORIES]
    some = st.lists(st.sampled_from(sorted(PARTS)), max_size=4, unique=True)
    manifests = [one for one in PARTS if one.startswith("manifest")]
    return Night(
        tags={name: draw(st.sampled_from(sorted(IMAGES))) for name in TAGGED},
        lost=tuple(
            (name, part) for place in places for part in draw(some) for name in place
        ),
        odd=draw(st.frozensets(st.sampled_from(manifests), max_size=2)),
        has_header=draw(st.integers(0, 5)) > 0,
    )


@st.composite
def _cases(draw: st.DrawFn) -> Case:
    mode = draw(st.sampled_from(sorted(MODES)))
    night = _nights(everywhere=mode != "verify-blobs")
    references = st.lists(st.sampled_from(REFERENCES), min_size=1, max_size=12)
    return Case(
        mode=mode,
        nights=tuple(draw(st.lists(night, min_size=2, max_size=4))),
        references=tuple(dict.fromkeys(draw(references))),
        workers=draw(st.integers(1, 9)),
        seed=draw(st.integers(0, 2**32)),
        changes={
            "image_config": draw(st.sampled_from(ImageConfigMode)),
            "attachments": draw(st.sampled_from(AttachmentMode)),
        },
    )


def _reference(here: Lab, text: str) -> str:
    """`repository:tag` or `repository@name` as a reference."""
    name, separator, built_name = text.partition("@")
    return here.ref(name) + (separator and f"@{DIGESTS[built_name]}")


def _without_time(outcome: Outcome) -> list[Record]:
    return [replace(record, audited_at="") for record in outcome.records]


@dataclass(slots=True)
class Tonight:
    """The responses of a night, in an order that depends on the seed."""

    night: Night
    random: Random

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        for _ in range(self.random.randrange(6)):
            await asyncio.sleep(0)
        response = await handler(request)
        self.night.edit(response)
        return response


async def _night(here: Lab, night: Night, case: Case, cache: str) -> None:
    here.content.repositories = night.content().repositories
    here.clock.now += 2 * WEEK_S
    wanted = [_reference(here, one) for one in case.references]
    changes = {**MODES[case.mode], **case.changes, "workers": case.workers}
    warm = await here.audit(*wanted, cache=cache, **changes)
    cold = await here.audit(*wanted, **changes)
    assert _without_time(warm) == _without_time(cold)


@examples(60)
@given(case=_cases())
def test_a_warm_night_reports_what_a_cold_run_reports(case: Case) -> None:
    async def main(cache: str) -> None:
        tonight = Tonight(case.nights[0], Random(case.seed))
        async with lab(dialect=[tonight.middleware]) as here:
            for night in case.nights:
                tonight.night = night
                await _night(here, night, case, cache)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(str(Path(folder, "digests.sqlite"))))
