"""Parsing of docker's config.json and podman's auth.json."""

from __future__ import annotations

import base64
import json

import pytest

from auditor.errors import Failure, UsageError
from auditor.registry.auth.docker_config import (
    Candidate,
    CredentialHelper,
    DockerConfig,
    FoundCredential,
    parse_docker_config,
)
from auditor.util.secret import Secret
from auditor.wire.credential import Credential, IdentityToken, Login, RegistryToken

HOST = "dtr.example.com"
HUB_KEY = "https://index.docker.io/v1/"


def auth(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


def parsed(**document: object) -> DockerConfig:
    return parse_docker_config(json.dumps(document).encode(), "config.json")


def candidates(
    config: DockerConfig, registry: str, repository: str = ""
) -> list[Candidate]:
    return list(config.candidates(registry, repository))


def stored(
    config: DockerConfig, registry: str, repository: str = ""
) -> Credential | None:
    """The credential of the best candidate; None without a candidate."""
    for way in config.candidates(registry, repository):
        assert isinstance(way, FoundCredential), way
        return way.credential
    return None


def helpers(config: DockerConfig, registry: str, repository: str = "") -> list[str]:
    """The helpers among the candidates, as `NAME get SERVER`."""
    found = config.candidates(registry, repository)
    return [
        f"{way.name} get {way.server}"
        for way in found
        if isinstance(way, CredentialHelper)
    ]


def login(username: str, password: str) -> Login:
    return Login(username=username, password=Secret(password))


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("https://registry-1.docker.io/v2/", "docker.io"),
        (HOST, HOST),
        (f"https://{HOST}", HOST),
        (f"http://{HOST}/", HOST),
        (f"https://{HOST}/v1/", HOST),
        (f"https://{HOST}/v2/", HOST),
        (f"{HOST}/v2", HOST),
        ("DTR.Example.COM", HOST),
        ("localhost:5000", "localhost:5000"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_key_stands_for_its_registry(key: str, registry: str) -> None:
    config = parsed(auths={key: {"auth": auth("me:pass")}})
    assert stored(config, registry) == login("me", "pass")
    assert candidates(config, "elsewhere.example.com") == []


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": auth("me:pa:ss")}, login("me", "pa:ss")),
        ({"auth": auth("me:pä ss")}, login("me", "pä ss")),
        ({"auth": auth("me:pass").rstrip("=")}, login("me", "pass")),
        ({"auth": auth("me:pass\0")}, login("me", "pass")),
        ({"username": "me", "password": "pass"}, login("me", "pass")),
        ({"auth": auth("a:b"), "username": "c", "password": "d"}, login("a", "b")),
        ({"auth": auth("a:b"), "identitytoken": "x"}, login("a", "b")),
        ({"identitytoken": "x"}, IdentityToken(token=Secret("x"))),
        (
            {"auth": auth("<token>:"), "identitytoken": "x"},
            IdentityToken(token=Secret("x")),
        ),
        (
            {"auth": auth("0-0-0:"), "identitytoken": "x"},
            IdentityToken(token=Secret("x"), username="0-0-0"),
        ),
        ({"registrytoken": "x"}, RegistryToken(token=Secret("x"))),
        (
            {"auth": auth("a:b"), "registrytoken": "x"},
            RegistryToken(token=Secret("x")),
        ),
        (
            {"auth": auth('_json_key:{\n  "type": "service_account"\n}\n')},
            login("_json_key", '{\n  "type": "service_account"\n}\n'),
        ),
        ({}, None),
        ({"auth": ""}, None),
        ({"email": "me@example.com"}, None),
    ],
)
def test_an_entry_has_a_login_a_token_or_nothing(
    entry: dict[str, object], expected: Credential | None
) -> None:
    assert stored(parsed(auths={HOST: entry}), HOST) == expected


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"auth": "%%%"}, ".auth: not the base64 of user:password"),
        ({"auth": auth("nocolon")}, ".auth: not the base64 of user:password"),
        ({"auth": 1}, ".auth: not the base64 of user:password"),
        (
            {"auth": base64.b64encode(b"me:\xff").decode()},
            ".auth: not the base64 of user:password",
        ),
        (
            {"auth": auth("<token>:"), "identitytoken": "s3\ncret"},
            ".identitytoken: not one line of visible ASCII",
        ),
        ({"registrytoken": 7}, ".registrytoken: not one line of visible ASCII"),
        ({"username": "me"}, ": only one of username and password"),
        (
            {"auth": auth("me:")},
            ": username or password is empty or has control characters",
        ),
        (
            {"auth": auth("me:s3\ncret")},
            ": username or password is empty or has control characters",
        ),
        ("s3cret", ": not an object"),
    ],
)
def test_an_invalid_entry_affects_its_registry_only(
    entry: object, sentence: str
) -> None:
    config = parsed(auths={HOST: entry, "ghcr.io": {"auth": auth("me:pass")}})
    (found,) = candidates(config, HOST)
    assert isinstance(found, Failure)
    assert found.detail == f'config.json: auths."{HOST}"{sentence}'
    assert stored(config, "ghcr.io") == login("me", "pass")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"credsStore": "desktop"}, [f"desktop get {HOST}"]),
        ({"credsStore": "desktop", "auths": {HOST: {}}}, [f"desktop get {HOST}"]),
        ({"credHelpers": {HOST: "ecr-login"}}, [f"ecr-login get {HOST}"]),
        (
            {"credHelpers": {f"https://{HOST}": "ecr-login"}, "credsStore": ""},
            [f"ecr-login get {HOST}"],
        ),
        (
            {"credHelpers": {HOST: "gh"}, "credsStore": "desktop"},
            [f"gh get {HOST}", f"desktop get {HOST}"],
        ),
        ({"credHelpers": {"ghcr.io": "gh"}}, []),
        ({"credHelpers": {HOST: ""}}, []),
    ],
)
def test_a_helper_is_a_candidate_for_its_server(
    document: dict[str, object], expected: list[str]
) -> None:
    config = parsed(**document)
    assert helpers(config, HOST, "team/app") == expected
    assert len(candidates(config, HOST, "team/app")) == len(expected)


@pytest.mark.parametrize(
    ("document", "server"),
    [
        ({"credsStore": "desktop"}, HUB_KEY),
        ({"credHelpers": {HUB_KEY: "desktop"}}, HUB_KEY),
        ({"credHelpers": {"docker.io": "desktop"}}, "docker.io"),
    ],
)
def test_a_helper_is_asked_for_docker_hub_by_the_key_in_the_file(
    document: dict[str, object], server: str
) -> None:
    assert helpers(parsed(**document), "docker.io") == [f"desktop get {server}"]


NO_FILE_NAMES = ["../x", "a b", "a;b", "a/b", "$(id)", "a\n"]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        *(("credsStore", name) for name in NO_FILE_NAMES),
        *(("credHelpers", name) for name in [*NO_FILE_NAMES, 7]),
    ],
)
def test_a_helper_name_that_is_no_plain_file_name_is_invalid(
    key: str, name: object
) -> None:
    document = {key: {HOST: name} if key == "credHelpers" else name}
    (found,) = candidates(parsed(**document), HOST)
    assert isinstance(found, Failure)
    assert found.detail.startswith(f"config.json: {key}")
    assert "not the name of a credential helper" in found.detail


@pytest.mark.parametrize("document", [{"credsStore": ""}, {"credHelpers": {HOST: ""}}])
def test_an_empty_helper_name_is_no_helper(document: dict[str, object]) -> None:
    assert candidates(parsed(**document), HOST) == []


def test_an_entry_comes_before_the_creds_store() -> None:
    config = parsed(auths={HOST: {"auth": auth("me:pass")}}, credsStore="desktop")
    first, last = candidates(config, HOST)
    assert isinstance(first, FoundCredential)
    assert first.credential == login("me", "pass")
    assert isinstance(last, CredentialHelper)


def test_a_helper_of_this_registry_comes_before_every_entry() -> None:
    """As in containers/image; docker does not look at the entry at all."""
    config = parsed(
        auths={
            HOST: {"auth": auth("me:pass")},
            f"{HOST}/team": {"auth": auth("me:pass")},
        },
        credHelpers={HOST: "ecr-login"},
    )
    assert isinstance(candidates(config, HOST, "team/app")[0], CredentialHelper)


def test_of_two_keys_for_a_registry_docker_s_own_key_wins() -> None:
    config = parsed(
        auths={
            "docker.io": {"auth": auth("loose:1")},
            HUB_KEY: {"auth": auth("own:2")},
            "https://index.docker.io/v1/access-token": {"auth": auth("desktop:3")},
            f"https://{HOST}/v2/": {"auth": auth("loose:1")},
            HOST: {"auth": auth("own:2")},
        }
    )
    assert stored(config, "docker.io") == login("own", "2")
    assert stored(config, HOST) == login("own", "2")


# -- namespaces of a registry (containers-auth.json(5)) --------------------------

WITH_NAMESPACES = {
    HOST: {"auth": auth("all:1")},
    f"{HOST}/team": {"auth": auth("team:2")},
    f"{HOST}/team/app/db/": {"auth": auth("db:3")},
    f"{HOST}/other": {},
    "docker.io/library": {"auth": auth("library:4")},
}


@pytest.mark.parametrize(
    ("registry", "repository", "username"),
    [
        (HOST, "", "all"),
        (HOST, "app", "all"),
        (HOST, "teams/app", "all"),
        (HOST, "team", "team"),
        (HOST, "team/app", "team"),
        (HOST, "team/app/db", "db"),
        (HOST, "team/app/db/deep", "db"),
        (HOST, "team/app/dbx", "team"),
        (HOST, "other/app", "all"),
        ("docker.io", "library/alpine", "library"),
        ("docker.io", "team/app", None),
        ("elsewhere.example.com", "team/app", None),
    ],
)
def test_the_longest_matching_namespace_wins(
    registry: str, repository: str, username: str | None
) -> None:
    found = stored(parsed(auths=WITH_NAMESPACES), registry, repository)
    assert (found and found.username) == username


def test_an_invalid_entry_of_a_namespace_is_not_skipped() -> None:
    """The login of the shorter name may be another account."""
    config = parsed(auths={**WITH_NAMESPACES, f"{HOST}/team/app": {"auth": "%%%"}})
    assert isinstance(candidates(config, HOST, "team/app")[0], Failure)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "config.json:1:1: not JSON"),
        (b'{"auths":\n {x}}', "config.json:2:3: not JSON"),
        (b"[]", "config.json:1: not a JSON object"),
        (b'{"auths":[]}', "config.json: auths: not an object"),
        (b'{"credHelpers":"x"}', "config.json: credHelpers: not an object"),
        (b'{"credsStore":1}', "config.json: credsStore: not a string"),
        (b'{"credsstore":1}', "config.json: credsStore: not a string"),
        (b'{"auth":{}}', 'config.json:1: "auth" must be "auths"'),
    ],
)
def test_a_damaged_file_is_refused_with_its_location(
    data: bytes, sentence: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_docker_config(data, "config.json")
    assert str(caught.value).startswith(sentence)


def test_a_section_may_be_in_any_case_as_in_docker() -> None:
    data = b'{"Auths":{"%s":{"username":"u","password":"p"}}}' % HOST.encode()
    (found,) = candidates(parse_docker_config(data, "config.json"), HOST)
    assert isinstance(found, FoundCredential)


def test_a_byte_order_mark_and_null_sections_are_accepted() -> None:
    data = b'\xef\xbb\xbf{"auths":null,"credHelpers":null,"credsStore":null}'
    assert candidates(parse_docker_config(data, "config.json"), HOST) == []
