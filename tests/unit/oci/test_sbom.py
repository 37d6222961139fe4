"""SBOMs: the formats, the envelopes, and what is wrong with a document."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import ProtocolError
from auditor.oci import sbom_packages
from auditor.oci.sbom import Sbom, parse_sbom
from auditor.oci.sbom_packages import SbomPackage
from tests.support import sboms
from tests.support.sboms import CYCLONEDX_PREDICATE, FORMATS, Package

GOLDEN = Path(__file__).parents[2] / "golden" / "sboms"
IMAGE = "sha256:" + "ab" * 32
OPENSSL = Package(
    "libssl3",
    "3.0.7-1",
    "pkg:deb/debian/libssl3@3.0.7-1?arch=amd64&upstream=openssl",
    "Apache-2.0",
)
LOG4J = Package(
    "log4j-core", "2.14.1", "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"
)


def parsed(raw: bytes) -> Sbom:
    sbom = parse_sbom(raw)
    assert sbom is not None
    return sbom


def package(name: str, version: str | None = None, **more: str | None) -> SbomPackage:
    fields: dict[str, Any] = dict.fromkeys(
        ("type", "purl", "license", "source", "source_version")
    )
    return SbomPackage(name=name, version=version, **fields | more)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("spdx", ("spdx", "2.3")),
        ("tag_value", ("spdx", "2.3")),
        ("spdx3", ("spdx", "3.0.1")),
        ("cyclonedx", ("cyclonedx", "1.6")),
        ("syft", ("syft", "16.0.0")),
    ],
)
def test_every_format_is_recognised_and_read(
    name: str, expected: tuple[str, str]
) -> None:
    sbom = parsed(FORMATS[name]([OPENSSL, LOG4J, Package("alone")]))
    assert (sbom.format, sbom.format_version) == expected
    has_license = name != "spdx3"
    assert sbom.packages == (
        package("alone"),
        package(
            "libssl3",
            "3.0.7-1",
            type="deb",
            purl=OPENSSL.purl,
            license="Apache-2.0" if has_license else None,
            source="openssl",
        ),
        package(
            "org.apache.logging.log4j:log4j-core",
            "2.14.1",
            type="maven",
            purl=LOG4J.purl,
        ),
    )
    assert (sbom.subjects, sbom.packages_left_out, sbom.warnings) == ((), 0, ())


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text,
        sboms.envelope,
        sboms.sigstore_bundle,
        lambda text: (
            sboms.envelope(text).replace(b"+", b"-").replace(b"/", b"_")
            if b"payloadType" not in text
            else text
        ),
    ],
    ids=["statement", "envelope", "bundle", "url-safe"],
)
def test_statements_are_read_in_every_envelope(
    form: str, wrap: Callable[[bytes], bytes]
) -> None:
    plain = FORMATS[form]([OPENSSL])
    sbom = parsed(wrap(sboms.statement(plain, IMAGE)))
    assert sbom.packages == parsed(plain).packages
    assert sbom.subjects == (IMAGE,)


def test_the_predicate_of_old_cosign_has_its_document_in_data() -> None:
    document = json.loads(sboms.statement(sboms.spdx([OPENSSL]), IMAGE))
    for data in (document["predicate"], json.dumps(document["predicate"])):
        old = {**document, "predicate": {"Data": data, "Timestamp": ""}}
        assert [one.name for one in parsed(json.dumps(old).encode()).packages] == [
            "libssl3"
        ]


def test_a_statement_about_something_else_is_no_sbom() -> None:
    plain = sboms.spdx([OPENSSL])
    slsa = sboms.statement(
        plain, IMAGE, predicate_type="https://slsa.dev/provenance/v1"
    )
    assert parse_sbom(slsa) is None
    assert parse_sbom(sboms.envelope(slsa)) is None
    bom = sboms.statement(
        sboms.cyclonedx([OPENSSL]), IMAGE, predicate_type=CYCLONEDX_PREDICATE
    )
    assert parsed(bom).format == "cyclonedx"


@pytest.mark.parametrize(
    "name", ["spdx-tools-2.3.json", "spdx-tools-2.3.spdx"], ids=["json", "tag-value"]
)
def test_what_spdx_tools_wrote_is_read(name: str) -> None:
    assert parsed((GOLDEN / name).read_bytes()).packages == (
        package(
            "@angular/core",
            "15.0.0",
            type="npm",
            purl="pkg:npm/%40angular/core@15.0.0",
            license="MIT",
        ),
        package(
            "bash",
            "1:5.1.8-6.el9",
            type="rpm",
            purl="pkg:rpm/redhat/bash@5.1.8-6.el9?arch=x86_64&epoch=1"
            "&upstream=bash-5.1.8-6.el9.src.rpm",
            license="GPL-3.0-or-later",
            source="bash",
            source_version="5.1.8-6.el9",
        ),
        package(
            "libssl3",
            "3.0.7-1",
            type="deb",
            purl="pkg:deb/debian/libssl3@3.0.7-1?arch=amd64&upstream=openssl",
            license="Apache-2.0",
            source="openssl",
            source_version="3.0.7-1",
        ),
        package("unknown", license="MIT"),
    )


def test_what_cyclonedx_py_wrote_is_read() -> None:
    sbom = parsed((GOLDEN / "cyclonedx-py-1.6.json").read_bytes())
    assert (sbom.format, sbom.format_version) == ("cyclonedx", "1.6")
    found = [(one.name, one.version, one.type, one.license) for one in sbom.packages]
    assert ("PyYAML", "6.0.2", "pypi", "MIT") in [
        (name if name != "pyyaml" else "PyYAML", *rest) for name, *rest in found
    ]
    assert ("click", "8.1.7", "pypi") in [one[:3] for one in found]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[]", "not an object"),
        (b"{}", "neither SPDX nor CycloneDX"),
        (b"<bom/>", "XML"),
        (b"\xef\xbb\xbf <?xml version='1.0'?>", "XML"),
        (b'{"payload": 1, "payloadType": "x"}', "not a text"),
        (b'{"payload": "?", "payloadType": "x"}', "not base64"),
        (b'{"dsseEnvelope": ' * 8 + b"1" + b"}" * 8, "too many envelopes"),
        (b'{"bomFormat":"CycloneDX","x":' + b"[" * 2000, "is not JSON"),
        (
            b'{"bomFormat":"CycloneDX","x":' + b"[" * 500 + b"]" * 500 + b"}",
            "nested too deeply",
        ),
        (
            sboms.statement(b"text", IMAGE),
            "is not JSON",
        ),
    ],
)
def test_the_reason_of_an_unreadable_document_is_said(raw: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        parse_sbom(raw)


def test_values_of_wrong_types_count_as_missing() -> None:
    for raw in (
        b'{"spdxVersion": 2, "packages": {"name": "a"}}',
        b'{"bomFormat": "CycloneDX", "components": 1, "specVersion": []}',
        b'{"@context": "https://spdx.org/x", "@graph": [1, {"type": ["a"]}]}',
    ):
        sbom = parsed(raw)
        assert (sbom.packages, sbom.format_version) == ((), None)
    sbom = parsed(
        b'{"spdxVersion": "SPDX-2.2", "packages": [1, {"name": 2},'
        b' {"name": "a", "versionInfo": {}, "externalRefs": [{"referenceType": "purl",'
        b' "referenceLocator": 3}], "licenseDeclared": []}]}'
    )
    assert sbom.packages == (package("a"),)
    assert sbom.warnings == ("1 entries have no name",)


def test_a_repeated_key_is_a_warning() -> None:
    raw = b'{"bomFormat":"CycloneDX","components":[{"name":"a"}],"components":[]}'
    sbom = parsed(raw)
    assert sbom.packages == ()
    assert sbom.warnings == (
        'the key "components" is there twice in one object; the last one counts',
    )


def test_packages_above_the_limits_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = sboms.spdx([Package(f"p{number}", "1") for number in (1, 1, 2, 3)])
    monkeypatch.setattr(sbom_packages, "MAX_PACKAGES", 2)
    sbom = parsed(raw)
    assert [one.name for one in sbom.packages] == ["p1", "p2"]
    assert sbom.packages_left_out == 1
    monkeypatch.setattr(sbom_packages, "MAX_PACKAGES_BYTES", 120)
    sbom = parsed(raw)
    assert [one.name for one in sbom.packages] == ["p1"]
    assert sbom.packages_left_out == 2


def test_trivy_names_the_source_package_in_properties() -> None:
    raw = json.dumps(
        {
            "bomFormat": "CycloneDX",
            "components": [
                {
                    "name": "libssl3",
                    "version": "3.0.7-1",
                    "purl": "pkg:deb/debian/libssl3@3.0.7-1",
                    "licenses": [{"expression": "MIT OR Apache-2.0"}],
                    "properties": [
                        {"name": "aquasecurity:trivy:SrcName", "value": "openssl"},
                        {"name": "aquasecurity:trivy:SrcVersion", "value": "3.0.7"},
                    ],
                }
            ],
        }
    ).encode()
    (one,) = parsed(raw).packages
    assert (one.source, one.source_version) == ("openssl", "3.0.7")
    assert one.license == "MIT OR Apache-2.0"
