"""The same packages are read from every format, in every envelope."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from auditor.oci.sbom import Sbom, parse_sbom
from auditor.oci.sbom_packages import parse_package_url
from tests.examples import examples
from tests.support import sboms
from tests.support.sboms import FORMATS, Package

# Tag-value text has lines, and strips blanks.
WORDS = st.text(
    st.characters(categories=("L", "N", "P", "S"), exclude_characters="<>"),
    min_size=1,
    max_size=12,
).filter(lambda text: text not in {"NONE", "NOASSERTION"})
KINDS = st.sampled_from(["deb", "rpm", "npm", "pypi", "maven", "golang"])


@st.composite
def packages(draw: st.DrawFn) -> Package:
    name, version = draw(WORDS), draw(st.none() | WORDS)
    purl = None
    if draw(st.booleans()):
        parts = [draw(KINDS), *draw(st.lists(WORDS, max_size=2)), name]
        purl = "pkg:" + "/".join(quote(part, safe="") for part in parts)
        if version is not None:
            purl += "@" + quote(version, safe="")
    return Package(name, version, purl, draw(st.none() | WORDS))


def read(raw: bytes) -> Sbom:
    found = parse_sbom(raw)
    assert found is not None
    return found


@examples(100)
@given(st.lists(packages(), max_size=6))
def test_every_format_says_the_same(listed: list[Package]) -> None:
    expected = read(sboms.spdx(listed)).packages
    assert {(one.version, one.license) for one in expected} == {
        (one.version, one.license) for one in listed
    }
    without = {(one.name, one.version, one.purl) for one in expected}
    for name, make in FORMATS.items():
        found = read(make(listed))
        if name == "spdx3":
            assert {(one.name, one.version, one.purl) for one in found.packages} == (
                without
            )
        else:
            assert found.packages == expected, name
        statement = sboms.statement(make(listed), "sha256:" + "0" * 64)
        for wrapped in (
            statement,
            sboms.envelope(statement),
            sboms.sigstore_bundle(statement),
        ):
            assert read(wrapped).packages == found.packages


@examples(100)
@given(KINDS, st.lists(WORDS, max_size=3), WORDS, st.none() | WORDS)
def test_parts_of_a_package_url_are_encoded_and_decoded(
    kind: str, folders: list[str], name: str, version: str | None
) -> None:
    text = f"pkg:{kind}/" + "/".join(quote(part, safe="") for part in [*folders, name])
    if version is not None:
        text += "@" + quote(version, safe="")
    found = parse_package_url(text + "?a=b#c")
    assert found is not None
    assert (found.type, found.name, found.version) == (kind, name, version)
    # A slash inside a folder is not distinguished, as purl-spec's own decoding does.
    namespace = [part for part in "/".join(folders).split("/") if part]
    assert found.namespace == ("/".join(namespace) or None)
