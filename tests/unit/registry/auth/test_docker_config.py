"""What docker's config.json and podman's auth.json say of a repository."""

from __future__ import annotations

import base64
import json

import pytest

from auditor.errors import UsageError
from auditor.registry.auth.docker_config import (
    DockerConfig,
    Helper,
    Kept,
    Unusable,
    Way,
    parse_docker_config,
)
from auditor.util.secret import Secret
from auditor.wire.login import Credential, IdentityToken, Login, RegistryToken

HOST = "dtr.example.com"
HUB_KEY = "https://index.docker.io/v1/"


def auth(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


def parsed(**document: object) -> DockerConfig:
    return parse_docker_config(json.dumps(document).encode(), "config.json")


def ways(config: DockerConfig, registry: str, repository: str = "") -> list[Way]:
    return list(config.ways(registry, repository))


def kept(config: DockerConfig, registry: str, repository: str = "") -> Login | None:
    """The login that the best way leads to; None where there is no way."""
    for way in config.ways(registry, repository):
        assert isinstance(way, Kept), way
        return way.login
    return None


def asked(config: DockerConfig, registry: str, repository: str = "") -> list[str]:
    """The helpers that may be asked, as `NAME get SERVER`."""
    found = config.ways(registry, repository)
    return [f"{way.name} get {way.server}" for way in found if isinstance(way, Helper)]


def login(username: str, password: str) -> Credential:
    return Credential(username=username, password=Secret(password))


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
def test_a_key_is_found_by_the_registry_it_means(key: str, registry: str) -> None:
    config = parsed(auths={key: {"auth": auth("me:pass")}})
    assert kept(config, registry) == login("me", "pass")
    assert ways(config, "elsewhere.example.com") == []


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
def test_an_entry_gives_its_credential(
    entry: dict[str, object], expected: Login | None
) -> None:
    assert kept(parsed(auths={HOST: entry}), HOST) == expected


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"auth": "%%%"}, ".auth is not the base64 of user:password"),
        ({"auth": auth("nocolon")}, ".auth is not the base64 of user:password"),
        ({"auth": 1}, ".auth is not the base64 of user:password"),
        (
            {"auth": base64.b64encode(b"me:\xff").decode()},
            ".auth is not the base64 of user:password",
        ),
        (
            {"auth": auth("<token>:"), "identitytoken": "s3\ncret"},
            ".identitytoken is not one line of visible ASCII",
        ),
        ({"registrytoken": 7}, ".registrytoken is not one line of visible ASCII"),
        ({"username": "me"}, " holds half of a username and password"),
        (
            {"auth": auth("me:")},
            " holds a username or password that is empty or has control characters",
        ),
        (
            {"auth": auth("me:s3\ncret")},
            " holds a username or password that is empty or has control characters",
        ),
        ("s3cret", " is not an object"),
    ],
)
def test_an_entry_that_cannot_be_used_harms_its_registry_only(
    entry: object, sentence: str
) -> None:
    config = parsed(auths={HOST: entry, "ghcr.io": {"auth": auth("me:pass")}})
    assert ways(config, HOST) == [
        Unusable(detail=f'config.json: auths."{HOST}"{sentence}')
    ]
    assert kept(config, "ghcr.io") == login("me", "pass")


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
def test_a_helper_is_asked_about_its_server(
    document: dict[str, object], expected: list[str]
) -> None:
    config = parsed(**document)
    assert asked(config, HOST, "team/app") == expected
    assert len(ways(config, HOST, "team/app")) == len(expected)


@pytest.mark.parametrize(
    ("document", "server"),
    [
        ({"credsStore": "desktop"}, HUB_KEY),
        ({"credHelpers": {HUB_KEY: "desktop"}}, HUB_KEY),
        ({"credHelpers": {"docker.io": "desktop"}}, "docker.io"),
    ],
)
def test_a_helper_knows_docker_hub_by_the_name_that_its_owner_gave_it(
    document: dict[str, object], server: str
) -> None:
    assert asked(parsed(**document), "docker.io") == [f"desktop get {server}"]


@pytest.mark.parametrize("name", ["../x", "a b", "a;b", "", 7, "a/b", "$(id)", "a\n"])
@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_what_is_no_file_name_is_no_helper(key: str, name: object) -> None:
    if name == "" or (key == "credsStore" and name == 7):
        return  # an empty one is none; a number is refused with the whole file
    document = {key: {HOST: name} if key == "credHelpers" else name}
    (found,) = ways(parsed(**document), HOST)
    assert isinstance(found, Unusable)
    assert found.detail.startswith(f"config.json: {key}")
    assert "does not name a credential helper" in found.detail


def test_an_entry_of_the_file_needs_no_helper_of_all_registries() -> None:
    config = parsed(auths={HOST: {"auth": auth("me:pass")}}, credsStore="desktop")
    first, last = ways(config, HOST)
    assert isinstance(first, Kept)
    assert first.login == login("me", "pass")
    assert isinstance(last, Helper)


def test_a_helper_of_this_registry_comes_before_every_entry() -> None:
    """As in containers/image; docker does not look at the entry at all."""
    config = parsed(
        auths={
            HOST: {"auth": auth("me:pass")},
            f"{HOST}/team": {"auth": auth("me:pass")},
        },
        credHelpers={HOST: "ecr-login"},
    )
    assert isinstance(ways(config, HOST, "team/app")[0], Helper)


def test_of_two_keys_for_a_registry_docker_s_own_wins() -> None:
    config = parsed(
        auths={
            "docker.io": {"auth": auth("loose:1")},
            HUB_KEY: {"auth": auth("own:2")},
            "https://index.docker.io/v1/access-token": {"auth": auth("desktop:3")},
            f"https://{HOST}/v2/": {"auth": auth("loose:1")},
            HOST: {"auth": auth("own:2")},
        }
    )
    assert kept(config, "docker.io") == login("own", "2")
    assert kept(config, HOST) == login("own", "2")


# -- parts of a registry (containers-auth.json(5)) -------------------------------

DIVIDED = {
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
def test_the_longest_name_around_a_repository_wins(
    registry: str, repository: str, username: str | None
) -> None:
    found = kept(parsed(auths=DIVIDED), registry, repository)
    assert (found and found.username) == username


def test_a_damaged_entry_of_a_part_is_not_passed_over() -> None:
    """The shorter name's login may be somebody else's."""
    config = parsed(auths={**DIVIDED, f"{HOST}/team/app": {"auth": "%%%"}})
    assert isinstance(ways(config, HOST, "team/app")[0], Unusable)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "config.json:1:1: not JSON"),
        (b'{"auths":\n {x}}', "config.json:2:3: not JSON"),
        (b"[]", "config.json: JSON but not an object"),
        (b'{"auths":[]}', "config.json: auths is not an object"),
        (b'{"credHelpers":"x"}', "config.json: credHelpers is not an object"),
        (b'{"credsStore":1}', "config.json: credsStore is not a text"),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(data: bytes, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_docker_config(data, "config.json")
    assert str(caught.value).startswith(sentence)


def test_a_byte_order_mark_and_null_sections_are_no_damage() -> None:
    data = b'\xef\xbb\xbf{"auths":null,"credHelpers":null,"credsStore":null}'
    assert ways(parse_docker_config(data, "config.json"), HOST) == []
