"""--check-bases: each base image that images name is asked for once, with HEAD."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor.config import RegistrySettings
from auditor.demo.demo_tokens import DemoAccount
from auditor.demo.image_builder import BuiltImage, image, index, layer
from auditor.model import BaseCheck, BaseImage, ImageRecord, Shape, WarningCode
from auditor.report.shapes import encoder
from tests.flow.harness import Lab, Outcome, lab, service
from tests.support.fault_actions import Answer, Hold

pytestmark = pytest.mark.anyio

BASES = "/v2/base/*/manifests/*"
AMD64, ARM64 = "linux/amd64", "linux/arm64"
LAYERS = {name: layer(f"debian for {name}", size=10) for name in (AMD64, ARM64)}
NEWER = {name: layer(f"newer debian for {name}", size=11) for name in (AMD64, ARM64)}
READER = DemoAccount("reader", "hunter2", {"base/debian": ("pull",)})


def debian(amd64: Any = LAYERS, arm64: Any = LAYERS) -> BuiltImage:
    """An index; each platform has the layers of one build."""
    return index(
        [
            image("debian", platform=AMD64, layers=[amd64[AMD64]]),
            image("debian", platform=ARM64, layers=[arm64[ARM64]]),
        ]
    )


OLD, NEW, ARM_ONLY = debian(), debian(NEWER, NEWER), debian(arm64=NEWER)


def app(
    name: str | None, digest: str | None, platform: str = AMD64, title: str = "app"
) -> BuiltImage:
    """An image with the layers of the old build, and a layer of its own."""
    prefix = "org.opencontainers.image.base."
    annotations = {f"{prefix}name": name, f"{prefix}digest": digest}
    return image(
        title,
        platform=platform,
        layers=[LAYERS[platform], layer(f"{title} for {platform}", size=5)],
        annotations={key: text for key, text in annotations.items() if text},
    )


def based(here: Lab, digest: str | None, **changes: Any) -> BuiltImage:
    return app(here.ref("base/debian:12"), digest, **changes)


async def checked(here: Lab, *names: str, **changes: Any) -> Outcome:
    return await here.audit(
        *map(here.ref, names or ("team/app:1",)), check_bases=True, **changes
    )


def heads(here: Lab) -> list[str]:
    return [one.path for one in here.faults.requests("HEAD", BASES)]


def gets(here: Lab) -> list[str]:
    return [one.path for one in here.faults.requests("GET", BASES)]


def only(outcome: Outcome) -> BaseCheck:
    assert outcome.image.bases is not None
    (check,) = outcome.image.bases
    return check


async def test_without_the_option_no_base_is_asked_for() -> None:
    async with lab() as here:
        here.content.add("team/app", based(here, OLD.root.digest), "1")
        outcome = await here.audit(here.ref("team/app:1"))
        assert outcome.image.bases is None
        assert here.faults.count("*", BASES) == 0


async def test_a_base_that_did_not_move_costs_one_head_for_all_images() -> None:
    async with lab() as here:
        here.content.add("base/debian", OLD, "12")
        for number in range(6):
            built = based(here, OLD.root.digest, title=f"app {number}")
            here.content.add(f"team/app{number}", built, "1", "latest")
        names = [f"team/app{n}:{tag}" for n in range(6) for tag in ("1", "latest")]
        outcome = await checked(here, *names)
        assert heads(here) == ["/v2/base/debian/manifests/12"]
        assert gets(here) == []
        for record in outcome.records:
            assert isinstance(record, ImageRecord)
            assert record.warnings == ()
            assert record.bases == (
                BaseCheck(
                    name=here.ref("base/debian:12"),
                    reference=here.ref("base/debian:12"),
                    digest=OLD.root.digest,
                    current_digest=OLD.root.digest,
                    is_stale=False,
                    platforms=(AMD64,),
                    detail=None,
                ),
            )


@pytest.mark.parametrize(
    ("now", "built", "platform", "is_stale"),
    [
        # the digest of an index
        (OLD, OLD.root.digest, AMD64, False),
        (NEW, OLD.root.digest, AMD64, True),
        (ARM_ONLY, OLD.root.digest, AMD64, False),  # its layers are those of now
        (ARM_ONLY, OLD.root.digest, ARM64, True),
        # the digest of the platform's own manifest
        (OLD, OLD.content.platforms[0].digest, AMD64, False),
        (ARM_ONLY, OLD.content.platforms[0].digest, AMD64, False),
        (ARM_ONLY, OLD.content.platforms[1].digest, ARM64, True),
        (NEW, OLD.content.platforms[0].digest, AMD64, True),
        # no digest: only the layers can tell
        (OLD, None, AMD64, False),
        (ARM_ONLY, None, AMD64, False),
        (NEW, None, AMD64, None),
    ],
)
async def test_a_base_is_stale_if_its_content_for_the_platform_has_changed(
    now: BuiltImage, built: str | None, platform: str, is_stale: bool | None
) -> None:
    async with lab() as here:
        here.content.add("base/debian", now, "12")
        here.content.add("team/app", based(here, built, platform=platform), "1")
        outcome = await checked(here)
        check = only(outcome)
        assert check.is_stale is is_stale
        assert check.current_digest == now.root.digest
        assert check.digest == built
        assert (check.detail is None) == (is_stale is not None)
        assert outcome.image.warnings == ()


async def test_platforms_of_one_index_have_verdicts_of_their_own() -> None:
    async with lab() as here:
        here.content.add("base/debian", ARM_ONLY, "12")
        both = index(
            [based(here, OLD.root.digest, platform=one) for one in (AMD64, ARM64)]
        )
        here.content.add("team/app", both, "1")
        outcome = await checked(here)
        assert outcome.image.bases is not None
        found = {one.platforms: one.is_stale for one in outcome.image.bases}
        assert found == {(AMD64,): False, (ARM64,): True}
        rows = encoder(Shape.PLATFORM)(outcome.image).decode().splitlines()
        assert '"base_is_stale":false' in rows[0]
        assert '"base_is_stale":true' in rows[1]


async def test_the_annotations_of_an_index_name_the_base_of_its_platforms() -> None:
    async with lab() as here:
        here.content.add("base/debian", OLD, "12")
        prefix = "org.opencontainers.image.base."
        annotations = {
            f"{prefix}name": here.ref("base/debian:12"),
            f"{prefix}digest": OLD.root.digest,
        }
        plain = [app(None, None, platform=one) for one in (AMD64, ARM64)]
        here.content.add("team/app", index(plain, annotations=annotations), "1")
        outcome = await checked(here)
        check = only(outcome)
        assert (check.is_stale, check.platforms) == (False, (AMD64, ARM64))
        # So that every other question about bases has them, too.
        base = BaseImage(name=here.ref("base/debian:12"), digest=OLD.root.digest)
        assert [one.base for one in outcome.image.platforms] == [base, base]


async def test_a_long_base_of_an_index_is_cut_in_each_platform() -> None:
    async with lab() as here:
        annotations = {"org.opencontainers.image.base.name": "x" * 5000}
        plain = [app(None, None, platform=one) for one in (AMD64, ARM64)]
        here.content.add("team/app", index(plain, annotations=annotations), "1")
        for platform in (await checked(here)).image.platforms:
            assert platform.base is not None
            assert len(platform.base.name or "") < 1100


async def test_a_warm_night_costs_one_head_even_if_the_base_has_moved(
    tmp_path: Path,
) -> None:
    async with lab() as here:
        here.content.add("base/debian", NEW, "12")
        here.content.add("team/app", based(here, OLD.root.digest), "1")
        cache = str(tmp_path / "cache.sqlite")
        assert only(await checked(here, cache=cache)).is_stale
        # The index, and its manifest for the platform, are now in the cache.
        assert (len(heads(here)), len(gets(here))) == (1, 2)
        here.faults.log.clear()
        assert only(await checked(here, cache=cache)).is_stale
        assert (len(heads(here)), len(gets(here))) == (1, 0)


@pytest.mark.parametrize(
    ("name", "is_stale", "detail"),
    [
        ("scratch", False, "scratch is empty and never moves"),
        (f"docker.io/library/debian@{OLD.root.digest}", None, "named by its digest"),
        ("Not A Reference", None, "the name is not a reference"),
        ("oci:/etc:x", None, "the name is not a reference"),
        ("x" * 5000, None, "the name is not a reference"),
        (None, None, "only the digest of the base is named"),
    ],
)
async def test_what_names_no_tag_is_not_asked_for(
    name: str | None, is_stale: bool | None, detail: str
) -> None:
    async with lab() as here:
        here.content.add("team/app", app(name, OLD.root.digest), "1")
        outcome = await checked(here)
        check = only(outcome)
        assert (check.reference, check.is_stale) == (None, is_stale)
        assert (check.detail or "").startswith(detail)
        assert len(check.name or "") < 1500
        assert outcome.image.warnings == ()
        assert here.faults.count("*", BASES) == 0


async def test_a_missing_base_is_a_warning_of_each_image() -> None:
    async with lab() as here:
        for name in ("team/app", "team/web", "team/api"):
            here.content.add(name, based(here, OLD.root.digest, title=name), "1")
        outcome = await checked(here, "team/app:1", "team/web:1", "team/api:1")
        # The first failure may be about its request only: asked twice, by HEAD and GET.
        assert (len(heads(here)), len(gets(here))) == (2, 2)
        for record in outcome.records:
            assert isinstance(record, ImageRecord)
            (warning,) = record.warnings
            assert warning.code is WarningCode.BASE_UNKNOWN
            assert here.ref("base/debian:12") in warning.detail
            assert record.bases is not None
            assert record.bases[0].is_stale is None
            assert record.bases[0].detail is not None


async def test_a_registry_without_head_is_asked_with_get() -> None:
    async with lab() as here:
        here.content.add("base/debian", OLD, "12")
        here.content.add("team/app", based(here, OLD.root.digest), "1")
        here.faults.on("HEAD", BASES, Answer(405))
        check = only(await checked(here))
        assert check.is_stale is False
        assert gets(here) == ["/v2/base/debian/manifests/12"]


async def test_the_login_of_another_registry_is_used_for_its_bases() -> None:
    async with lab() as here, lab(tokens=service(READER), login=READER) as there:
        there.content.add("base/debian", OLD, "12")
        built = app(there.ref("base/debian:12"), OLD.root.digest)
        here.content.add("team/app", built, "1")
        outcome = await checked(here, registries={there.host: there.login})
        assert only(outcome).is_stale is False
        assert heads(there) == ["/v2/base/debian/manifests/12"]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "169.254.169.254", "[::1]"])
async def test_an_image_cannot_name_a_registry_at_a_local_address(name: str) -> None:
    async with lab() as here, lab() as there:
        port = there.host.partition(":")[2]
        built = app(f"{name}:{port}/base/debian:12", OLD.root.digest)
        here.content.add("team/app", built, "1")
        outcome = await checked(here)
        assert there.faults.count() == 0
        (warning,) = outcome.image.warnings
        assert warning.code is WarningCode.BASE_UNKNOWN
        assert "which an image may not name" in warning.detail


async def test_a_name_that_resolves_to_a_local_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        return [(*kind, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with lab() as here, lab() as there:
        port = there.host.partition(":")[2]
        name = f"bases.example.net:{port}"
        built = app(f"{name}/base/debian:12", OLD.root.digest)
        here.content.add("team/app", built, "1")
        outcome = await checked(here)
        assert there.faults.count() == 0
        (warning,) = outcome.image.warnings
        assert "bases.example.net resolves to 127.0.0.1" in warning.detail
        assert 'a section [registry."HOST"]' in warning.detail


async def test_a_slow_base_costs_no_image() -> None:
    async with lab() as here:
        here.content.add("team/app", based(here, OLD.root.digest), "1")
        here.faults.on("HEAD", BASES, Hold())  # for ever
        outcome = await checked(
            here, expire_when=lambda: here.faults.count("HEAD", BASES) > 0
        )
        check = only(outcome)
        assert (check.reference, check.is_stale) == (here.ref("base/debian:12"), None)
        assert (check.detail or "").startswith("not asked in the time limit")


async def test_a_base_comes_from_the_mirror_of_its_registry() -> None:
    async with lab() as here, lab() as mirror:
        mirror.content.add("cache/base/debian", OLD, "12")
        built = app("registry.example/base/debian:12", OLD.root.digest)
        here.content.add("team/app", built, "1")
        settings = RegistrySettings(mirror=f"{mirror.host}/cache")
        outcome = await checked(
            here,
            registries={
                "registry.example": settings,
                mirror.host: replace(RegistrySettings(), tries=1),
            },
        )
        assert only(outcome).is_stale is False
        assert mirror.faults.count("HEAD", "/v2/cache/base/debian/manifests/12") == 1


async def test_a_record_has_a_bounded_number_of_bases() -> None:
    async with lab() as here:
        children = [
            app(f"scratch{number}@{OLD.root.digest}", None, title=f"app {number}")
            for number in range(20)
        ]
        here.content.add("team/app", index(children), "1")
        outcome = await checked(here)
        assert outcome.image.bases is not None
        assert len(outcome.image.bases) == 16
        assert outcome.image.bases_left_out == 4
