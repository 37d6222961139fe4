"""Each rule, on records that satisfy it, violate it, or lack what it needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor.analysis.check.findings import Violation
from auditor.analysis.check.rules import RULES
from auditor.errors import FailureKind
from auditor.model import (
    Access,
    AccessState,
    Alternative,
    Attachment,
    AttachmentKind,
    BaseCheck,
    BaseImage,
    ConfigDetails,
    ContentKind,
    ImageRecord,
    ImageSignature,
    PlatformRecord,
    Record,
    SignatureFormat,
    SignatureState,
    Warn,
    WarningCode,
)
from tests.manifests import OCI_LAYER, digest
from tests.policies import findings_of, violations_of
from tests.records import ACCESS, EVERYTHING, failure, image, layer, platform

SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
NOTATION = "application/vnd.cncf.notary.signature"
BLAKE3, SHA384 = "blake3:" + "a" * 64, "sha384:" + "a" * 96
CHART: dict[str, Any] = {
    "artifact_type": "application/vnd.cncf.helm.config.v1+json",
    "content": ContentKind.ARTIFACT,
}
# A cosign signature under its tag (cosign specs/SIGNATURE_SPEC.md).
SIGNATURE_TAG: dict[str, Any] = {
    "tag": f"sha256-{'a' * 64}.sig",
    "reference": f"r.example.com/team/app:sha256-{'a' * 64}.sig",
    "content": ContentKind.ATTACHMENT,
    "architectures": (),
}
DATED = "2026-05-28T02:00:00.123456789Z"  # 180 days before AT, less a moment


def sized(*sizes: int | None, **more: Any) -> Record:
    parts = tuple(
        platform(f"{n}", size=size, architecture=f"a{n}")
        for n, size in enumerate(sizes)
    )
    known = None if None in sizes else sum(size or 0 for size in sizes)
    return image(platforms=parts, size=known, **more)


def created(*dates: str | None, **more: Any) -> Record:
    parts = tuple(platform(f"{n}", created=date) for n, date in enumerate(dates))
    return image(platforms=parts, **more)


def on(*architectures: str, **more: Any) -> Record:
    return image(architectures=architectures, **more)


def with_access(state: AccessState, *actions: str) -> Record:
    access = Access(
        state=state,
        actions=actions,
        subject=None,
        issuer=None,
        verified=False,
        credential=None,
    )
    return image(access=access)


def attached(
    *things: tuple[AttachmentKind, str | None, str | None],
    predicates: tuple[str, ...] | None = None,
    platforms: tuple[PlatformRecord, ...] | None = None,
) -> Record:
    attachments = tuple(
        Attachment(
            kind=kind,
            artifact_type=kind_of,
            digest=digest("9"),
            subject=subject,
            predicates=predicates,
        )
        for kind, kind_of, subject in things
    )
    parts = platforms or (platform("a"), platform("b", architecture="arm64"))
    return image(platforms=parts, attachments=attachments)


def stale(is_stale: bool | None) -> BaseCheck:
    return BaseCheck(
        name="debian:12",
        reference="docker.io/library/debian:12",
        digest=digest("0"),
        current_digest=digest("1"),
        is_stale=is_stale,
        platforms=("linux/amd64",),
        detail=None if is_stale is not None else "timeout",
    )


def without_base(digit: str, ends: str | None = None) -> ImageRecord:
    """An image with layers that no other one has, and an end of its support."""
    lifecycle = Attachment(
        kind=AttachmentKind.ARTIFACT,
        artifact_type="application/vnd.microsoft.artifact.lifecycle",
        digest=digest("9"),
        subject=None,
        predicates=None,
        annotations={"vnd.microsoft.artifact.lifecycle.end-of-life.date": ends or ""},
    )
    part = platform(digit, layers=(layer(digit),))
    return image(
        digest=digest(digit),
        platforms=(part,),
        attachments=(lifecycle,) if ends else (),
    )


SIGNATURE, SBOM = AttachmentKind.SIGNATURE, AttachmentKind.SBOM
ATTESTATION, ARTIFACT = AttachmentKind.ATTESTATION, AttachmentKind.ARTIFACT
BY_BUILDKIT = (
    (ATTESTATION, None, digest("a")),
    (ATTESTATION, None, digest("b")),
)
BOTH_SIDES = 'required_platforms = ["linux/amd64", "linux/arm64"]'


# The rule, a record, and the violations.
def labelled(*labels: dict[str, str] | None, **more: Any) -> ImageRecord:
    parts = tuple(
        platform(
            f"{n}",
            architecture=f"a{n}",
            config=ConfigDetails(user=None, history=0, labels=one),
        )
        for n, one in enumerate(labels)
    )
    return image(platforms=parts, **more)


def attested(*predicates: str, **more: Any) -> Record:
    """An image with an attestation of each platform that was looked into."""
    found = attached(*BY_BUILDKIT)
    assert isinstance(found, ImageRecord)
    return replace(
        found,
        attachments=tuple(
            replace(one, predicates=predicates) for one in found.attachments
        ),
        **more,
    )


SLSA, SPDX = "https://slsa.dev/provenance/v1", "https://spdx.dev/Document"
NEEDS_BOTH = 'required_attachments = ["provenance", "sbom"]'

VIOLATIONS: list[tuple[str, Record, list[str]]] = [
    (BOTH_SIDES, on("linux/amd64"), ["linux/arm64"]),
    (BOTH_SIDES, on("linux/amd64", "linux/arm64"), []),
    (BOTH_SIDES, on("linux/amd64", "linux/arm64/v8"), []),
    (BOTH_SIDES, on("linux/amd64", "linux/arm/v7"), ["linux/arm64"]),
    ('required_platforms = ["linux/arm64/v8"]', on("linux/arm64"), []),
    # a client takes its own variant and those below (containerd/platforms, compare.go)
    ('required_platforms = ["linux/arm/v7"]', on("linux/arm/v6"), []),
    ('required_platforms = ["linux/arm/v6"]', on("linux/arm/v7"), ["linux/arm/v6"]),
    ('required_platforms = ["linux/arm"]', on("linux/arm/v8"), ["linux/arm/v7"]),
    ('required_platforms = ["linux/amd64"]', on("linux/amd64/v3"), ["linux/amd64"]),
    ('required_platforms = ["linux/amd64"]', on("linux/amd64/v2", "linux/amd64"), []),
    ('required_platforms = ["linux/amd64/v3"]', on("linux/amd64/v2"), []),
    ('required_platforms = ["linux/arm64"]', on("linux/arm64/v9"), ["linux/arm64"]),
    ('required_platforms = ["linux/arm64/v9"]', on("linux/arm64/v8.5"), []),
    ('required_platforms = ["linux/arm64"]', on("linux/arm64/v8.0"), []),
    # other architectures that many of the machines can run
    ('required_platforms = ["linux/amd64"]', on("linux/386"), ["linux/amd64"]),
    ('required_platforms = ["linux/arm64"]', on("linux/arm/v8"), ["linux/arm64"]),
    ('required_platforms = ["Linux/x86-64"]', on("linux/amd64"), []),
    # what the registry has lost, and an index that lists nothing
    (BOTH_SIDES, on("linux/amd64", platforms=(platform(),
     platform("b", os=None, architecture=None, layers=None, config_digest=None))),
     ["linux/arm64"]),
    ('required_platforms = ["linux/amd64"]',
     on(platforms=(), content=ContentKind.UNKNOWN, size=0), ["linux/amd64"]),
    (BOTH_SIDES, on(**CHART, media_type=None), []),
    # signature tags, and the referrers fallback tag with an image config
    (BOTH_SIDES, image(**SIGNATURE_TAG), []),
    (BOTH_SIDES, on("linux/amd64", content=ContentKind.ATTACHMENT), []),
    ('max_age = "1 day"', created(DATED, **SIGNATURE_TAG), []),
    ('required_annotations = ["owner"]', image(**SIGNATURE_TAG), []),
    ('required_attachments = ["signature"]', image(**SIGNATURE_TAG), []),
    ('required_attachments = ["signature"]', image(signed=False, **CHART),
     ["signature"]),
    # what is written otherwise in the policy, or in a report of an earlier version
    ('required_platforms = ["linux/aarch64", "linux/x86_64/v1"]',
     on("linux/amd64", "linux/arm64"), []),
    (BOTH_SIDES, on("linux/x86_64", "linux/arm64/8"), []),
    ('required_platforms = ["linux/arm"]', on("linux/arm/v6"), []),
    ('required_platforms = ["linux/arm/v7"]', on("linux/arm"), []),
    ('required_platforms = ["linux/arm"]', on("linux/arm64"), ["linux/arm/v7"]),
    # an index that calls itself an artifact is still there for its platforms only
    (BOTH_SIDES, on("linux/amd64", artifact_type="x"), ["linux/arm64"]),
    (BOTH_SIDES, failure(), []),
    ('forbidden_media_types = ["schema1"]', image(), []),
    ('forbidden_media_types = ["schema1"]', image(media_type=SCHEMA1), [SCHEMA1]),
    (
        'forbidden_media_types = ["schema1"]',
        image(platforms=(platform(media_type=SCHEMA1),)),
        [SCHEMA1],
    ),
    ('forbidden_media_types = ["*.tar+gzip"]', image(), [OCI_LAYER]),
    (f'forbidden_layers = ["{digest("2")}"]', image(), [digest("2")]),
    (f'forbidden_layers = ["{digest("9")}"]', image(), []),
    # algorithms that an audit records without verifying: descriptor.md, blake3
    (f'forbidden_layers = ["{BLAKE3}"]', image(platforms=(platform(layers=(
        replace(layer("1"), digest=BLAKE3),)),)), [BLAKE3]),
    (f'forbidden_layers = ["{SHA384}"]', image(), []),
    ('max_size = "300 B"', sized(100, 200), []),
    ('max_size = "0.2 kB"', sized(100, 200), ["300 bytes"]),
    ("max_size = 200", sized(100, 200), ["300 bytes"]),
    ("max_platform_size = 200", sized(100, 200), []),
    ("max_platform_size = 150", sized(100, 200), ["linux/a1 200 bytes"]),
    ('max_platform_size = "1 KiB"', sized(1025), ["linux/a0 1.0 kB"]),
    ("max_layers = 2", image(), []),
    ("max_layers = 1", image(), ["linux/amd64 2"]),
    ('max_age = "180 days"', created(DATED), []),
    ('max_age = "25 weeks"', created(DATED), ["linux/amd64 of 2026-05-28"]),
    ('max_age = "36 hours"', created("2026-11-22T14:00:00Z"), []),
    (
        'max_age = "36 hours"',
        created("2026-11-22T13:59:59Z"),
        ["linux/amd64 of 2026-11-22"],
    ),
    ('max_age = "36 hours"', created("2026-11-22T16:00:00+02:00"), []),
    (
        'max_age = "1 day"',
        created(None, annotations={"org.opencontainers.image.created": DATED}),
        ["linux/amd64 of 2026-05-28"],
    ),
    ('required_annotations = ["owner"]', image(annotations={"owner": "me"}), []),
    ('required_annotations = ["owner"]', image(annotations={"owner": ""}), ["owner"]),
    ('required_annotations = ["owner"]', image(), ["owner"]),
    (
        'required_annotations = {owner = "team-*"}',
        image(annotations={"owner": "me"}),
        ["owner"],
    ),
    (
        'required_annotations = {owner = "team-*"}',
        image(annotations={"owner": "team-a"}),
        [],
    ),
    ('required_attachments = ["signature"]', image(), ["signature"]),
    (
        'required_attachments = ["signature", "sbom"]',
        attached((SIGNATURE, None, digest("e")), (SBOM, None, digest("e"))),
        [],
    ),
    # read, and without a subject: about the index that lists it
    ('required_attachments = ["sbom"]',
     attached((SBOM, None, None), predicates=()), []),
    # one platform only: there is no other that it could be about
    ('required_attachments = ["sbom"]',
     attached((SBOM, None, None), platforms=(platform("a"),)), []),
    # a platform that the registry has lost needs no signature
    ('required_attachments = ["signature"]',
     attached((SIGNATURE, None, digest("a")), platforms=(
         platform("a"), platform("b", layers=None, config_digest=None))), []),
    (
        'required_attachments = ["signature"]',
        attached((ARTIFACT, NOTATION, digest("e"))),
        [],
    ),
    # about one of the two platforms only
    (
        'required_attachments = ["signature"]',
        attached((SIGNATURE, None, digest("a"))),
        ["signature"],
    ),
    ('required_attachments = ["attestation"]', attached(*BY_BUILDKIT), []),
    (
        'required_attachments = ["attestation"]',
        attached(*BY_BUILDKIT[:1]),
        ["attestation"],
    ),
    (
        'required_attachments = ["provenance"]',
        attached((ARTIFACT, "application/vnd.slsa.provenance+json", digest("e"))),
        [],
    ),
    ('allowed_grants = ["pull"]', image(access=ACCESS), []),
    ('allowed_grants = ["pull"]', with_access(AccessState.ANONYMOUS), []),
    (
        'allowed_grants = ["pull"]',
        with_access(AccessState.GRANTED, "pull", "push", "*"),
        ["push", "*"],
    ),
    ("forbid_failures = true", image(), []),
    (
        "forbid_failures = true",
        failure(detail="nobody is there"),
        ["not_found: nobody is there"],
    ),
    ('forbid_failures = ["denied"]', failure(), []),
    (
        "forbid_failures = true",
        failure(),
        ["not_found: not found, or not visible to this account (404)"],
    ),
]  # fmt: skip

VIOLATIONS += [
    ('required_labels = ["team"]', labelled({"team": "blue"}), []),
    ('required_labels = ["team"]', labelled({"team": ""}), ["team"]),
    ('required_labels = ["team"]', labelled({}), ["team"]),
    ('required_labels = ["team"]', labelled({"team": "a"}, {}), ["team"]),
    ('required_labels = {team = "b*"}', labelled({"team": "a"}), ["team"]),
    ('required_labels = {team = "b*", cost = "?"}',
     labelled({"team": "blue", "cost": "7"}), []),
    ('required_labels = ["team"]',
     labelled(None, **CHART, architectures=()), []),
    (NEEDS_BOTH, attested(SLSA, SPDX), []),
    (NEEDS_BOTH, attested(SLSA), ["sbom"]),
    (NEEDS_BOTH, attested("https://cyclonedx.org/bom"), ["provenance"]),
    # an audit that looked everywhere has the answer
    ('required_attachments = ["signature"]', image(signed=True), []),
    ('required_attachments = ["signature"]', image(signed=False), ["signature"]),
    (NEEDS_BOTH, image(has_sbom=True, has_provenance=False), ["provenance"]),
    (NEEDS_BOTH, attested(has_sbom=False, has_provenance=True), ["sbom"]),
]  # fmt: skip


def based(*bases: tuple[str | None, str | None], **more: Any) -> Record:
    parts = tuple(
        platform(
            f"{n}", architecture=f"a{n}", base=BaseImage(name=name, digest=base_digest)
        )
        for n, (name, base_digest) in enumerate(bases)
    )
    return image(platforms=parts, **more)


def run_as(*users: str | None, **more: Any) -> Record:
    parts = tuple(
        platform(
            f"{n}",
            architecture=f"a{n}",
            config=ConfigDetails(user=user, history=0, labels=None),
        )
        for n, user in enumerate(users)
    )
    return image(platforms=parts, **more)


def warned(*codes: WarningCode) -> Record:
    return image(warnings=tuple(Warn(code=one, detail="why") for one in codes))


DEBIAN, ALPINE = "docker.io/library/debian:12", "docker.io/library/alpine:3"
WINDOWS = platform(
    os="windows", config=ConfigDetails(user=None, history=0, labels=None)
)
VIOLATIONS += [
    ('forbidden_bases = ["*/debian:1?"]', based((ALPINE, None)), []),
    ('forbidden_bases = ["*/debian:1?"]', based((DEBIAN, None)), [DEBIAN]),
    ('forbidden_bases = ["*/debian:1?"]',
     based((ALPINE, None), (DEBIAN, digest("7"))), [DEBIAN]),
    (f'forbidden_bases = ["{digest("7")}"]',
     based((DEBIAN, digest("7"))), [digest("7")]),
    ('allowed_bases = ["*/debian:*"]', based((DEBIAN, digest("7"))), []),
    ('allowed_bases = ["*/debian:*"]', based((DEBIAN, None), (ALPINE, None)), [ALPINE]),
    (f'allowed_bases = ["{digest("7")}"]', based((ALPINE, digest("7"))), []),
    (f'allowed_bases = ["{digest("7")}"]', based((None, digest("8"))), [digest("8")]),
    ('allowed_bases = ["*"]', image(**CHART, architectures=()), []),
    ("forbid_root = true", run_as("app", "1000:0", "rooty", "00a"), []),
    ("forbid_root = true", run_as(None), ["linux/a0"]),
    ("forbid_root = true", run_as("app", "0:0", "root", "root:wheel", "0", ""),
     [f"linux/a{n}" for n in range(1, 6)]),
    ("forbid_root = true", run_as(None, **CHART, architectures=()), []),
    ("forbid_root = true", image(platforms=(WINDOWS,)), []),
    ("forbid_end_of_life = true", without_base("8", ends="2026-01-31"),
     ["on 2026-01-31, by its lifecycle artifact"]),
    ('forbid_end_of_life = "52 weeks"', without_base("6", ends="2026-01-31"), []),
    ("forbid_stale_base = true", image(bases=(stale(False),)), []),
    ("forbid_stale_base = true", image(bases=(stale(False), stale(True))),
     [f"docker.io/library/debian:12 is now {digest('1')}"]),
    ("forbid_stale_base = true", image(**CHART), []),
    ("forbid_warnings = true", image(), []),
    ("forbid_warnings = true", warned(WarningCode.BLOB_MISSING), ["blob_missing: why"]),
    ('forbid_warnings = ["blob_missing", "child_missing"]',
     warned(WarningCode.PLATFORM_UNKNOWN, WarningCode.CHILD_MISSING),
     ["child_missing: why"]),
    ('forbid_warnings = ["blob_missing"]', failure(), []),
]  # fmt: skip


# AT is 2026-11-24: the last push and the last pull of a listing.
def listed(pushed: str | None, pulled: str | None = None, **more: Any) -> Record:
    return image(pushed_at=pushed, pulled_at=pulled, **more)


OLD, LATE = "2026-05-28T02:00:00Z", "2026-11-20T02:00:00Z"
VIOLATIONS += [
    # built before it was pushed
    ('max_age = "9 days"', listed(OLD), ["linux/amd64 pushed on 2026-05-28"]),
    ('max_pushed_age = "180 days"', listed(OLD), []),
    ('max_pushed_age = "179 days"', listed(OLD), ["on 2026-05-28"]),
    ('max_pushed_age = "9 days"', listed(OLD, **SIGNATURE_TAG), []),
    ('max_unpulled = "9 days"', listed(OLD, OLD), ["since 2026-05-28"]),
    ('max_unpulled = "9 days"', listed(None, OLD), ["since 2026-05-28"]),
    ('max_unpulled = "9 days"', listed(OLD, LATE), []),
    # nobody had the time to pull it
    ('max_unpulled = "9 days"', listed(LATE, OLD), []),
    ('max_unpulled = "9 days"', listed(LATE, None), []),
    ('max_unpulled = "9 days"', listed(OLD, OLD, **SIGNATURE_TAG), []),
]


def signature(state: SignatureState, reason: str | None = None) -> ImageSignature:
    return ImageSignature(
        digest=digest("9"),
        format=SignatureFormat.COSIGN,
        state=state,
        keys=(),
        reason=reason,
        identity=None,
        signed_at=None,
    )


def verified(
    by: Sequence[str], not_by: Sequence[str], *found: ImageSignature, **more: Any
) -> Record:
    return image(
        verified_by=tuple(by), not_verified_by=tuple(not_by), signatures=found, **more
    )


SIGNED = 'required_signature = ["release", "qa"]'
VIOLATIONS += [
    (SIGNED, verified(["release", "qa", "x"], []), []),
    (SIGNED, verified(["release"], ["qa"]), ["qa (none is attached)"]),
    (SIGNED, verified([], ["qa", "release"], **SIGNATURE_TAG), []),
    (
        SIGNED,
        verified(
            ["release"],
            ["qa"],
            signature(SignatureState.VERIFIED),
            signature(SignatureState.INVALID, "why"),
        ),
        ["qa (cosign invalid: why; cosign verified)"],
    ),
]

NO_AGE = ["the age of linux/amd64"]
# The rule, a record, and what the report does not contain.
UNKNOWN: list[tuple[str, Record, list[str]]] = [
    ('max_age = "180 days"', created(None), NO_AGE),
    # dates of builds that are reproducible to the byte
    ('max_age = "180 days"', created("1970-01-01T00:00:00Z"), NO_AGE),
    # A false date would make an image young for ever.
    (
        'max_age = "180 days"',
        created("2099-01-01T00:00:00Z"),
        ["the age of linux/amd64 (created in the future: 2099-01-01)"],
    ),
    ('max_age = "180 days"', created("0001-01-01T00:00:00Z"), NO_AGE),
    ('max_age = "180 days"', created("yesterday"), NO_AGE),
    ('max_age = "9 days"', listed(LATE), NO_AGE),
    ('max_pushed_age = "9 days"', listed(None, LATE), ["when it was pushed"]),
    ('max_unpulled = "9 days"', listed(None), ["when it was last pulled"]),
    (
        'max_unpulled = "9 days"',
        listed(OLD),
        ["when it was last pulled (pushed on 2026-05-28)"],
    ),
    # audited without a signature policy, or by an earlier version
    (SIGNED, image(signed=True), [
        "whether it is signed by release", "whether it is signed by qa"]),
    # not all signatures could be read; or the policy has no such key
    (SIGNED, verified(["release"], []), ["whether it is signed by qa"]),
    ("max_size = 10", sized(None), ["its size"]),
    ("max_platform_size = 200", sized(100, None), ["the size of linux/a1"]),
    ("max_layers = 9", EVERYTHING, ["the layers of windows/amd64"]),
    (f'forbidden_layers = ["{digest("9")}"]', EVERYTHING, ["windows/amd64"]),
    (
        'allowed_grants = ["pull"]',
        with_access(AccessState.UNVERIFIABLE),
        ["the grants of the token"],
    ),
    ('required_labels = ["team"]', labelled(None), ["the labels of linux/a0"]),
    ('required_labels = ["team"]', image(), ["the labels of linux/amd64"]),
    (BOTH_SIDES, on("linux/amd64", platforms_left_out=1), ["linux/arm64"]),
    ('forbidden_bases = ["*"]', image(), ["the base of linux/amd64"]),
    ('allowed_bases = ["*"]', based((None, None)), ["the base of linux/a0"]),
    ("forbid_root = true", image(), ["the user of linux/amd64"]),
    ("forbid_end_of_life = true", without_base("7"), ["the end of its support"]),
    ("forbid_stale_base = true", image(), ["whether its base has moved"]),
    ("forbid_stale_base = true", image(bases=()), ["the base of linux/amd64"]),
    ("forbid_stale_base = true", image(bases=(stale(None),), bases_left_out=2),
     ["whether docker.io/library/debian:12 has moved: timeout", "2 more base images"]),
    (
        'required_attachments = ["sbom"]',
        attached(*BY_BUILDKIT),
        ["whether an attestation is an SBOM"],
    ),
    # listed by the index without a subject, and not read: perhaps of one platform
    *(
        (f'required_attachments = ["{kind}"]', attached((kind, None, None)),
         [f"of which platform an attachment is: {kind}"])
        for kind in (SIGNATURE, SBOM, ATTESTATION)
    ),
    ('required_attachments = ["attestation"]',
     attached((ATTESTATION, None, None), predicates=(SPDX,)),
     ["of which platform an attachment is: attestation"]),
    # nobody has named the platform, or its operating system
    *(
        (BOTH_SIDES, on(*known, platforms=(platform(os=os, architecture=name),)), found)
        for known, os, name, found in (
            ((), None, None, ["linux/amd64", "linux/arm64"]),
            ((), None, "amd64", ["linux/amd64", "linux/arm64"]),
            ((), "unknown", "unknown", ["linux/amd64", "linux/arm64"]),
            (("linux/amd64",), "linux", None, ["linux/arm64"]),
        )
    ),
    ('required_platforms = ["linux/amd64"]',
     on(platforms=(), content=ContentKind.UNKNOWN, size=None), ["linux/amd64"]),
]  # fmt: skip


def section(rule: str) -> str:
    return f"[rules.all]\n{rule}\n"


@pytest.fixture(scope="module")
def by_section(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Violation]]:
    """The violations of all cases, found in one check: a tenth of a second each alone.

    Each record is in a registry of its own, to which the section of its case applies.
    """
    cases = {
        **{f"case-{n}": case for n, case in enumerate(VIOLATIONS)},
        **{f"unknown-{n}": case for n, case in enumerate(UNKNOWN)},
    }
    sections, records = [], []
    for name, (rule, record, _) in cases.items():
        host = f"{name}.example.com"
        limited = f'repositories = ["{host}/*"]\n{rule}\n'
        sections.append(f"[rules.{name}]\n{limited}")
        if name.startswith("unknown"):
            sections.append(f'[rules.ignored-{name}]\n{limited}unknown = "ignore"\n')
        reference = record.reference.replace("r.example.com", host)
        records.append(replace(record, registry=host, reference=reference))
    found: dict[str, list[Violation]] = defaultdict(list)
    folder = tmp_path_factory.mktemp("rules")
    for one in violations_of(folder, "".join(sections), records):
        assert one.registry == f"{one.rule.section.name}.example.com"
        found[one.rule.section.name].append(one)
    return found


@pytest.mark.parametrize("number", range(len(VIOLATIONS)))
def test_a_rule_finds_its_violations(
    number: int, by_section: dict[str, list[Violation]]
) -> None:
    _, _, found = VIOLATIONS[number]
    violations = by_section.get(f"case-{number}", [])
    assert [list(one.found) for one in violations] == ([found] if found else [])
    assert all(one.known for one in violations)


@pytest.mark.parametrize("number", range(len(UNKNOWN)))
def test_what_the_report_does_not_contain_violates_a_rule(
    number: int, by_section: dict[str, list[Violation]]
) -> None:
    _, _, unknown = UNKNOWN[number]
    (violation,) = by_section[f"unknown-{number}"]
    assert (violation.known, list(violation.found)) == (False, unknown)
    assert violation.detail.startswith("not in the report: ")


@pytest.mark.parametrize("number", range(len(UNKNOWN)))
def test_what_the_report_does_not_contain_can_be_ignored(
    number: int, by_section: dict[str, list[Violation]]
) -> None:
    assert f"unknown-{number}" in by_section
    assert f"ignored-unknown-{number}" not in by_section


def test_a_line_that_is_no_reference_violates_a_rule(tmp_path: Path) -> None:
    failed = failure(reference="no ref", registry=None, repository=None, tag=None)
    (found,) = violations_of(tmp_path, section("forbid_failures = true"), [failed])
    assert (found.reference, found.known) == ("no ref", True)
    assert found.found == (f"not_found: {failed.detail}",)


@pytest.mark.parametrize(
    ("records", "missing"),
    [
        ([labelled({"cost": "7"}), labelled({})], ["team"]),
        ([labelled({}), labelled({})], ["team", "cost"]),
        ([labelled({"team": "a"}), labelled({"cost": "7"})], []),
        ([labelled(None)], []),
    ],
)
def test_a_required_label_that_no_image_has_is_a_notice(
    tmp_path: Path, records: list[ImageRecord], missing: list[str]
) -> None:
    numbered = [
        replace(record, reference=f"r.example.com/team/app:{n}")
        for n, record in enumerate(records)
    ]
    text = section('required_labels = ["team", "cost"]')
    with findings_of(tmp_path, text, numbered) as findings:
        notices = [one for one in findings.notices() if ": unknown for " not in one]
        assert notices == [
            f"all.required_labels: no image has the label {name}; if the audit did not"
            f" ask for it, audit with --label {name}"
            for name in missing
        ]


def test_a_known_violation_takes_precedence_over_unknown_values(
    tmp_path: Path,
) -> None:
    rule = "max_platform_size = 50"
    (violation,) = violations_of(tmp_path, section(rule), [sized(100, None)])
    assert violation.known
    assert violation.detail == "is larger than 50: linux/a0 100 bytes"


def tagged(tag: str, **more: Any) -> dict[str, Any]:
    return {"reference": f"r.example.com/team/app:{tag}", "tag": tag, **more}


@pytest.mark.parametrize(
    ("records", "alone"),
    [
        ([image(**tagged("latest"))], True),
        ([image(**tagged("latest")), image(**tagged("1"))], False),
        ([image(**tagged("1"))], False),
        ([failure(repository="team/app", **tagged("latest"))], False),
        # a missing tag does not count, and an unreadable one does
        (
            [image(**tagged("latest")), failure(repository="team/app", **tagged("1"))],
            True,
        ),
        (
            [
                image(**tagged("latest")),
                failure(
                    repository="team/app", failure=FailureKind.DENIED, **tagged("1")
                ),
            ],
            False,
        ),
        # tags of other repositories do not count
        ([image(**tagged("latest")), image(repository="team/b")], True),
        # a digest is not a tag
        (
            [
                image(**tagged("latest")),
                image(reference=f"r.example.com/team/app@{digest('e')}", tag=None),
            ],
            True,
        ),
    ],
)
def test_a_repository_with_only_latest_is_a_violation(
    tmp_path: Path, records: list[Record], alone: bool
) -> None:
    violations = violations_of(tmp_path, section("forbid_latest_only = true"), records)
    found = [(one.reference, one.detail) for one in violations]
    assert found == [("r.example.com/team/app", "has no tag except latest")] * alone


@pytest.mark.parametrize(
    ("before", "now", "moved"),
    [
        (image(**tagged("v1")), image(**tagged("v1")), False),
        (image(**tagged("v1")), image(**tagged("v1", digest=digest("f"))), True),
        (image(**tagged("dev")), image(**tagged("dev", digest=digest("f"))), False),
        (failure(**tagged("v1")), image(**tagged("v1")), False),
        (image(**tagged("v1")), failure(**tagged("v1")), False),
        (image(**tagged("v1")), image(**tagged("v2", digest=digest("f"))), False),
    ],
)
def test_a_moved_immutable_tag_is_a_violation(
    tmp_path: Path, before: Record, now: Record, moved: bool
) -> None:
    rule = section('immutable_tags = ["v[0-9]*"]')
    violations = violations_of(tmp_path, rule, [now], earlier=[before])
    found = [one.detail for one in violations]
    assert found == [f"has moved from {digest('e')} to {digest('f')}"] * moved


def test_the_last_of_several_earlier_lines_of_a_tag_counts(tmp_path: Path) -> None:
    old = image(**tagged("v1", digest=digest("f"), audited_at="2026-11-01T00:00:00Z"))
    new = image(**tagged("v1"))
    rule = section('immutable_tags = ["*"]')
    assert violations_of(tmp_path, rule, [new], earlier=[new, old]) == []


def test_the_last_of_several_lines_of_a_reference_counts(tmp_path: Path) -> None:
    rule = section("forbid_failures = true")
    failed = failure(**tagged("1"), audited_at="2026-11-01T00:00:00Z")
    assert violations_of(tmp_path, rule, [failed, image()]) == []


def test_a_layer_of_several_platforms_is_listed_once(tmp_path: Path) -> None:
    rule = section(f'forbidden_layers = ["{digest("1")}"]')
    shared = (layer("1"),)
    parts = (platform("a", layers=shared), platform("b", layers=shared))
    (violation,) = violations_of(tmp_path, rule, [image(platforms=parts)])
    assert violation.found == (digest("1"),)


def test_every_rule_is_tested_here() -> None:
    rules = {rule.partition(" ")[0] for rule, _, _ in VIOLATIONS}
    elsewhere = {"forbid_latest_only", "immutable_tags"}
    # test_package_outcomes.py
    assert rules | elsewhere | {"forbidden_packages"} == RULES.keys()


@pytest.mark.parametrize(("subjects", "count"), [("a", 1), ("ab", 0)])
def test_an_alternative_of_a_platform_needs_its_attachment_too(
    tmp_path: Path, subjects: str, count: int
) -> None:
    other = Alternative(
        digest=digest("b"),
        media_type=None,
        config_digest=None,
        size=1,
        layers=(),
        layer_traits=(),
    )
    found = attached(*((ATTESTATION, None, digest(one)) for one in subjects))
    assert isinstance(found, ImageRecord)
    record = replace(found, platforms=(platform("a", alternatives=(other,)),))
    text = '[rules.a]\nrequired_attachments = ["attestation"]'
    assert len(violations_of(tmp_path, text, [record])) == count


def test_a_signature_tag_is_no_further_tag(tmp_path: Path) -> None:
    rule = "[rules.a]\nforbid_latest_only = true\n"
    latest = image(tag="latest", reference="r.example.com/team/app:latest")
    found = violations_of(tmp_path, rule, [latest, image(**SIGNATURE_TAG)])
    assert [one.found for one in found] == [("latest",)]


def test_a_signature_tag_may_move(tmp_path: Path) -> None:
    # cosign adds further signatures to the same manifest.
    rule = "[rules.a]\nimmutable_tags = ['*']\n"
    before = image(**SIGNATURE_TAG, digest=digest("7"))
    assert not violations_of(tmp_path, rule, [image(**SIGNATURE_TAG)], earlier=[before])


@pytest.mark.parametrize(
    "rule", ["max_layers = 1", f'forbidden_layers = ["{digest("9")}"]']
)
def test_layers_that_were_left_out_are_unknown(rule: str, tmp_path: Path) -> None:
    """Schema 1 has no config, which elsewhere tells that the manifest is there."""
    schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    one = replace(platform("a"), layers=None, config_digest=None, media_type=schema1)
    assert one.is_present
    (found,) = violations_of(tmp_path, f"[rules.a]\n{rule}", [image(platforms=(one,))])
    assert not found.known
