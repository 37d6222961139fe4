"""`cleanup plan` against the garbage collector of distribution, to the byte.

Random stores are pushed and audited; what is planned is deleted by the API, and the
blobs that the garbage collector removes are compared with the plan.
"""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import orjson
import pytest

from auditor.analysis.cleanup.plan import Bound, PlanTotals, open_plan
from auditor.analysis.cleanup.rehearsal import Collects, DeleteBy, Semantics
from auditor.analysis.cleanup.selection import DeletionChoice
from auditor.config import AttachmentMode
from auditor.oci.reference import parse_reference
from tests.examples import thorough
from tests.patience import HANG_S
from tests.real.audits import audit, login
from tests.real.docker_registry import (
    DISTRIBUTION_2,
    DISTRIBUTION_3,
    Flavour,
    running_registry,
)
from tests.real.layouts import CONFIG, MANIFEST, Descriptor, Layout, files
from tests.real.other_registries import Running
from tests.real.push import Pusher

pytestmark = pytest.mark.real

REPOSITORIES = ("team/app", "team/web")
SEEDS = range(12) if thorough() else range(2)


@dataclass(frozen=True, slots=True)
class Way:
    """How a registry is cleaned up, and what the plan calls that."""

    name: str
    flavour: Flavour
    semantics: Semantics
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


# 2.8 deletes the children of living indexes with --delete-untagged (distribution#3178).
WAYS = (
    Way(
        "2.8 by digest",
        DISTRIBUTION_2,
        Semantics(delete_by=DeleteBy.DIGEST, collects=Collects.DELETED),
    ),
    Way(
        "3 by digest",
        DISTRIBUTION_3,
        Semantics(delete_by=DeleteBy.DIGEST, collects=Collects.DELETED),
    ),
    Way(
        "3 by digest, untagged too",
        DISTRIBUTION_3,
        Semantics(delete_by=DeleteBy.DIGEST, collects=Collects.UNTAGGED),
        ("--delete-untagged",),
    ),
    Way(
        "3 by tag, untagged too",
        DISTRIBUTION_3,
        Semantics(delete_by=DeleteBy.TAG, collects=Collects.UNTAGGED),
        ("--delete-untagged",),
    ),
)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_garbage_collector_frees_the_planned_bytes(
    way: Way, seed: int, tmp_path: Path
) -> None:
    random = Random(seed)
    root = tmp_path / "store"
    layout = Layout(tmp_path / "layout")
    with running_registry(way.flavour, tmp_path, root=root, tokens=None) as registry:
        tags = _push_random_store(registry.host, layout, random)
        audited = audit(
            registry.host,
            *(f"{repository}:{tag}" for repository, tag in tags),
            registry=login(None),
            attachments=AttachmentMode.ALL,
        )
        report = tmp_path / "report.jsonl"
        report.write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in audited.lines))
        doomed = [key for key in tags if random.random() < 0.5] or [next(iter(tags))]
        totals, broken = _plan(registry.host, report, doomed, way)
        if broken:
            # A child that its index loses makes the collector of version 3 skip what
            # other repositories need of it: it frees too much.
            doomed = [key for key in doomed if tags[key] not in broken]
            totals, broken = _plan(registry.host, report, doomed, way)
        assert not broken
        _delete(registry.host, doomed, tags, way.semantics.delete_by)
    stored = _blob_sizes(root)
    _collect_garbage(way, tmp_path)
    left = _blob_sizes(root)
    assert totals.stored == sum(stored.values())
    assert totals.freed == sum(stored.values()) - sum(left.values())
    assert totals.blobs == len(stored) - len(left)
    # No listing says that there are no other untagged manifests, which would stay.
    keeps = way.semantics.collects is Collects.DELETED
    assert totals.bound is (Bound.AT_MOST if keeps else Bound.EXACT)


def _plan(
    host: str,
    report: Path,
    doomed: Sequence[tuple[str, str]],
    way: Way,
) -> tuple[PlanTotals, set[str]]:
    """The totals, and the digests that living indexes would lose."""
    names = [f"{host}/{place}:{tag}" for place, tag in doomed]
    with open_plan(
        [str(report)],
        selection=DeletionChoice(selectors=map(parse_reference, names)),
        semantics=way.semantics,
    ) as plan:
        return plan.totals, {one.child for one in plan.broken_indexes()}


def _push_random_store(
    host: str, layout: Layout, random: Random
) -> dict[tuple[str, str], str]:
    """Push images and indexes that share layers; the digest of each tag."""
    layers = [files({f"{n}": random.randbytes(500 * n)}) for n in range(1, 6)]
    images = [
        layout.image(
            random.choice(("linux/amd64", "linux/arm64")),
            random.sample(layers, random.randrange(1, 4)),
            labels={"number": str(number)},
        )
        for number in range(5)
    ]
    indexes = []
    for _ in range(3):
        children = random.sample(images, random.randrange(1, 4))
        if random.random() < 0.5:
            children = [*children, layout.attested(children[0])]
        indexes.append(layout.index(children))
    indexes.append(layout.index([indexes[0]]))
    pusher = Pusher(Running(host=host), layout)
    tags: dict[tuple[str, str], str] = {}
    for repository in REPOSITORIES:
        for number in range(random.randrange(2, 6)):
            made = random.choice([*images, *indexes[1:]])
            pusher.push(repository, made, f"v{number}")
            tags[repository, f"v{number}"] = made["digest"]
        subjects = sorted(set(_named(tags, repository)))
        for subject in random.sample(subjects, 2 if len(subjects) > 1 else 1):
            name = subject.replace(":", "-")
            if random.random() < 0.5:
                signature = _attachment(layout, f"signature of {subject}")
                pusher.push(repository, signature, f"{name}.sig")
                tags[repository, f"{name}.sig"] = signature["digest"]
            else:
                about = next(
                    one for one in (*images, *indexes) if one["digest"] == subject
                )
                # Also pushes the list of referrers under the fallback tag.
                sbom = _attachment(layout, f"sbom of {subject}", about)
                pusher.push(repository, sbom)
                tags[repository, name] = _digest_of(host, repository, name)
    pusher.close()
    return tags


def _named(tags: dict[tuple[str, str], str], repository: str) -> list[str]:
    return [digest for (place, _), digest in tags.items() if place == repository]


def _attachment(
    layout: Layout, content: str, subject: Descriptor | None = None
) -> Descriptor:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.blob(b"{}", CONFIG if subject is None else "application/x"),
        "layers": [
            layout.blob(
                content.encode(),
                "application/vnd.dev.cosign.simplesigning.v1+json"
                if subject is None
                else "application/spdx+json",
            )
        ],
    }
    if subject is not None:
        plain = {key: subject[key] for key in ("mediaType", "digest", "size")}
        document |= {"artifactType": "application/spdx+json", "subject": plain}
    return layout.document(document, MANIFEST)


def _digest_of(host: str, repository: str, tag: str) -> str:
    connection = http.client.HTTPConnection(host, timeout=HANG_S)
    accept = {"Accept": "application/vnd.oci.image.index.v1+json"}
    connection.request("HEAD", f"/v2/{repository}/manifests/{tag}", headers=accept)
    digest = connection.getresponse().headers["Docker-Content-Digest"]
    connection.close()
    assert digest is not None
    return digest


def _delete(
    host: str,
    doomed: Sequence[tuple[str, str]],
    tags: dict[tuple[str, str], str],
    by: DeleteBy,
) -> None:
    names = {
        (place, tag if by is DeleteBy.TAG else tags[place, tag])
        for place, tag in doomed
    }
    connection = http.client.HTTPConnection(host, timeout=HANG_S)
    for repository, name in sorted(names):
        connection.request("DELETE", f"/v2/{repository}/manifests/{name}")
        answer = connection.getresponse()
        assert answer.status == 202, answer.read()
        answer.read()
    connection.close()


def _collect_garbage(way: Way, place: Path) -> None:
    subprocess.run(
        [
            way.flavour.find(),
            "garbage-collect",
            *way.options,
            str(place / "config.yml"),
        ],
        check=True,
        capture_output=True,
        timeout=HANG_S,
    )


def _blob_sizes(root: Path) -> dict[str, int]:
    """The bytes of each blob in a store (distribution, registry/storage/paths.go)."""
    blobs = root / "docker" / "registry" / "v2" / "blobs"
    return {file.parent.name: file.stat().st_size for file in blobs.glob("*/*/*/data")}
