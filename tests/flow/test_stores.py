"""Images on disk: OCI layouts and archives, also damaged and hostile ones.

tests/real/test_stores.py compares their records with those of a registry.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from auditor.audit.run import AuditRun
from auditor.config import AttachmentMode, Settings
from auditor.diagnose.ls import parse_list_target
from auditor.errors import FailureKind, ProtocolError
from auditor.input.lists import input_items
from auditor.model import FailureRecord, ImageRecord, Record
from auditor.oci.reference import TagPattern, parse_reference, parse_selector
from auditor.registry.registries import open_registries
from auditor.registry.stores import store_files, store_registry
from auditor.registry.stores.store_files import StoreError
from tests.clock import FakeClock
from tests.flow.commands import auditor
from tests.real.layouts import MANIFEST, Layout, files

pytestmark = pytest.mark.anyio


async def audit(*references: str, **changes: Any) -> list[Record]:
    records: list[Record] = []

    async def write(record: Record) -> None:
        records.append(record)

    settings = Settings(
        references=references, docker_config=False, registries_conf=False, **changes
    )
    clock = FakeClock()
    async with open_registries(settings, clock=clock) as registries:
        run = AuditRun(
            settings,
            input_items(settings),
            registries=registries,
            clock=clock,
            write=write,
        )
        await run.run()
    assert not any(run.summary().requests.values())
    return records


async def image_of(reference: str, **changes: Any) -> ImageRecord:
    (record,) = await audit(reference, **changes)
    assert isinstance(record, ImageRecord), record
    return record


async def failure_of(reference: str, **changes: Any) -> FailureRecord:
    (record,) = await audit(reference, **changes)
    assert isinstance(record, FailureRecord), record
    return record


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "store").mkdir()
    return Layout(tmp_path / "store")


def manifest_path(layout: Layout, record: ImageRecord) -> Path:
    return layout.root / "blobs" / record.digest.replace(":", "/")


async def test_a_store_alone_means_its_only_image(layout: Layout) -> None:
    image = layout.image("linux/amd64", [files({"a": b"1"})])
    named = layout.tag("docker.io/library/app:1.0", image)
    store = f"oci:{layout.root}"
    alone, by_name, by_digest = await audit(store, named, f"{store}@{image['digest']}")
    for record in (alone, by_name, by_digest):
        assert isinstance(record, ImageRecord)
        assert record.digest == image["digest"]
        assert (record.registry, record.repository) == ("oci", str(layout.root))
        assert record.access.state == "anonymous"
    assert (alone.tag, by_name.tag) == (None, "docker.io/library/app:1.0")
    assert alone.reference == store
    layout.tag("b", layout.image("linux/arm64", []))
    failure = await failure_of(store)
    assert failure.failure == "invalid_reference"
    assert "has 2 images; add the name of one, or :* for all of them; it has" in (
        failure.detail
    )
    failure = await failure_of(f"{store}:c")
    assert failure.failure == "not_found"
    assert failure.detail.endswith("an image c; it has docker.io/library/app:1.0, b")


async def test_a_pattern_lists_all_images_also_those_without_a_name(
    layout: Layout,
) -> None:
    plain = layout.image("linux/amd64", [files({"a": b"1"})])
    layout.tag("a/b:1", plain)
    layout.tag("a/b:2", layout.image("linux/arm64", []))
    layout.tag("x", layout.image("linux/s390x", []))
    index = json.loads((layout.root / "index.json").read_text())
    del index["manifests"][-1]["annotations"]
    (layout.root / "index.json").write_text(json.dumps(index))
    store = f"oci:{layout.root}"
    found = [record.reference for record in await audit(f"{store}:*")]
    last = index["manifests"][-1]["digest"]
    assert found == [f"{store}:a/b:1", f"{store}:a/b:2", f"{store}@{last}"]
    found = [record.reference for record in await audit(f"{store}:a/b:[2-9]")]
    assert found == [f"{store}:a/b:2"]
    target = parse_list_target(store).pattern
    assert isinstance(target, TagPattern)
    assert str(target) == f"{store}:*"


async def test_referrers_are_found_by_subject_and_fallback_tag(layout: Layout) -> None:
    image = layout.image("linux/amd64", [files({"a": b"1"})])
    subject = {key: image[key] for key in ("mediaType", "digest", "size")}
    empty = layout.blob(b"{}", "application/vnd.oci.empty.v1+json")
    signature = layout.document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/vnd.cncf.notary.signature",
            "config": empty,
            "layers": [empty],
            "subject": subject,
        },
        MANIFEST,
    )
    image_name = layout.tag("1", image)
    store = f"oci:{layout.root}"
    mode = AttachmentMode.ALL
    assert (await image_of(image_name, attachments=mode)).signed is False
    artifact = {**signature, "artifactType": "application/vnd.cncf.notary.signature"}
    fallback = layout.index([artifact])
    before = (layout.root / "index.json").read_text()
    layout.tag(image["digest"].replace(":", "-"), fallback)
    assert (await image_of(image_name, attachments=mode)).signed is True
    index = json.loads(before)
    index["manifests"].append(signature)
    (layout.root / "index.json").write_text(json.dumps(index))
    assert (await image_of(image_name, attachments=mode)).signed is True
    # What is attached to an image is none itself.
    assert len(await audit(f"{store}:*")) == 1


async def test_missing_and_changed_blobs_are_failures_or_warnings(
    layout: Layout,
) -> None:
    layer = files({"a": b"1"})
    child = layout.image("linux/amd64", [layer])
    other = layout.image("linux/arm64", [files({"b": b"1"})])
    name = layout.tag("1", layout.index([child, other]))
    record = await image_of(name, verify_blobs=True)
    assert record.warnings == ()
    blobs = layout.root / "blobs"
    (blobs / record.platforms[0].layers[0].digest.replace(":", "/")).unlink()  # type: ignore[index]
    (warning,) = (await image_of(name, verify_blobs=True)).warnings
    assert warning.code == "blob_missing"
    (blobs / other["digest"].replace(":", "/")).unlink()
    warnings = (await image_of(name)).warnings
    assert [warning.code for warning in warnings] == ["child_missing"]
    manifest_path(layout, record).write_text("{}")
    assert (await failure_of(name)).failure == "digest_mismatch"
    manifest_path(layout, record).unlink()
    failure = await failure_of(name)
    assert failure.failure == "not_found"
    assert record.digest in failure.detail


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "detail"),
    [
        (lambda path: path.unlink(), "not an OCI layout: it has no index.json"),
        (_fifo, "cannot be read: not a regular file"),
        (lambda path: path.write_text("{"), "index.json: "),
        (lambda path: path.write_bytes(b" " * 5000), "larger than 4096 bytes"),
        (lambda path: (path.parent / "oci-layout").unlink(), "it has no oci-layout"),
    ],
)
async def test_a_damaged_layout_is_one_sentence(
    layout: Layout, damage: Callable[[Path], Any], detail: str
) -> None:
    layout.tag("1", layout.image("linux/amd64", []))
    damage(layout.root / "index.json")
    store = f"oci:{layout.root}"
    for reference in (store, f"{store}:*"):
        failure = await failure_of(reference, **small())
        assert detail in failure.detail
        assert str(layout.root) in failure.detail or "index.json" in failure.detail


def small() -> dict[str, Any]:
    registry = Settings().default_registry
    return {"default_registry": type(registry)(max_manifest_bytes=4096)}


def archive(
    path: Path, layout: Layout, *extra: tarfile.TarInfo, mode: str = "w"
) -> str:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for member in extra:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
        tar.add(layout.root, ".")
    return f"oci-archive:{path}"


def member(name: str, **values: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize("mode", ["w", "w:gz"])
async def test_hostile_members_of_an_archive_are_not_read(
    layout: Layout, tmp_path: Path, mode: str
) -> None:
    secret = layout.tag("1", layout.image("linux/amd64", [files({"a": b"1"})]))
    digest = (await image_of(secret)).digest
    blob = f"blobs/{digest.replace(':', '/')}"
    store = archive(
        tmp_path / "x.tar",
        layout,
        member("../index.json", size=3),
        member("/index.json", size=3),
        member("./index.json", size=3),  # the last one counts, as for tar
        member(f"../{blob}", size=3),
        member("fifo", type=tarfile.FIFOTYPE),
        member("dev", type=tarfile.CHRTYPE),
        mode=mode,
    )
    assert (await image_of(f"{store}:1")).digest == digest
    (layout.root / blob).unlink()
    (layout.root / blob).symlink_to("/etc/hostname")
    store = archive(tmp_path / "x.tar", layout, mode=mode)
    assert (await failure_of(f"{store}:1")).failure == "not_found"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
async def test_headers_that_would_fill_the_memory_are_refused(
    layout: Layout, tmp_path: Path, mode: str
) -> None:
    layout.tag("1", layout.image("linux/amd64", []))
    kinds = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)
    for kind in kinds:
        large = member("header", type=kind, size=store_files.MAX_HEADER_BYTES + 1)
        store = archive(tmp_path / "x.tar", layout, large, mode=mode)
        failure = await failure_of(f"{store}:1")
        assert failure.failure == "too_large"
        assert f"{tmp_path}/x.tar: a header in it" in failure.detail


async def test_files_of_an_archive_that_are_one_file_are_read(
    layout: Layout, tmp_path: Path
) -> None:
    layout.tag("1", layout.image("linux/amd64", []))
    os.link(layout.root / "index.json", layout.root / "a")  # tar adds it first
    store = archive(tmp_path / "x.tar", layout)
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getmember("./index.json").islnk()
    assert (await image_of(f"{store}:1")).tag == "1"


async def test_the_program_can_end_while_an_archive_is_read(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def read(*_: object) -> NoReturn:
        threads.append(threading.current_thread())
        raise StoreError("stop", FailureKind.NOT_FOUND)

    monkeypatch.setattr(store_registry, "LayoutContents", read)
    await failure_of(f"oci:{layout.root}")
    assert [thread.daemon for thread in threads] == [True]


async def test_what_is_no_archive_is_one_sentence(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.tar"
    assert "no such file" in (await failure_of(f"oci-archive:{path}")).detail
    for content in (b"", b"text", b"\x1f\x8b\x08text", b"x" * 2000):
        path.write_bytes(content)
        for kind in ("oci-archive", "docker-archive"):
            failure = await failure_of(f"{kind}:{path}")
            assert failure.failure in {"protocol_violation", "not_found"}
            assert str(path) in failure.detail
    path.write_bytes(b"\xfd7zXZ\x00text")
    detail = (await failure_of(f"oci-archive:{path}")).detail
    assert "compressed, and not with gzip; decompress it first" in detail
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in (await failure_of(f"oci-archive:{path}")).detail
    path.unlink()
    layout.tag("1", layout.image("linux/amd64", []))
    store = archive(path, layout)
    data = path.read_bytes()
    path.write_bytes(data[:700])
    assert (await failure_of(store)).failure in {"protocol_violation", "not_found"}
    path.write_bytes(data)
    monkeypatch.setattr(store_files, "MAX_MEMBERS", 3)
    assert (await failure_of(store)).failure == "too_large"


@pytest.mark.parametrize(
    "manifest",
    [
        "{}",
        "[1]",
        "[{}]",
        '[{"Config": "c.json", "Layers": []}]',
        '[{"Config": "ok.json", "Layers": ["gone.tar"]}]',
        '[{"Config": "ok.json", "Layers": [], "RepoTags": []}]',
        '[{"Config": "ok.json", "Layers": ["ok.json"], "RepoTags": {"a": 1}}]',
    ],
)
async def test_a_damaged_archive_of_docker_is_a_failure(
    tmp_path: Path, manifest: str
) -> None:
    config = {"rootfs": {"diff_ids": ["sha256:" + "a" * 64]}}
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, text in (
            ("manifest.json", manifest),
            ("ok.json", json.dumps(config)),
        ):
            tar.addfile(member(name, size=len(text)), io.BytesIO(text.encode()))
    failure = await failure_of(f"docker-archive:{tmp_path}/x.tar")
    assert failure.failure in {"protocol_violation", "not_found"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("containers-storage:alpine", "copy the image first, and audit the copy"),
        ("docker-daemon:alpine:latest", "docker-daemon: is not supported"),
        ("ostree:a", "ostree: is not supported"),
        ("dir:/srv/image", "skopeo copy dir:... oci:DIR:NAME"),
        ("docker-archive:", "docker-archive:FILE, docker-archive:FILE:NAME or"),
        ("oci:a b", "a path without spaces and colons"),
    ],
)
def test_other_transports_are_refused_and_not_taken_for_images(
    text: str, reason: str
) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_selector(text)
    assert reason in caught.value.detail


def test_only_arguments_and_lists_name_stores_and_a_host_may_be_called_oci() -> None:
    for text in ("oci:/srv/a:1", "docker-archive:x.tar"):
        with pytest.raises(ProtocolError, match="names images on disk"):
            parse_reference(text)
        assert str(parse_reference(text, stores=True)) == text
    assert parse_selector("oci:5000/team/app:1").registry == "oci:5000"
    assert str(parse_selector("docker:dind")) == "docker.io/library/docker:dind"
    assert str(parse_selector("docker://docker:dind")) == (
        "docker.io/library/docker:dind"
    )


async def test_the_commands_read_stores(layout: Layout, tmp_path: Path) -> None:
    name = layout.tag("1", layout.image("linux/amd64", [files({"a": b"1"})]))
    report = str(tmp_path / "r.jsonl")
    done = await auditor("audit", "-o", report, "oci:store:*", name, place=tmp_path)
    assert done.code == 0
    lines = [json.loads(line) for line in Path(report).read_text().splitlines()]
    assert [line["reference"] for line in lines] == ["oci:store:1", name]
    done = await auditor("ls", "oci:store", place=tmp_path)
    assert (done.code, done.out.split()) == (0, [b"1"])
    # "oci" is no host, so that there is no catalog with names below.
    done = await auditor("ls", "oci:none", place=tmp_path)
    assert (done.code, [line for line in done.messages if "retrying" in line]) == (
        1,
        [],
    )
    done = await auditor("inspect", "oci:store", place=tmp_path)
    assert done.code == 0
    done = await auditor("audit", "--dry-run", "oci:store:*", place=tmp_path)
    assert done.code == 0
    for command in ("doctor", "token"):
        done = await auditor(command, "oci:store", place=tmp_path)
        assert done.code == 2
        assert "which audit, ls and inspect read" in done.messages[-1]
