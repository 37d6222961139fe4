"""Package URLs (ECMA-427; cases of purl-spec's test suite and of tools' SBOMs)."""

from __future__ import annotations

import pytest

from auditor.oci.sbom_packages import PackageUrl, parse_package_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pkg:npm/%40angular/core@1.0", ("npm", "@angular", "core", "1.0")),
        ("pkg:npm/@angular/core@1.0", ("npm", "@angular", "core", "1.0")),
        ("pkg:npm/@angular/core", ("npm", "@angular", "core", None)),
        (
            "PKG://Deb/debian/curl@7.50.3-1?arch=i386",
            ("deb", "debian", "curl", "7.50.3-1"),
        ),
        ("pkg:deb/debian/git@1%3A2.39.2-1.1", ("deb", "debian", "git", "1:2.39.2-1.1")),
        (
            "pkg:golang/google.golang.org/genproto@abcdedf#googleapis/api",
            ("golang", "google.golang.org", "genproto", "abcdedf"),
        ),
        (
            "pkg:maven/org.apache/batik@1.9.1?repository_url=r.example/x@y",
            ("maven", "org.apache", "batik", "1.9.1"),
        ),
        ("pkg:pypi/django@1.11.1", ("pypi", None, "django", "1.11.1")),
        ("pkg:generic/a//b", ("generic", "a", "b", None)),
    ],
)
def test_parts(text: str, expected: tuple[str | None, ...]) -> None:
    url = parse_package_url(text)
    assert url is not None
    assert (url.type, url.namespace, url.name, url.version) == expected


@pytest.mark.parametrize(
    "text", ["", "pkg:", "pkg:npm", "pkg:npm/", "pkg:/name", "http://a/b", "npm/a@1"]
)
def test_what_is_none(text: str) -> None:
    assert parse_package_url(text) is None


@pytest.mark.parametrize(
    ("query", "source", "version"),
    [
        ("upstream=openssl", "openssl", None),
        ("arch=amd64&upstream=gcc-12%4012.2.0-14", "gcc-12", "12.2.0-14"),
        ("upstream=bash-5.1.8-6.el9.src.rpm", "bash", "5.1.8-6.el9"),
        ("upstream=odd.src.rpm", "odd.src.rpm", None),
        ("upstream=", None, None),
    ],
)
def test_the_source_package_of_a_binary_one(
    query: str, source: str | None, version: str | None
) -> None:
    url = parse_package_url(f"pkg:deb/debian/x@1?{query}&epoch=2")
    assert url == PackageUrl(
        type="deb", namespace="debian", name="x", version="1", source=source,
        source_version=version, epoch="2",
    )  # fmt: skip
