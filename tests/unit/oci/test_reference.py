from __future__ import annotations

import re

import pytest

from auditor.errors import FailureKind, ProtocolError
from auditor.oci.descriptor import is_digest
from auditor.oci.reference import (
    Reference,
    RepositoryPattern,
    TagPattern,
    api_host,
    is_tag,
    parse_reference,
    parse_selector,
)

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("library/alpine", "docker.io/library/alpine:latest"),
        ("grafana/loki:2", "docker.io/grafana/loki:2"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
        ("registry-1.docker.io/a/b", "docker.io/a/b:latest"),
        ("registry.hub.docker.com/a/b", "docker.io/a/b:latest"),
        ("DOCKER.IO/a/b", "docker.io/a/b:latest"),
        ("docker://alpine", "docker.io/library/alpine:latest"),
        ("docker://h.example/a:t", "h.example/a:t"),
        ("h.example/a", "h.example/a:latest"),
        ("DTR.Example.com/admin/app", "dtr.example.com/admin/app:latest"),
        ("host:5000/a/b", "host:5000/a/b:latest"),
        ("Host:5000/a/b:T", "host:5000/a/b:T"),
        ("localhost/a", "localhost/a:latest"),
        ("LOCALHOST/a", "localhost/a:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ("[::1]/a", "[::1]/a:latest"),
        ("[2001:DB8::1]:5000/a:t", "[2001:db8::1]:5000/a:t"),
        ("h.example/a_b/c__d/e-f/g---h/i.j:T", "h.example/a_b/c__d/e-f/g---h/i.j:T"),
        (f"h.example/a@{DIGEST}", f"h.example/a@{DIGEST}"),
        (f"h.example/a:t@{DIGEST}", f"h.example/a:t@{DIGEST}"),
        (f"alpine@sha512:{HEX}{HEX}", f"docker.io/library/alpine@sha512:{HEX}{HEX}"),
        (f"a@sha384:{HEX}{HEX[:32]}", f"docker.io/library/a@sha384:{HEX}{HEX[:32]}"),
        ("h.example/" + "a" * 255, "h.example/" + "a" * 255 + ":latest"),
        ("h.example/a:" + "t" * 128, "h.example/a:" + "t" * 128),
        (f"h.example/{HEX}", f"h.example/{HEX}:latest"),
        ("a:_", "docker.io/library/a:_"),
    ],
)
def test_a_reference_has_one_canonical_text(text: str, canonical: str) -> None:
    reference = parse_reference(text)
    assert str(reference) == canonical
    assert parse_selector(text) == reference
    assert parse_reference(canonical) == reference


def test_the_parts_of_a_reference() -> None:
    assert parse_reference(f"H.example:5000/a/b:T@{DIGEST}") == Reference(
        registry="h.example:5000", repository="a/b", tag="T", digest=DIGEST
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a:t", "t"), ("a", "latest"), (f"a@{DIGEST}", DIGEST), (f"a:t@{DIGEST}", DIGEST)],
)
def test_the_digest_is_requested_if_there_is_one(text: str, expected: str) -> None:
    assert parse_reference(text).manifest_reference == expected


@pytest.mark.parametrize(
    ("text", "explanation"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("a b", "it contains a space; expected one reference per line"),
        ("a\tb", "it contains a space"),
        ("a\u00a0b", "U+00A0"),
        ('"a.io/b:1"', "it is in quotes; remove them"),
        ("'a.io/b:1'", "it is in quotes"),
        ("- a.io/b:1", "remove the hyphen before it"),
        ("a.io/b,1", "it contains a comma; a list with columns must begin with"),
        ("a.io/b:{1,2}", "braces are expanded by shells only; write a.io/b:1 a.io/b:2"),
        ("a.io/b:${TAG}", "it contains a brace; replace what is in braces"),
        ("image;tag", "it contains a semicolon; a list with columns must begin with"),
        ("alpine\n", "U+000A"),
        ("alpine\x00", "U+0000"),
        ("alp\u0131ne", "U+0131"),
        ("https://h.example/a", "remove https://"),
        ("HTTP://h.example/a", "remove HTTP://"),
        ("oci://h.example/a", "the only scheme allowed before the name is docker://"),
        ("docker://docker://a", "the only scheme allowed before the name is docker://"),
        ("h.example/a%2f..%2fb", "percent"),
        ("h.example/a\\b", "backslash"),
        ("Alpine", 'lower case; write "alpine"'),
        ("h.example/Team/App", 'lower case; write "team/app"'),
        ("Admin/App", 'lower case; write "admin/app"'),
        ("h.example/../a", "cannot be part of a name"),
        ("../a", "cannot be part of a name"),
        ("./a", "cannot be part of a name"),
        ("a/./b", "cannot be part of a name"),
        ("h.example/a/..", "cannot be part of a name"),
        ("a//b", "it has an empty part"),
        ("h.example//a", "it has an empty part"),
        ("/a", "it has an empty part"),
        ("h.example/a/", "it has an empty part"),
        ("h.example/", "repository is missing after the host"),
        (":t", "repository is missing; write"),
        (f"@{DIGEST}", "repository is missing; write"),
        ("a..b/c", "not a host name"),
        ("h.example/a..b", "not a part of a repository name"),
        ("h.example/a___b", "not a part of a repository name"),
        ("h.example/-a", "not a part of a repository name"),
        ("a_b.example/c", "not a host name"),
        ("-h.example/c", "not a host name"),
        ("x" * 64 + ".example/c", "not a host name"),
        (".".join(["x" * 50] * 6) + "/c", "longer than 253"),
        ("h.example:0/a", "not a port"),
        ("h.example:65536/a", "not a port"),
        ("h.example:/a", "not a port"),
        ("[::1/a", "not an IPv6 address"),
        ("[::1]x/a", "not an IPv6 address"),
        ("[1::2::3]:5000/a", "not an IPv6 address"),
        ("h.example/a:5000/b", "a port belongs after the host"),
        ("h.example/" + "a" * 256, "longer than 255"),
        ("a" * 248, "longer than 255"),
        ("h.example/a:", "tag after the colon is missing"),
        ("h.example/a:.t", "not a tag"),
        ("h.example/a:-t", "not a tag"),
        ("h.example/a:t+1", "not a tag"),
        ("h.example/a:" + "t" * 129, "longer than 128"),
        ("a:b:c", "two tags"),
        ("a@latest", "expected a digest after the @"),
        ("a@md5:00", '"md5" is not supported'),
        ("a@sha256:00", "64 hexadecimal digits, not 2"),
        (f"a@sha256:{HEX[:-1]}g", "64 hexadecimal digits"),
        (f"a@sha256:{HEX.upper()}", "lower-case"),
        (f"a@{DIGEST}:t", "64 hexadecimal digits"),
        (HEX, "image ID"),
        ("h.example/*", "must also select tags: add :* for all"),
        ("h.example/team/*", "must also select tags"),
        ("h.example/team/*:", "tag after the colon is missing"),
        ("h.example/team/*:1:2", "two tags"),
        ("h.example/team/*:-t", "not a tag"),
        ("h.example/team/*:[1", "not a tag pattern"),
        ("h.example/team/*:" + "*" * 513, "longer than 512"),
        (f"h.example/team/*@{DIGEST}", "cannot be combined with a digest"),
        (f"h.example/team/*:1@{DIGEST}", "cannot be combined with a digest"),
        ("team/*:*", "must start with its registry, as in docker.io/team/*:*"),
        ("*:*", "must start with its registry, as in docker.io/*:*"),
        ("h.example//*:*", "it has an empty part"),
        ("h.example/Team/*:*", 'lower case; write "team/*"'),
        ("h.example/team**:*", "** matches whole parts"),
        ("h.example/***:*", "** matches whole parts"),
        ("h.example/[a/b:1]:*", "not a part of a pattern"),
        ("h.example/a[/*:*", "not a part of a pattern"),
        ("h.example/a+*:*", "not a part of a pattern"),
        ("h.example/" + "a*" * 511 + ":*", "longer than 1020"),
        ("*.example/a:1", "the registry must be given"),
        ("h.example/a:[1", "not a tag pattern"),
        ("h.example/a:1]*", "not a tag pattern"),
        ("h.example/a:[^1]", "not a tag pattern"),
        ("h.example/a:[!]", "not a tag pattern"),
        ("h.example/a:" + "*" * 513, "longer than 512"),
        (f"h.example/a:1.*@{DIGEST}", "cannot be combined with a digest"),
    ],
)
def test_an_invalid_reference_is_refused_with_an_explanation(
    text: str, explanation: str
) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_selector(text)
    assert caught.value.kind is FailureKind.INVALID_REFERENCE
    assert explanation in caught.value.detail
    assert "\n" not in caught.value.detail
    with pytest.raises(ProtocolError):
        parse_reference(text)


@pytest.mark.parametrize(
    "text", ["user:hunter2@h.example/a", "https://user:hunter2@h.example/a:1"]
)
def test_a_password_in_a_reference_is_not_repeated(text: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_selector(text)
    assert "hunter2" not in caught.value.detail


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("alpine:*", "docker.io/library/alpine:*"),
        ("h.example/team/app:1.*", "h.example/team/app:1.*"),
        ("h.example/app:v[0-9].[!a-c]?", "h.example/app:v[0-9].[!a-c]?"),
        ("[::1]:5000/a:1.*", "[::1]:5000/a:1.*"),
        ("docker://H.example/a:*-rc", "h.example/a:*-rc"),
    ],
)
def test_a_tag_pattern_replaces_the_tag(text: str, canonical: str) -> None:
    selector = parse_selector(text)
    assert isinstance(selector, TagPattern)
    assert str(selector) == canonical
    assert parse_selector(canonical) == selector
    with pytest.raises(ProtocolError, match="expected a single one"):
        parse_reference(text)


@pytest.mark.parametrize(
    ("text", "canonical", "below"),
    [
        ("h.example/*:*", "h.example/**:*", None),
        ("h.example/**:*", "h.example/**:*", None),
        ("docker://H.example/team/*:*", "h.example/team/*:*", "team"),
        ("h.example/team/**:v1.*", "h.example/team/**:v1.*", "team"),
        ("h.example/a/b/app*:1.*", "h.example/a/b/app*:1.*", "a/b"),
        ("h.example/**/app:latest", "h.example/**/app:latest", None),
        ("h.example/[ab]/c:1", "h.example/[ab]/c:1", None),
        ("h.example/a?/c/d:1", "h.example/a?/c/d:1", None),
        ("[::1]:5000/x/*:1", "[::1]:5000/x/*:1", "x"),
        ("localhost/x*:1", "localhost/x*:1", None),
        ("docker.io/*:*", "docker.io/**:*", None),
        ("index.docker.io/alp*:3.*", "docker.io/library/alp*:3.*", "library"),
    ],
)
def test_a_repository_pattern_replaces_the_repository(
    text: str, canonical: str, below: str | None
) -> None:
    selector = parse_selector(text)
    assert isinstance(selector, RepositoryPattern)
    assert str(selector) == canonical
    assert selector.below == below
    assert parse_selector(canonical) == selector
    with pytest.raises(ProtocolError, match="expected a single one"):
        parse_reference(text)


@pytest.mark.parametrize(
    ("path", "matching", "others"),
    [
        ("**", ["a", "a/b", "a/b/c"], []),
        ("team/*", ["team/a"], ["team", "team/a/b", "teams/a", "a/team/b"]),
        ("team/**", ["team/a", "team/a/b"], ["team", "teams/a"]),
        ("team/app*", ["team/app", "team/app-1"], ["team/app/x", "team/ap"]),
        ("**/app", ["app", "a/app", "a/b/app"], ["apps", "app/a"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a", "b", "ab", "a/b/c"]),
        ("a/**/b/**", ["a/b/c", "a/b/b/c", "a/x/b/c/d"], ["a/b", "a/x/b"]),
        ("**/a/**/a", ["a/a", "a/b/a", "b/a/a"], ["a", "a/b"]),
        ("v?/[0-9][!0-9]", ["v1/1a"], ["v/1a", "v1/11", "v1/a1"]),
        ("a*/b", ["a/b", "ax/b"], ["a/x/b", "a/c/b"]),
    ],
)
def test_repository_patterns_match_whole_paths(
    path: str, matching: list[str], others: list[str]
) -> None:
    pattern = RepositoryPattern(registry="h.example", repository=path, pattern="*")
    assert [name for name in matching if not pattern.matches_repository(name)] == []
    assert [name for name in others if pattern.matches_repository(name)] == []


def test_brackets_of_an_ipv6_address_are_not_a_pattern() -> None:
    assert isinstance(parse_selector("[::1]:5000/a:1"), Reference)


@pytest.mark.parametrize(
    ("pattern", "tag", "matches"),
    [
        ("*", "anything", True),
        ("1.*", "1.2", True),
        ("1.*", "1x2", False),
        ("1.*", "11.2", False),
        ("v?", "v1", True),
        ("v?", "V1", False),
        ("[0-9]*", "3.20", True),
        ("[!0-9]*", "3.20", False),
    ],
)
def test_patterns_match_whole_tags(pattern: str, tag: str, matches: bool) -> None:
    selector = TagPattern(registry="h.example", repository="a", pattern=pattern)
    assert selector.matches(tag) is matches


@pytest.mark.parametrize(
    ("registry", "host"),
    [("docker.io", "registry-1.docker.io"), ("h.example:5000", "h.example:5000")],
)
def test_only_docker_hub_has_another_api_host(registry: str, host: str) -> None:
    assert api_host(registry) == host


@pytest.mark.parametrize(
    ("text", "good"),
    [("latest", True), ("_", True), ("", False), (".a", False), ("a\n", False)],
)
def test_tags(text: str, good: bool) -> None:
    assert is_tag(text) is good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (DIGEST, True),
        (f"sha512:{HEX}{HEX}", True),
        (DIGEST + "0", False),
        (DIGEST + "\n", False),
        (DIGEST.upper(), False),
        (HEX, False),
        ("", False),
        ("sha256:", False),
    ],
)
def test_digests(text: str, good: bool) -> None:
    assert is_digest(text) is good


# By the grammar (distribution/reference) these are images of Docker Hub.
_BARE_HOSTS = {
    "registry.example.com": "registry.example.com",
    "Registry.Example.com": "registry.example.com",
    "docker://registry.example.com": "registry.example.com",
    "registry.example.com:8443": "registry.example.com:8443",
    "registry.example.com:latest": "registry.example.com",
    "registry.example.com:*": "registry.example.com",
    f"registry.example.com@{DIGEST}": "registry.example.com",
    f"registry.example.com:5000@{DIGEST}": "registry.example.com:5000",
    "10.0.0.1": "10.0.0.1",
    "127.0.0.1:80": "127.0.0.1:80",
    "quay.io": "quay.io",
    "docker.io": "docker.io",
    "localhost": "localhost",
    "localhost:12345": "localhost:12345",
    "localhost:v1": "localhost",
    # The default ports of distribution, GitLab, Quay, Nexus, and HTTPS.
    "myhost:5000": "myhost:5000",
    "gitlab:5050": "gitlab:5050",
    "quay-1:8443": "quay-1:8443",
    "nexus:8082": "nexus:8082",
    "my-host:443": "my-host:443",
    "[::1]": "[::1]",
    "[2001:db8::1]:5000": "[2001:db8::1]:5000",
}


@pytest.mark.parametrize(("text", "host"), _BARE_HOSTS.items())
def test_a_host_alone_is_not_an_image_of_docker_hub(text: str, host: str) -> None:
    expected = (
        f"it is a registry without a repository; write {host}/repository:tag,"
        rf" {host}/*:* for all of its images"
    )
    for parse in (parse_reference, parse_selector):
        with pytest.raises(ProtocolError, match=re.escape(expected)) as caught:
            parse(text)
        may_be_image = host[0].isalpha() and not host.startswith("localhost")
        assert ("for an image of that name" in str(caught.value)) is may_be_image


@pytest.mark.parametrize(
    ("text", "repository", "tag"),
    [
        # Versions, dates, years and build numbers of official and local images.
        ("nginx:1.25", "nginx", "1.25"),
        ("ubuntu:22.04", "ubuntu", "22.04"),
        ("debian:12", "debian", "12"),
        ("neo4j:2025", "neo4j", "2025"),
        ("photon:20190122", "photon", "20190122"),
        ("myapp:1234", "myapp", "1234"),
        ("chrome:80", "chrome", "80"),
        ("redis:6379", "redis", "6379"),
        # Not ports.
        ("myhost:05000", "myhost", "05000"),
        ("myhost:50000x", "myhost", "50000x"),
        ("myhost:5000-1", "myhost", "5000-1"),
        # Docker Hub is named.
        ("docker.io/localhost:5000", "localhost", "5000"),
        ("docker.io/registry.example.com", "registry.example.com", "latest"),
        ("library/registry.example.com", "registry.example.com", "latest"),
    ],
)
def test_other_names_alone_are_images_of_docker_hub(
    text: str, repository: str, tag: str
) -> None:
    assert parse_reference(text) == parse_selector(text)
    assert str(parse_reference(text)) == f"docker.io/library/{repository}:{tag}"


def test_a_repository_may_have_the_name_of_a_host() -> None:
    for text in ("h.example/localhost:5000", "h.example/a.example:5000"):
        assert str(parse_reference(text)) == text


@pytest.mark.parametrize(
    "unit", ["a:", "a/", "a.", "a@", "[a", "*", "h.example/", "a-", " ", "docker://"]
)
def test_a_long_text_is_refused_before_it_is_parsed(unit: str) -> None:
    text = unit * (600_000 // len(unit))
    for parse in (parse_reference, parse_selector):
        with pytest.raises(ProtocolError) as raised:
            parse(text)
        assert "and the longest reference 1,802; expected one" in raised.value.detail
        assert len(raised.value.detail) < 250


def test_the_longest_pattern_is_parsed() -> None:
    host = ".".join(["a" * 63] * 3 + ["b" * 61])
    text = f"docker://{host}:65535/{'[ab]' * 254}*cde:{'[ab]' * 127}*cde"
    assert isinstance(parse_selector(text), RepositoryPattern)
    assert len(text) == 1802
    with pytest.raises(ProtocolError, match="it has 1,803 characters"):
        parse_selector(text + "f")
