"""OCI layouts and archives have the records of the same images in a registry."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditor.config import AttachmentMode, RegistrySettings
from auditor.demo.demo_tokens import DemoAccount
from auditor.oci.descriptor import sha256_digest
from tests.patience import HANG_S
from tests.real.audits import audit, audit_references, content
from tests.real.layouts import INDEX, Layout, files
from tests.real.programs import required
from tests.real.skopeo import Skopeo
from tests.support.docker_registry import docker_registry

pytestmark = pytest.mark.real
NAMED = {"registry", "repository", "reference"}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Two tags, one of them an index with an attestation, and a nested index."""
    made = Layout(tmp_path_factory.mktemp("layout"))
    amd = made.image("linux/amd64", [files({"a": b"1"}), files({"b": b"2"})])
    arm = made.image("linux/arm64/v8", [files({"a": b"1"})], labels={"x": "y"})
    made.tag("single", amd)
    made.tag("multi", made.index([amd, arm, made.attested(amd)]))
    made.tag("nested", made.index([made.index([arm]), amd]))
    return made


@pytest.fixture(scope="module")
def host(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with the same content, copied by skopeo."""
    required("docker-registry")
    place = tmp_path_factory.mktemp("skopeo")
    with docker_registry(tmp_path_factory.mktemp("store")) as url:
        host = url.removeprefix("http://")
        skopeo = Skopeo(host, DemoAccount("a", "b"), place)
        for name in ("single", "multi"):
            source = f"oci:{layout.root}:{name}"
            skopeo.copy(source, f"app:{name}", "--all")
        # skopeo copies no nested index; its images are there.
        outer = json.loads((layout.root / "index.json").read_bytes())["manifests"][-1]
        inner = json.loads(layout.content(outer["digest"]))["manifests"][0]
        for digest, name in (
            (inner["digest"], inner["digest"]),
            (
                outer["digest"],
                "nested",
            ),
        ):
            put(f"{url}/v2/app/manifests/{name}", layout.content(digest))
        yield host


def put(url: str, index: bytes) -> None:
    request = urllib.request.Request(  # noqa: S310
        url, data=index, headers={"Content-Type": INDEX}, method="PUT"
    )
    urllib.request.urlopen(request).close()  # noqa: S310


def unnamed(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content(line).items() if key not in NAMED}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"verify_blobs": True, "labels": ("*",)},
        {"attachments": AttachmentMode.ALL},
        {"platforms": ("linux/arm64",)},
    ],
)
@pytest.mark.parametrize("is_archive", [False, True])
def test_a_layout_has_the_records_of_the_registry(
    layout: Layout,
    host: str,
    tmp_path: Path,
    settings: dict[str, Any],
    is_archive: bool,
) -> None:
    names = ("single", "multi", "nested")
    there = audit(
        host,
        *(f"app:{name}" for name in names),
        registry=RegistrySettings(),
        **settings,
    )
    store = f"oci:{layout.root}"
    if is_archive:
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            tar.add(layout.root, ".")
        store = f"oci-archive:{tmp_path}/x.tar"
    here = audit_references(*(f"{store}:{name}" for name in names), **settings)
    assert list(map(unnamed, here.lines)) == list(map(unnamed, there.lines))
    for line, name in zip(here.lines, names, strict=True):
        assert line["kind"] == "image", line
        assert f"{line['registry']}:{line['repository']}" == store
        assert line["reference"] == f"{store}:{name}"
        assert line["tag"] == name
    assert here.summary.requests == {} or not any(here.summary.requests.values())
    listed = audit_references(f"{store}:*", **settings)
    assert [line["reference"] for line in listed.lines] == [
        line["reference"] for line in here.lines
    ]


def compress_members(archive: Path) -> None:
    """Compress the layers in an archive, one of them in two parts."""
    plain = archive.rename(archive.with_suffix(".plain"))
    with tarfile.open(plain) as old, tarfile.open(archive, "w") as new:
        for member in old:
            data = b""
            if member.isreg():
                extracted = old.extractfile(member)
                assert extracted is not None
                data = extracted.read()
                if member.name.endswith(".tar"):
                    data = gzip.compress(data[:700]) + gzip.compress(data[700:])
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("compress_layers", [False, True])
def test_an_archive_of_docker_has_the_manifest_that_skopeo_makes(
    layout: Layout, tmp_path: Path, compress: bool, compress_layers: bool
) -> None:
    """Buildx, kaniko and crane compress the layers, docker and podman do not."""
    program, archive = required("skopeo"), tmp_path / "x.tar"
    run = [program, "--insecure-policy"]
    source = f"oci:{layout.root}:single"
    target = f"docker-archive:{archive}"
    name = "registry.example.com/team/app:1"
    copy = [*run, "copy", source, f"{target}:{name}"]
    subprocess.run(copy, check=True, capture_output=True, timeout=HANG_S)
    if compress_layers:
        compress_members(archive)
    done = subprocess.run(
        [*run, "inspect", "--raw", target],
        check=True,
        capture_output=True,
        timeout=HANG_S,
    )
    if compress:
        subprocess.run(["gzip", str(archive)], check=True, timeout=HANG_S)
        target += ".gz"
    (line,) = audit_references(f"{target}:{name}", verify_blobs=True).lines
    assert line["kind"] == "image", line
    assert line["digest"] == sha256_digest(done.stdout)
    assert line["architectures"] == ["linux/amd64"]
    assert line["warnings"] == []
    assert (line["registry"], line["tag"]) == ("docker-archive", name)
    for reference in (f"{target}:*", target):
        (other,) = audit_references(reference).lines
        assert other["digest"] == line["digest"]
