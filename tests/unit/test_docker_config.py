from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from auditor.config import RegistrySettings, Settings
from auditor.errors import Failure, FailureKind, Stage, UsageError
from auditor.protocol.credential import Credential
from auditor.protocol.docker_config import DockerConfig, Unusable, parse_docker_config
from auditor.registry.credentials import Credentials
from auditor.secret import Secret

HOST = "dtr.example.com"


def auth(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


def parsed(**document: object) -> DockerConfig:
    return parse_docker_config(json.dumps(document).encode(), "config.json")


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
    assert config.find(registry) == login("me", "pass")
    assert config.find("elsewhere.example.com") is None


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
        ({}, None),
        ({"auth": ""}, None),
        ({"email": "me@example.com"}, None),
    ],
)
def test_an_entry_gives_its_credential(
    entry: dict[str, object], expected: Credential | None
) -> None:
    assert parsed(auths={HOST: entry}).find(HOST) == expected


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
            {"auth": auth("<token>:"), "identitytoken": "s3cret"},
            " holds an identity token, which is not supported yet; name a password_env",
        ),
        (
            {"registrytoken": "s3cret"},
            " holds an identity token, which is not supported yet; name a password_env",
        ),
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
    assert config.find(HOST) == Unusable(
        detail=f'config.json: auths."{HOST}"{sentence}'
    )
    assert config.find("ghcr.io") == login("me", "pass")


@pytest.mark.parametrize(
    "document",
    [
        {"credsStore": "desktop"},
        {"credsStore": "desktop", "auths": {HOST: {}}},
        {"credHelpers": {HOST: "ecr-login"}},
        {"credHelpers": {f"https://{HOST}": "ecr-login"}, "credsStore": ""},
    ],
)
def test_what_a_helper_keeps_is_never_silently_anonymous(
    document: dict[str, object],
) -> None:
    found = parsed(**document).find(HOST)
    assert isinstance(found, Unusable)
    assert f"the credential for {HOST} is with the helper" in found.detail


def test_an_entry_of_the_file_needs_no_helper() -> None:
    config = parsed(auths={HOST: {"auth": auth("me:pass")}}, credsStore="desktop")
    assert config.find(HOST) == login("me", "pass")


def test_a_helper_of_one_registry_says_nothing_about_others() -> None:
    assert parsed(credHelpers={"ghcr.io": "gh"}).find(HOST) is None


def test_of_two_keys_for_a_registry_docker_s_own_wins() -> None:
    config = parsed(
        auths={
            "docker.io": {"auth": auth("loose:1")},
            "https://index.docker.io/v1/": {"auth": auth("own:2")},
            "https://index.docker.io/v1/access-token": {"auth": auth("desktop:3")},
            f"https://{HOST}/v2/": {"auth": auth("loose:1")},
            HOST: {"auth": auth("own:2")},
        }
    )
    assert config.find("docker.io") == login("own", "2")
    assert config.find(HOST) == login("own", "2")


def test_a_credential_for_a_part_of_a_registry_is_not_used_for_all_of_it() -> None:
    found = parsed(auths={"quay.io/team": {"auth": auth("me:pass")}}).find("quay.io")
    assert isinstance(found, Unusable)
    assert "a credential for quay.io/team only" in found.detail


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
    assert parse_docker_config(data, "config.json").find(HOST) is None


# -- credentials -----------------------------------------------------------------


def write_config(folder: Path, **document: object) -> dict[str, str]:
    (folder / "config.json").write_text(json.dumps(document))
    return {"DOCKER_CONFIG": str(folder)}


def test_the_configuration_wins_over_docker_s_file(tmp_path: Path) -> None:
    environment = write_config(
        tmp_path, auths={name: {"auth": auth("d:d")} for name in (HOST, "ghcr.io")}
    )
    configured = RegistrySettings(username="me", password=Secret("pass"))
    settings = Settings(
        registries={HOST: configured, "ghcr.io": RegistrySettings(tries=5)}
    )
    credentials = Credentials.from_settings(settings, environment)
    assert credentials.lookup(HOST) == login("me", "pass")
    assert credentials.lookup("ghcr.io") == login("d", "d")
    assert credentials.lookup("quay.io") is None


def test_what_cannot_be_used_is_a_failure_of_the_token_stage(tmp_path: Path) -> None:
    environment = write_config(tmp_path, credsStore="desktop")
    found = Credentials.from_settings(Settings(), environment).lookup(HOST)
    assert isinstance(found, Failure)
    assert (found.kind, found.stage) == (FailureKind.DENIED, Stage.TOKEN)


def test_without_docker_s_file_everyone_is_anonymous(tmp_path: Path) -> None:
    environment = write_config(tmp_path, auths={HOST: {"auth": auth("d:d")}})
    for settings, variables in (
        (Settings(docker_config=False), environment),
        (Settings(), {"HOME": str(tmp_path / "nowhere")}),
        (Settings(), {}),
    ):
        assert Credentials.from_settings(settings, variables).lookup(HOST) is None


def test_docker_s_file_is_found_in_the_home_directory(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    write_config(tmp_path / ".docker", auths={HOST: {"auth": auth("d:d")}})
    found = Credentials.from_settings(Settings(), {"HOME": str(tmp_path)})
    assert found.lookup(HOST) == login("d", "d")


def test_an_authfile_is_used_instead_and_must_be_there(tmp_path: Path) -> None:
    environment = write_config(tmp_path, auths={HOST: {"auth": auth("d:d")}})
    path = tmp_path / "auth.json"
    settings = Settings(authfile=str(path))
    with pytest.raises(UsageError, match=r"auth\.json: no such file"):
        Credentials.from_settings(settings, environment)
    path.write_text("")
    assert Credentials.from_settings(settings, environment).lookup(HOST) is None
    path.write_text(json.dumps({"auths": {HOST: {"auth": auth("a:a")}}}))
    found = Credentials.from_settings(settings, environment).lookup(HOST)
    assert found == login("a", "a")


def test_an_unreadable_file_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        Credentials.from_settings(Settings(), {"DOCKER_CONFIG": str(tmp_path)})
    with pytest.raises(UsageError, match="larger than 1048576 bytes"):
        Credentials.from_settings(Settings(authfile="/dev/zero"), {})


def test_no_password_shows_in_what_is_printed(tmp_path: Path) -> None:
    environment = write_config(tmp_path, auths={HOST: {"auth": auth("me:hunter2")}})
    credentials = Credentials.from_settings(Settings(), environment)
    assert "hunter2" not in repr(credentials)
    assert "hunter2" not in repr(credentials.lookup(HOST))
