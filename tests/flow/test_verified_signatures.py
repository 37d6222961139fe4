"""Signatures of cosign and notation are verified with the keys of a policy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor.audit.job import open_job
from auditor.audit.signatures import MAX_RECORDED, MAX_SIGNATURES
from auditor.config import AttachmentMode, Settings, record_settings, signature_policy
from auditor.config.signature_policy import SignaturePolicy, load_signature_policy
from auditor.demo.demo_registry import DemoContent, DemoRepository
from auditor.demo.image_builder import BuiltBlob, BuiltImage, image, json_manifest
from auditor.model import (
    ImageRecord,
    ImageSignature,
    SignatureFormat,
    SignatureState,
    WarningCode,
)
from auditor.oci.cosign_signature import SIGNATURE
from auditor.oci.descriptor import sha256_digest
from auditor.util.clock import SystemClock
from tests.flow.commands import auditor
from tests.flow.harness import BLOBS, MANIFESTS, Lab, lab
from tests.support.attached_images import SIMPLE_SIGNING, cosign_signature, digest_tag
from tests.support.fault_actions import Answer
from tests.support.registry import Behaviour
from tests.support.signed_images import (
    NAMES,
    NOTATION_NAMES,
    add_case,
    contents,
    image_digest,
    signed_content,
    write_policy,
)

pytestmark = pytest.mark.anyio

VERIFIED = SignatureState.VERIFIED
REFERRERS = "/v2/*/referrers/*"
# Each case: the signatures that the programs made, and by which keys.
CASES = {
    **{f"cosign-{name}": (name,) for name in NAMES if name != "ed25519"},
    "cosign-two": ("p256", "rsa"),
    "cosign-referrer": ("p256",),
    "bundle-p256": ("p256",),
    "bundle-rsa": ("rsa",),
    **{f"notation-{name}": (name,) for name in NOTATION_NAMES},
}


async def audited(here: Lab, name: str, policy: Path, **changes: Any) -> ImageRecord:
    reference = here.ref(name)
    return (await here.audit(reference, verify_signatures=str(policy), **changes)).image


def states(record: ImageRecord) -> list[SignatureState]:
    return [one.state for one in record.signatures or ()]


@pytest.mark.parametrize("has_api", [True, False])
async def test_what_the_real_programs_signed_is_verified(
    has_api: bool, tmp_path: Path
) -> None:
    policy = write_policy(tmp_path)
    content = signed_content(*CASES)
    async with lab(content, behaviour=Behaviour(referrers=has_api)) as here:
        outcome = await here.audit(
            *(here.ref(f"signed/{case}:1") for case in CASES),
            verify_signatures=str(policy),
        )
    for record, (case, names) in zip(outcome.records, CASES.items(), strict=True):
        assert isinstance(record, ImageRecord)
        assert record.verified_by == names, (case, record.signatures)
        assert record.signed is True
        assert record.not_verified_by == tuple(
            name for name in NAMES if name not in names
        )
        assert states(record) == [VERIFIED] * len(names)
        assert record.warnings == ()


@pytest.mark.parametrize(
    ("case", "word"),
    [
        ("cosign-ed25519", "Ed25519ph"),
        ("bundle-ed25519", "Ed25519ph"),
        ("notation-cose", "COSE"),
    ],
)
async def test_what_cannot_be_verified_is_neither_valid_nor_invalid(
    case: str, word: str, tmp_path: Path
) -> None:
    async with lab(signed_content(case)) as here:
        record = await audited(here, f"signed/{case}:1", write_policy(tmp_path))
    assert record.verified_by == ()
    assert states(record) == [SignatureState.UNVERIFIABLE]
    assert record.signatures is not None
    assert word in (record.signatures[0].reason or "")
    assert record.signed is True


async def test_a_signature_by_another_key_is_untrusted(tmp_path: Path) -> None:
    policy = write_policy(tmp_path, "p384")
    async with lab(signed_content("cosign-two", "notation-rsa")) as here:
        cosign = await audited(here, "signed/cosign-two:1", policy)
        notation = await audited(here, "signed/notation-rsa:1", policy)
    assert (cosign.verified_by, cosign.not_verified_by) == ((), ("p384",))
    assert states(cosign) == [SignatureState.UNTRUSTED] * 2
    assert states(notation) == [SignatureState.UNTRUSTED]


@pytest.mark.parametrize("case", ["cosign-p256", "bundle-p256", "notation-p256"])
async def test_a_signature_copied_from_another_image_is_invalid(
    case: str, tmp_path: Path
) -> None:
    content = DemoContent()
    stored = add_case(content, case, "team/app")
    other = content.add("team/app", image("another"), "1").root
    # Attached to the other image in each way there is.
    signed = image_digest()
    for digest, one in list(stored.manifests.items()):
        if one.subject == signed:
            stored.manifests[digest] = replace(one, subject=other.digest)
    for tag in [one for one in stored.tags if one.startswith("sha256-")]:
        suffix = tag.removeprefix(signed.replace(":", "-"))
        stored.tags[digest_tag(other, suffix)] = stored.tags.pop(tag)
    async with lab(content) as here:
        record = await audited(here, "team/app:1", write_policy(tmp_path))
    assert record.digest == other.digest
    assert record.signed is True
    assert record.verified_by == ()
    assert states(record) == [SignatureState.INVALID]
    assert record.signatures is not None
    assert signed in (record.signatures[0].reason or "")


async def test_an_image_without_signatures_is_not_verified(tmp_path: Path) -> None:
    content = DemoContent()
    content.add("team/app", image("app"), "1")
    async with lab(content) as here:
        record = await audited(here, "team/app:1", write_policy(tmp_path, "p256"))
    assert (record.verified_by, record.not_verified_by) == ((), ("p256",))
    assert record.signatures == ()


async def test_what_the_policy_does_not_name_costs_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = '[images.others]\nrepositories = ["prod/*"]\nkeys = ["p256"]\n'
    policy = write_policy(tmp_path, "p256", more=more)
    async with lab(signed_content("cosign-p256")) as here:
        record = await audited(here, "signed/cosign-p256:1", policy)
        assert here.faults.count("*", REFERRERS) == 0
        assert here.faults.count("*", BLOBS) == 0
    assert record.verified_by is None
    assert record.not_verified_by is None
    assert record.signatures is None
    assert caplog.messages == [
        "no signature was verified: the signature policy names none of the"
        " repositories of 1 image"
    ]


async def test_a_signature_is_fetched_once_for_all_tags_and_nights(
    tmp_path: Path,
) -> None:
    content = signed_content("cosign-two")
    stored = content.repository("signed/cosign-two")
    stored.tags["2"] = stored.tags["1"]
    options: dict[str, Any] = {
        "verify_signatures": str(write_policy(tmp_path)),
        "cache": str(tmp_path / "cache"),
    }
    async with lab(content) as here:
        names = [here.ref(f"signed/cosign-two:{tag}") for tag in "12"]
        await here.audit(*names, **options)
        payloads = {sha256_digest(raw) for raw in contents().values()}
        before = [one for one in here.targets(BLOBS) if one[-71:] in payloads]
        assert len(before) == len(set(before))
        here.faults.log.clear()
        again = await here.audit(*names, **options)
        assert here.targets(BLOBS) == []
        # HEAD: the tag, and that of the signatures, which can move.
        assert here.faults.count("GET", MANIFESTS) == 0
    for record in again.records:
        assert isinstance(record, ImageRecord)
        assert record.verified_by == ("p256", "rsa")


async def test_a_signature_that_cannot_be_fetched_leaves_its_key_unknown(
    tmp_path: Path,
) -> None:
    async with lab(signed_content("cosign-p256")) as here:
        here.faults.on("GET", BLOBS, Answer(403), forever=True)
        record = await audited(
            here, "signed/cosign-p256:1", write_policy(tmp_path, "p256"), tries=1
        )
    assert (record.verified_by, record.not_verified_by) == ((), ())
    assert states(record) == [SignatureState.UNKNOWN]
    assert WarningCode.SIGNATURES_UNKNOWN in {one.code for one in record.warnings}


async def test_without_the_list_of_referrers_a_key_is_unknown(tmp_path: Path) -> None:
    async with lab(signed_content("cosign-p256")) as here:
        here.faults.on("GET", REFERRERS, Answer(403), forever=True)
        record = await audited(
            here, "signed/cosign-p256:1", write_policy(tmp_path, "p256", "rsa")
        )
    assert (record.verified_by, record.not_verified_by) == (("p256",), ())


def signature_manifest(layers: list[dict[str, object]]) -> BuiltImage:
    made = cosign_signature(image("x").root)
    document = json.loads(made.root.raw) | {"layers": layers}
    for key in ("schemaVersion", "mediaType"):
        document.pop(key, None)
    root = json_manifest(document, media_type=made.root.media_type)
    return replace(made, manifests=(root,))


def with_layers(count: int, payload: bytes, **changes: object) -> DemoContent:
    content = DemoContent()
    app = content.add("team/app", image("app"), "1").root
    layer: dict[str, object] = {
        "mediaType": SIMPLE_SIGNING,
        "digest": sha256_digest(payload),
        "size": len(payload),
        "annotations": {SIGNATURE: "AAAA"},
    } | changes
    content.add(
        "team/app", signature_manifest([layer] * count), digest_tag(app, ".sig")
    )
    stored: DemoRepository = content.repository("team/app")
    blob = BuiltBlob(
        digest=sha256_digest(payload), content=payload, media_type=SIMPLE_SIGNING
    )
    stored.blobs[blob.digest] = blob
    return content


async def test_thousands_of_signatures_are_bounded(tmp_path: Path) -> None:
    async with lab(with_layers(1000, b"{}")) as here:
        record = await audited(here, "team/app:1", write_policy(tmp_path, "p256"))
        assert here.faults.count("GET", BLOBS) == 2  # the config, one payload
    assert record.signatures is not None
    assert len(record.signatures) == MAX_RECORDED
    assert record.signatures_left_out == MAX_SIGNATURES - MAX_RECORDED
    assert record.not_verified_by == ()  # one of the others may be by the key


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"size": 3}, SignatureState.INVALID),
        ({"size": 2**40}, SignatureState.UNVERIFIABLE),
        ({"digest": "blake3:" + "a" * 64}, SignatureState.UNVERIFIABLE),
        ({"mediaType": "application/vnd.dev.sigstore.bundle"}, SignatureState.INVALID),
        ({"annotations": {}}, SignatureState.INVALID),
    ],
)
async def test_a_strange_layer_is_no_signature(
    changes: dict[str, object], state: SignatureState, tmp_path: Path
) -> None:
    async with lab(with_layers(1, b"{}", **changes)) as here:
        record = await audited(
            here,
            "team/app:1",
            write_policy(tmp_path, "p256"),
            attachments=AttachmentMode.ALL,
        )
    assert states(record) == [state]


async def test_a_signature_of_each_platform_does_not_cover_the_index(
    tmp_path: Path,
) -> None:
    content = signed_content("cosign-p256")
    stored = content.repository("signed/cosign-p256")
    index = json.loads(contents()[image_digest()])
    name = image_digest().replace(":", "-") + ".sig"
    signature = stored.tags.pop(name)
    for child in index["manifests"]:
        stored.tags[child["digest"].replace(":", "-") + ".sig"] = signature
    policy = write_policy(tmp_path, "p256")
    async with lab(content) as here:
        record = await audited(here, "signed/cosign-p256:1", policy)
        # Those of the platforms do not count, and are not searched.
        assert here.faults.count("GET", REFERRERS) == 1
        all_ = await audited(
            here, "signed/cosign-p256:1", policy, attachments=AttachmentMode.ALL
        )
        assert here.faults.count("GET", REFERRERS) == 2 + len(index["manifests"])
    assert (record.signed, all_.signed) == (None, True)
    for one in (record, all_):
        assert (one.verified_by, one.not_verified_by) == ((), ("p256",))
        assert one.signatures == ()


async def test_signatures_are_verified_without_attachments_in_the_record(
    tmp_path: Path,
) -> None:
    async with lab(signed_content("cosign-p256")) as here:
        record = await audited(
            here,
            "signed/cosign-p256:1",
            write_policy(tmp_path, "p256"),
            attachments=AttachmentMode.NONE,
        )
    assert (record.verified_by, record.attachments) == (("p256",), ())


async def test_attachments_are_not_asked_for_signatures(tmp_path: Path) -> None:
    async with lab(signed_content("cosign-p256")) as here:
        outcome = await here.audit(
            here.ref("signed/cosign-p256:*"),
            verify_signatures=str(write_policy(tmp_path, "p256")),
        )
    found = [one.verified_by for one in outcome.records if isinstance(one, ImageRecord)]
    assert sorted(found, key=str) == [("p256",), None]


async def test_the_record_says_who_signed_and_when(tmp_path: Path) -> None:
    async with lab(signed_content("notation-rsa")) as here:
        record = await audited(
            here, "signed/notation-rsa:1", write_policy(tmp_path, "rsa")
        )
    assert record.signatures is not None
    (found,) = record.signatures
    assert found == ImageSignature(
        digest=found.digest,
        format=SignatureFormat.NOTATION,
        state=VERIFIED,
        keys=("rsa",),
        reason=None,
        identity="CN=signer rsa,O=Example,ST=WA,C=US",
        signed_at=found.signed_at,
    )
    assert (found.signed_at or "").startswith("2026-11-30T22:")


async def test_the_command_reads_the_policy_from_a_configuration(
    tmp_path: Path,
) -> None:
    write_policy(tmp_path, "p256", "rsa")
    (tmp_path / "audit.toml").write_text('verify_signatures = "signatures.toml"\n')
    report = tmp_path / "report.jsonl"
    (tmp_path / "policy.toml").write_text('[rules.a]\nrequired_signature = ["p256"]\n')
    page = tmp_path / "page.html"
    async with lab(signed_content("cosign-two", "notation-rsa")) as here:
        done = await auditor(
            "audit", here.ref("signed/cosign-two:1"), here.ref("signed/notation-rsa:1"),
            "-c", str(tmp_path / "audit.toml"), "-o", str(report), "--processes", "2",
        )  # fmt: skip
        assert done.code == 0, done.stderr
        inspected = await auditor(
            "inspect", here.ref("signed/cosign-two:1"),
            "--verify-signatures", str(tmp_path / "signatures.toml"),
        )  # fmt: skip
        folder = tmp_path / "others"
        folder.mkdir()
        more = '[images.others]\nrepositories = ["prod/*"]\nkeys = ["p256"]\n'
        others = write_policy(folder, "p256", more=more)
        unnamed = await auditor(
            "inspect", here.ref("signed/cosign-two:1"),
            "--verify-signatures", str(others),
        )  # fmt: skip
        table = await auditor(
            "audit", here.ref("signed/cosign-two:1"), "--format", "table",
            "--verify-signatures", str(tmp_path / "signatures.toml"),
        )  # fmt: skip
        again = await auditor(
            "audit", here.ref("signed/cosign-two:1"), "--verify-signatures",
            str(tmp_path / "audit.toml"), "-o", str(tmp_path / "none.jsonl"),
        )  # fmt: skip
    assert table.out.decode().splitlines()[1].split()[-1] == "verified"
    assert "verified by p256, rsa" in inspected.out.decode()
    assert "not verified\n" not in inspected.out.decode()
    assert inspected.stderr == []
    assert unnamed.messages == [
        "no signature was verified: the signature policy does not name this repository"
    ]
    assert again.code == 2
    assert "audit.toml" in again.messages[0]
    assert not (tmp_path / "none.jsonl").exists()
    found = [
        json.loads(line)["verified_by"] for line in report.read_text().splitlines()
    ]
    assert found == [["p256", "rsa"], ["rsa"]]
    rules = str(tmp_path / "policy.toml")
    checked = await auditor("check", str(report), "--policy", rules)
    assert checked.code == 1
    expected = "has no verified signature of p256 (notation verified by rsa)"
    assert expected in checked.out.decode()
    done = await auditor("html", str(report), "-o", str(page))
    assert done.code == 0, done.stderr
    assert "Verified signatures" in page.read_text()


async def test_the_policy_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = write_policy(tmp_path, "p256")
    read: list[str] = []

    def load(path: str) -> SignaturePolicy:
        read.append(path)
        return load_signature_policy(path)

    monkeypatch.setattr(signature_policy, "load_signature_policy", load)
    settings = Settings(
        references=("registry.example.com/app:1",),
        verify_signatures=str(policy),
        output=str(tmp_path / "report.jsonl"),
    )
    async with open_job(settings, clock=SystemClock(), notify=print):
        assert read == [str(policy)]


async def test_a_report_is_only_resumed_with_the_same_keys(tmp_path: Path) -> None:
    policy = write_policy(tmp_path, "p256")
    async with lab(signed_content("cosign-p256")) as here:
        before = record_settings(here.settings(verify_signatures=str(policy)))
        write_policy(tmp_path, "p256", more="# a comment")
        after = record_settings(here.settings(verify_signatures=str(policy)))
    assert before["verify_signatures"] != after["verify_signatures"]
