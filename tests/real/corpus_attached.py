"""Images with attachments: BuildKit's, cosign's tags, referrers, children."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.real.corpus_artifacts import EMPTY, artifact
from tests.real.corpus_entry import Attached, Entry
from tests.real.corpus_images import plain_of, platforms
from tests.real.layouts import CONFIG, IN_TOTO, INDEX, MANIFEST, Descriptor, Layout

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
NOTATION = "application/vnd.cncf.notary.signature"
SPDX = "application/spdx+json"
CYCLONEDX = "application/vnd.cyclonedx+json"
REPORT = "application/vnd.example.report"
DSSE = "application/vnd.dsse.envelope.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SLSA = "https://slsa.dev/provenance/v1"
BOTH = ("linux/amd64", "linux/arm64")


def attached_images(layout: Layout) -> Iterator[Entry]:
    yield _buildkit(layout)
    yield from _cosign_tags(layout)
    yield _five_kinds(layout)
    yield _on_platforms(layout)
    yield _forty(layout)
    yield _child_artifact(layout)


def _buildkit(layout: Layout) -> Entry:
    children = platforms(layout, "attested", *BOTH)
    noted = [_attestation(layout, one) for one in children]
    return Entry(
        repository="corpus/attested",
        root=layout.index([*children, *noted]),
        attached=frozenset(
            ("attestation", note["digest"], one["digest"])
            for note, one in zip(noted, children, strict=True)
        ),
        left_out=frozenset(note["digest"] for note in noted),
        status=(False, True, True),
    )


def _attestation(layout: Layout, image: Descriptor) -> Descriptor:
    """BuildKit docs/attestations/attestation-storage.md."""
    about = image["digest"]
    layers = [
        {
            **layout.blob(f"{predicate} of {about}".encode(), IN_TOTO),
            "annotations": {"in-toto.io/predicate-type": predicate},
        }
        for predicate in (SLSA, "https://spdx.dev/Document")
    ]
    config = b'{"architecture": "unknown", "os": "unknown", "config": {}}'
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.blob(config, CONFIG),
        "layers": layers,
    }
    return {
        **layout.document(document, MANIFEST),
        "annotations": {
            "vnd.docker.reference.digest": about,
            "vnd.docker.reference.type": "attestation-manifest",
        },
        "platform": {"architecture": "unknown", "os": "unknown"},
    }


def _cosign(layout: Layout, name: str, kind: str, **annotations: str) -> Descriptor:
    """What cosign pushes under a tag: it has the config of an image."""
    payload = layout.blob(f"{name} {kind}".encode(), kind)
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.blob(b'{"architecture": "", "os": "", "config": {}}', CONFIG),
        "layers": [{**payload, "annotations": annotations}],
    }
    return layout.document(document, MANIFEST)


def _cosign_tags(layout: Layout) -> Iterator[Entry]:
    children = platforms(layout, "cosign", *BOTH)
    root = layout.index(children)
    signature = _cosign(layout, "cosign", SIMPLE_SIGNING)
    sbom = _cosign(layout, "cosign", "text/spdx+json")
    statements = [
        _cosign(layout, one["digest"], DSSE, predicateType=SLSA) for one in children
    ]
    yield Entry(
        repository="corpus/cosign",
        root=root,
        beside={
            _tag(root, ".sig"): signature,
            _tag(root, ".sbom"): sbom,
            **{
                _tag(child, ".att"): statement
                for child, statement in zip(children, statements, strict=True)
            },
        },
        attached=frozenset(
            {
                ("signature", signature["digest"], root["digest"]),
                ("sbom", sbom["digest"], root["digest"]),
                *(
                    ("attestation", statement["digest"], child["digest"])
                    for child, statement in zip(children, statements, strict=True)
                ),
            }
        ),
        status=(True, True, True),
    )
    # One of two platforms: not the image.
    half = platforms(layout, "half", *BOTH)
    signed = _cosign(layout, "half", SIMPLE_SIGNING)
    yield Entry(
        repository="corpus/half-signed",
        root=layout.index(half),
        beside={_tag(half[0], ".sig"): signed},
        attached=frozenset({("signature", signed["digest"], half[0]["digest"])}),
    )


def _refers(
    layout: Layout,
    subject: Descriptor,
    kind: str,
    *,
    annotations: Mapping[str, str] | None = None,
    config_type: str | None = None,
) -> Descriptor:
    """A manifest with a subject; its type is its own or, in 1.0, its config's."""
    more: dict[str, Any] = {} if config_type else {"artifactType": kind}
    return artifact(
        layout,
        config_type or EMPTY,
        {kind: f"{kind} of {subject['digest']}".encode()},
        **more,
        subject={key: subject[key] for key in ("mediaType", "digest", "size")},
        annotations=dict(annotations or {}),
    )


def _five_kinds(layout: Layout) -> Entry:
    root = layout.index(platforms(layout, "referred", *BOTH))
    signing = {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
    }
    proving = {**signing, "dev.sigstore.bundle.predicateType": SLSA}
    made = [
        ("signature", _refers(layout, root, NOTATION, config_type=NOTATION)),
        ("signature", _refers(layout, root, BUNDLE, annotations=signing)),
        ("attestation", _refers(layout, root, BUNDLE, annotations=proving)),
        ("sbom", _refers(layout, root, SPDX)),
        ("sbom", _refers(layout, root, CYCLONEDX)),
        ("artifact", _refers(layout, root, REPORT)),
        ("artifact", _index_as_referrer(layout, root)),
    ]
    return _referred("corpus/referred", root, made, status=(True, True, True))


def _index_as_referrer(layout: Layout, root: Descriptor) -> Descriptor:
    """OCI 1.1: an index has a subject, too."""
    document = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "artifactType": "application/vnd.example.set",
        "manifests": [artifact(layout, EMPTY, {}, artifactType=REPORT)],
        "subject": {key: root[key] for key in ("mediaType", "digest", "size")},
    }
    return layout.document(document, INDEX)


def _on_platforms(layout: Layout) -> Entry:
    """Each platform signed, one of them with an SBOM; the index has nothing."""
    children = platforms(layout, "signed-platforms", *BOTH)
    made = [(one, "signature", _refers(layout, one, NOTATION)) for one in children]
    made.append((children[0], "sbom", _refers(layout, children[0], SPDX)))
    return Entry(
        repository="corpus/signed-platforms",
        root=layout.index(children),
        referrers=tuple(one for _, _, one in made),
        attached=frozenset(
            (kind, one["digest"], subject["digest"]) for subject, kind, one in made
        ),
        status=(True, False, False),
    )


def _forty(layout: Layout) -> Entry:
    root = plain_of(layout, "forty")
    made = [
        ("artifact", _refers(layout, root, REPORT, annotations={"number": f"{n}"}))
        for n in range(39)
    ]
    made.append(("signature", _refers(layout, root, NOTATION)))
    return _referred("corpus/forty", root, made, status=(True, False, False))


def _referred(
    repository: str,
    root: Descriptor,
    made: list[tuple[str, Descriptor]],
    status: tuple[bool, bool, bool],
) -> Entry:
    attached: set[Attached] = {
        (kind, one["digest"], root["digest"]) for kind, one in made
    }
    return Entry(
        repository=repository,
        root=root,
        referrers=tuple(one for _, one in made),
        attached=frozenset(attached),
        status=status,
    )


def _child_artifact(layout: Layout) -> Entry:
    """An index that lists an SBOM among its platforms (skopeo#2174)."""
    children = platforms(layout, "with-sbom", *BOTH)
    sbom = artifact(layout, EMPTY, {SPDX: b"an sbom"}, artifactType=SPDX)
    signed = [_cosign(layout, one["digest"], SIMPLE_SIGNING) for one in children]
    root = layout.index([*children, {**sbom, "artifactType": SPDX}])
    return Entry(
        repository="corpus/child-artifact",
        root=root,
        beside={
            _tag(child, ".sig"): one
            for child, one in zip(children, signed, strict=True)
        },
        attached=frozenset(
            {
                ("sbom", sbom["digest"], ""),
                *(
                    ("signature", one["digest"], child["digest"])
                    for child, one in zip(children, signed, strict=True)
                ),
            }
        ),
        status=(True, True, False),
        left_out=frozenset({sbom["digest"]}),
    )


def _tag(subject: Descriptor, suffix: str) -> str:
    digest: str = subject["digest"]
    return digest.replace(":", "-") + suffix
