"""Which registries.conf files are read, their errors, and what insecure means.

tests/real/test_registries_conf.py compares prefixes and mirrors with skopeo.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from auditor.config import registries_conf
from auditor.config.registries_conf import (
    RegistriesConf,
    parse_registries_conf,
    read_registries_conf,
)
from auditor.errors import Failure, UsageError
from auditor.oci.reference import parse_reference


def conf(text: str, file: str = "registries.conf") -> RegistriesConf:
    return RegistriesConf(
        entries=tuple(parse_registries_conf(tomllib.loads(text), file))
    )


def entry(prefix: str, location: str) -> str:
    return f'[[registry]]\nprefix = "{prefix}"\nlocation = "{location}"\n'


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "etc"
    (folder / "registries.conf.d").mkdir(parents=True)
    monkeypatch.setattr(registries_conf, "SYSTEM_FILE", folder / "registries.conf")
    return folder


@pytest.fixture
def user(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / ".config" / "containers"
    (folder / "registries.conf.d").mkdir(parents=True)
    return folder


def locations(environment: dict[str, str]) -> dict[str, str]:
    read = read_registries_conf(environment)
    return {one.prefix: one.endpoint.location for one in read.entries}


def test_the_users_file_replaces_the_systems_and_drop_ins_follow(
    system: Path, user: Path, tmp_path: Path
) -> None:
    home = {"HOME": str(tmp_path / "home")}
    assert locations(home) == {}
    (system / "registries.conf").write_text(
        entry("a.io", "system.io") + entry("b.io", "system.io")
    )
    (system / "registries.conf.d" / "2.conf").write_text(entry("b.io", "two.io"))
    (system / "registries.conf.d" / "1.conf").write_text(entry("b.io", "one.io"))
    (system / "registries.conf.d" / "3.txt").write_text(entry("b.io", "three.io"))
    assert locations(home) == {"a.io": "system.io", "b.io": "two.io"}
    (user / "registries.conf.d" / "0.conf").write_text(entry("b.io", "user.io"))
    assert locations(home) == {"a.io": "system.io", "b.io": "user.io"}
    (user / "registries.conf").write_text(entry("c.io", "user.io"))
    assert locations(home) == {"c.io": "user.io", "b.io": "user.io"}
    named = tmp_path / "named.conf"
    named.write_text(entry("d.io", "named.io"))
    variables = {"CONTAINERS_REGISTRIES_CONF": str(named)}
    assert locations(variables) == {"d.io": "named.io", "b.io": "two.io"}
    assert read_registries_conf(variables).files == (
        str(named),
        str(system / "registries.conf.d" / "2.conf"),
    )
    named.unlink()
    with pytest.raises(UsageError, match="no such file; check CONTAINERS_REGISTRIES"):
        read_registries_conf(variables)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[registries.search]\nregistries = ['a.io']", "are format 1, which is not"),
        ("[[registry]", r"registries\.conf:1:\d+: "),
        ("registry = 1", "registry: must be tables"),
        ("[[registry]]", r"\[\[registry\]\] number 1: needs a prefix or a location"),
        ('[[registry]]\nprefix = "a.io"', 'the prefix "a.io" needs a location'),
        ('[[registry]]\nlocation = "https://a.io"', "must not have a scheme"),
        ('[[registry]]\nlocation = "team"', "must begin with a host"),
        ('[[registry]]\nlocation = "*.a.io"', "must begin with a host"),
        ('[[registry]]\nlocation = "a.io/Team"', "has no path of a repository"),
        ('[[registry]]\nlocation = "a.io"\nblocked = 1', "blocked: must be true or"),
        (entry("a.io", "a.io") + "mirror = 1", "mirror: must be tables"),
        (entry("a.io", "a.io") + "[[registry.mirror]]", "a mirror needs a location"),
        (
            entry("a.io", "a.io")
            + "[[registry.mirror]]\nlocation = 'b.io'\npull-from-mirror = 'never'",
            "pull-from-mirror: must be all, digest-only or tag-only",
        ),
        (
            entry("a.io", "a.io")
            + "mirror-by-digest-only = true\n"
            + "[[registry.mirror]]\nlocation = 'b.io'\npull-from-mirror = 'all'",
            "exclude each other",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_way_around(
    system: Path, text: str, sentence: str
) -> None:
    (system / "registries.conf").write_text(text)
    with pytest.raises(UsageError, match=sentence) as caught:
        read_registries_conf({})
    message = str(caught.value)
    assert message.startswith(f"{system}/registries.conf")
    assert message.endswith("or ignore these files with --no-registries-conf")


def test_format_one_in_the_debian_default_and_short_names_have_no_entries() -> None:
    text = 'unqualified-search-registries = ["a.io"]\n[aliases]\n"x" = "a.io/x"\n'
    assert conf(text).entries == ()


@pytest.mark.parametrize(
    ("host", "is_insecure"),
    [
        ("plain.example.com:5000", True),
        ("mirror.example.com", True),
        ("a.local", True),
        ("other.example.com", False),
        ("name.example.com", False),  # its location is asked, not the name
    ],
)
def test_hosts_of_insecure_endpoints_need_no_tls(host: str, is_insecure: bool) -> None:
    found = conf(
        entry("name.example.com", "plain.example.com:5000/x")
        + "insecure = true\n[[registry.mirror]]\n"
        + 'location = "mirror.example.com/hub"\ninsecure = true\n'
        + '[[registry]]\nprefix = "*.local"\ninsecure = true\n'
        + entry("other.example.com", "other.example.com")
    )
    assert found.is_insecure(host) is is_insecure


def test_a_name_that_a_location_spoils_is_a_failure() -> None:
    found = conf(entry("a.io", "mirror.io/hub"))
    (place,) = found.sources(parse_reference("a.io:5000/team/app:1"))
    assert isinstance(place, Failure)
    assert "makes mirror.io/hub:5000/team/app of this name" in place.detail
