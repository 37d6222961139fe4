from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import orjson
import pytest

from auditor.config import (
    OPTIONS,
    Group,
    Order,
    RegistrySettings,
    Settings,
    Shape,
    Where,
    decisive,
    load,
    options_of,
    read_toml,
    resolve,
)
from auditor.config.options import BY_NAME
from auditor.errors import ConfigError
from auditor.util.secret import Secret

HOST = "dtr.example.com"


def no_file(path: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", path)


def settings(
    file: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    files: Mapping[str, str] | None = None,
) -> Settings:
    return resolve(
        file=file,
        file_name="/etc/auditor/nightly.toml" if file is not None else None,
        environment=environment or {},
        flags=flags or {},
        read_file=files.__getitem__ if files else no_file,
    )


def mistakes(
    file: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    files: Mapping[str, str] | None = None,
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings(file, environment=environment, flags=flags, files=files)
    return [
        mistake.replace("/etc/auditor/nightly.toml", "nightly.toml")
        for mistake in caught.value.mistakes
    ]


def section(**values: object) -> dict[str, object]:
    return {"registry": {HOST: values}}


def test_a_section_for_a_part_of_a_registry_is_its_login() -> None:
    found = settings(
        {
            "tries": 5,
            "registry": {
                "docker.io/team": {"username": "a", "password_env": "A"},
                f"{HOST}:8443/team/app": {"username_env": "B", "password_env": "A"},
                HOST: {"requests_at_once": 2},
            },
        },
        environment={"A": "hunter2", "B": "b"},
    )
    assert {name: login.username for name, login in found.namespaces.items()} == {
        "docker.io/team": "a",
        f"{HOST}:8443/team/app": "b",
    }
    assert set(found.registries) == {HOST}
    assert found.registry("docker.io") == found.default_registry
    assert "hunter2" not in repr(found)


# -- the table -------------------------------------------------------------------


def test_each_setting_is_an_option_or_made_from_options() -> None:
    names = {option.name for option in OPTIONS}
    run = {field.name for field in fields(Settings)}
    registry = {field.name for field in fields(RegistrySettings)}
    assert run - names == {"registries", "default_registry", "namespaces"}
    assert registry - names == {"password"}
    assert names - run - registry == {
        "config",
        "username_env",
        "password_env",
        "password_file",
    }


def test_names_variables_and_flags_are_unique() -> None:
    flags = [flag for option in OPTIONS for flag in option.flags]
    variables = [option.variable for option in OPTIONS if option.variable]
    names = [option.name for option in OPTIONS]
    for values in (flags, variables, names):
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_explains_itself_in_one_sentence(option: object) -> None:
    (found,) = (one for one in OPTIONS if one is option)
    assert found.help.endswith(".")
    assert found.help[0].isupper()
    assert found.metavar


def test_what_is_said_of_one_registry_only_has_neither_flag_nor_variable() -> None:
    for option in OPTIONS:
        alone = option.where is Where.REGISTRY
        assert (option.variable is None) is alone
        assert (not option.flags and not option.positional) is alone


def test_a_default_is_a_value_that_the_option_itself_accepts() -> None:
    for option in OPTIONS:
        if option.default is not None:
            assert option.value.read(option.default, as_text=False) == option.default


def test_the_command_line_takes_whole_groups_in_table_order() -> None:
    assert [option.name for option in options_of(Group.CREDENTIALS)] == [
        "config",
        "docker_config",
        "authfile",
    ]


# -- precedence ------------------------------------------------------------------


def test_nothing_said_gives_the_defaults() -> None:
    assert settings() == Settings()


@pytest.mark.parametrize(
    ("file", "environment", "flags", "workers"),
    [
        ({}, {}, {}, None),
        ({"workers": 2}, {}, {}, 2),
        ({"workers": 2}, {"AUDITOR_WORKERS": "3"}, {}, 3),
        ({"workers": 2}, {"AUDITOR_WORKERS": "3"}, {"workers": "4"}, 4),
        ({"workers": 2}, {}, {"workers": 4}, 4),
        ({"workers": 2}, {"AUDITOR_WORKERS": ""}, {"workers": None}, 2),
    ],
)
def test_flags_win_over_environment_over_file_over_defaults(
    file: dict[str, object],
    environment: dict[str, str],
    flags: dict[str, object],
    workers: int | None,
) -> None:
    assert settings(file, environment=environment, flags=flags).workers == workers


def test_a_registry_has_twice_as_many_workers_as_it_is_sent_requests_at_once() -> None:
    said = settings(
        {"requests_at_once": 3, "registry": {"a.example.com": {"requests_at_once": 20}}}
    )
    assert said.workers_of("a.example.com") == 40
    assert said.workers_of("b.example.com") == said.workers_of(None) == 6
    assert settings({"workers": 5}).workers_of("a.example.com") == 5


def test_a_section_wins_over_the_top_and_loses_to_environment_and_flags() -> None:
    file = {
        "tries": 2,
        "page_size": 50,
        "registry": {HOST: {"tries": 5, "requests_at_once": 4, "page_size": 60}},
    }
    found = settings(
        file, environment={"AUDITOR_TRIES": "7"}, flags={"page_size": "70"}
    )
    here, elsewhere = found.registry(HOST), found.registry("ghcr.io")
    assert (here.tries, here.requests_at_once, here.page_size) == (7, 4, 70)
    assert (elsewhere.tries, elsewhere.requests_at_once) == (7, 8)
    assert settings(file).registry(HOST).tries == 5
    assert settings(file).registry("ghcr.io").tries == 2


def test_plain_http_on_the_command_line_is_said_of_every_registry() -> None:
    found = settings(section(plain_http=False), flags={"plain_http": True})
    assert found.registry(HOST).plain_http is True
    assert found.registry("ghcr.io").plain_http is True
    assert settings().default_registry.plain_http is None


@pytest.mark.parametrize(
    ("flags", "references", "lists"),
    [
        ({}, ("a",), ("/etc/auditor/b.txt",)),
        ({"references": ("c",)}, ("c", "a"), ("/etc/auditor/b.txt",)),
        ({"lists": ("-",)}, ("a",), ("-", "/etc/auditor/b.txt")),
        (
            {"references": ("c",), "lists": ("d",)},
            ("c", "a"),
            ("d", "/etc/auditor/b.txt"),
        ),
        ({"references": (), "lists": ()}, ("a",), ("/etc/auditor/b.txt",)),
    ],
)
def test_what_to_audit_adds_up_the_nearest_first(
    flags: dict[str, object], references: tuple[str, ...], lists: tuple[str, ...]
) -> None:
    found = settings({"references": ["a"], "lists": ["b.txt"]}, flags=flags)
    assert (found.references, found.lists) == (references, lists)


# -- values ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("WORKERS", "1_000", 1000),
        ("SHAPE", "layer", Shape.LAYER),
        ("ORDER", "completion", Order.COMPLETION),
        ("DOCKER_CONFIG", "No", False),
        ("DOCKER_CONFIG", "1", True),
        ("DOCKER_CONFIG", "off", False),
        ("REFERENCES", "alpine, debian:12", ("alpine", "debian:12")),
        ("OUTPUT", "~/report.jsonl", "/home/me/report.jsonl"),
        ("OUTPUT", "report.jsonl", "report.jsonl"),
    ],
)
def test_a_variable_is_read_as_its_option_s_type(
    name: str, text: str, value: object
) -> None:
    environment = {f"AUDITOR_{name}": text, "HOME": "/home/me"}
    assert getattr(settings(environment=environment), name.lower()) == value


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("90", 90), ("90.5", 90.5), ("90s", 90), ("90m", 5400), ("6h", 21600),
        ("1h30m", 5400), ("1h30m5s", 5405), (" 2m ", 120), (90, 90), (1.5, 1.5),
    ],
)  # fmt: skip
def test_a_duration_is_seconds_or_has_units(said: object, seconds: float) -> None:
    option = BY_NAME["deadline_s"]
    assert option.value.read(said, as_text=isinstance(said, str)) == seconds
    assert option.value.read(said, as_text=False) == seconds


@pytest.mark.parametrize("said", ["", "0", "m", "30m1h", "1d", "-1", "nan", "9000h"])
def test_what_is_no_duration_is_told_with_examples(said: str) -> None:
    with pytest.raises(ValueError, match="or a time such as 90m or 1h30m, is wanted"):
        BY_NAME["deadline_s"].value.read(said, as_text=True)


def test_a_resumed_run_is_compared_in_all_that_decides_what_a_record_says() -> None:
    """A new option about reports or images has to be put on one side or the other."""
    about = {option.name for option in options_of(Group.IMAGE, Group.REPORT)}
    assert about - set(decisive(Settings())) == {
        "output",
        "summary",
        "metrics",
        "order",
    }
    assert orjson.loads(orjson.dumps(decisive(Settings()))) == decisive(Settings())


def test_a_span_of_time_may_be_whole_or_not() -> None:
    assert settings({"connect_timeout_s": 3}).default_registry.connect_timeout_s == 3.0
    found = settings(environment={"AUDITOR_CONNECT_TIMEOUT_S": "2.5"})
    assert found.default_registry.connect_timeout_s == 2.5


@pytest.mark.parametrize(
    ("path", "whole"),
    [
        ("ca.pem", "/etc/auditor/ca.pem"),
        ("../ca.pem", "/etc/auditor/../ca.pem"),
        ("/srv/ca.pem", "/srv/ca.pem"),
        ("~/ca.pem", "/home/me/ca.pem"),
    ],
)
def test_paths_in_a_file_are_relative_to_it(path: str, whole: str) -> None:
    found = settings(section(ca_file=path), environment={"HOME": "/home/me"})
    assert found.registry(HOST).ca_file == whole


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("DTR.Example.com:8443", "dtr.example.com:8443"),
        ("localhost", "localhost"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_section_is_found_by_the_name_that_references_have(
    written: str, name: str
) -> None:
    assert settings({"registry": {written: {}}}).registries.keys() == {name}


# -- logins ----------------------------------------------------------------------


def test_a_password_comes_from_the_variable_that_the_file_names() -> None:
    found = settings(
        section(username="admin", password_env="AUDITOR_DTR_PASSWORD"),
        environment={"AUDITOR_DTR_PASSWORD": "pa:ss"},
    ).registry(HOST)
    assert (found.username, found.password) == ("admin", Secret("pa:ss"))
    assert "pa:ss" not in repr(found)


@pytest.mark.parametrize("content", ["s e c", "s e c\n", "s e c\r\n"])
def test_a_password_comes_from_the_file_beside_the_configuration(content: str) -> None:
    found = settings(
        section(username_env="WHO", password_file="secret"),
        environment={"WHO": "robot$audit"},
        files={"/etc/auditor/secret": content},
    ).registry(HOST)
    assert (found.username, found.password) == ("robot$audit", Secret("s e c"))


LOGIN = f'nightly.toml: registry."{HOST}"'


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"username": "a", "password_env": "MISSING"},
            ".password_env: the environment variable MISSING is not set",
        ),
        (
            {"username": "a", "password_env": "EMPTY"},
            ".password_env: the environment variable EMPTY is empty",
        ),
        (
            {"username": "a", "password_env": "BROKEN"},
            ".password_env: the password holds a control or line break character",
        ),
        (
            {"username": "a", "password_file": "gone"},
            (
                ".password_file: /etc/auditor/gone cannot be read:"
                " No such file or directory"
            ),
        ),
        (
            {"username_env": "COLON", "password_env": "GOOD"},
            ".username_env: COLON holds a colon or a control character",
        ),
        (
            {"username": "a", "username_env": "GOOD", "password_env": "GOOD"},
            ".username_env: username is given, too; one is enough",
        ),
        (
            {"username": "a", "password_env": "GOOD", "password_file": "gone"},
            ".password_file: password_env is given, too; one is enough",
        ),
        (
            {"username": "a"},
            ": a username without password_env or password_file",
        ),
        (
            {"password_env": "GOOD"},
            ": a password without username or username_env",
        ),
        (
            {"username": "a:b", "password_env": "GOOD"},
            ".username: a name without colons and control characters is wanted",
        ),
        (
            {"username": "a", "password_env": "hunter 2"},
            ".password_env: the name of an environment variable is wanted",
        ),
        (
            {"username": "a", "password": "hunter2"},
            (
                ".password: a password does not belong in this file;"
                " name what holds it: password_env = VARIABLE or password_file = FILE"
            ),
        ),
    ],
)
def test_a_wrong_login_is_one_mistake_with_its_place(
    values: dict[str, object], sentence: str
) -> None:
    environment = {"EMPTY": "", "COLON": "a:b", "BROKEN": "a\nb", "GOOD": "good"}
    assert mistakes(section(**values), environment=environment) == [LOGIN + sentence]


def test_an_unreadable_password_file_is_told_by_its_reason() -> None:
    with pytest.raises(ConfigError, match="secret is not UTF-8 text"):
        resolve(
            file=section(username="a", password_file="secret"),
            file_name=None,
            environment={},
            flags={},
            read_file=lambda _: b"\xff".decode(),
        )
    sentences = mistakes(
        section(username="a", password_file="secret"),
        files={"/etc/auditor/secret": "\n"},
    )
    assert sentences == [f"{LOGIN}.password_file: /etc/auditor/secret is empty"]


# -- mistakes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ({"worker": 3}, "worker: unknown key; did you mean workers?"),
        ({"zzz": 3}, "zzz: unknown key"),
        ({"a b\x1b": 3}, r'"a b\x1b": unknown key'),
        ({"registries": {}}, "registries: unknown key; did you mean registry?"),
        ({"workers": True}, "workers: a whole number from 1 to 1024 is wanted"),
        ({"workers": "16"}, "workers: a whole number from 1 to 1024 is wanted"),
        ({"workers": 1025}, "workers: a whole number from 1 to 1024 is wanted"),
        ({"shape": "leyer"}, "shape: image, platform or layer is wanted"),
        ({"docker_config": 1}, "docker_config: true or false is wanted"),
        ({"output": ""}, "output: a path is wanted"),
        ({"lists": "a.txt"}, "lists: a list, with a path in each place, is wanted"),
        (
            {"references": ["a", 1]},
            "references: a list, with a reference in each place, is wanted",
        ),
        (
            {"read_timeout_s": float("nan")},
            "read_timeout_s: a number of seconds from 0.1 to 3600 is wanted",
        ),
        (
            {"username": "admin"},
            'username: stands in a [registry."HOST"] section only',
        ),
        (
            {"password": "hunter2"},
            'password: stands in a [registry."HOST"] section only',
        ),
        ({"config": "x"}, "config: is not said in a file"),
        ({"registry": 1}, 'registry: a section is wanted: [registry."HOST"]'),
        (
            {"registry": {HOST: 1}},
            f'registry."{HOST}": a section is wanted: [registry."HOST"]',
        ),
        (
            {"registry": {"dtr": {"example": {"com": {}}}}},
            (
                'registry."dtr": "dtr" is not the name of a registry:'
                ' it has neither a dot nor a port; a section is [registry."HOST"]'
            ),
        ),
        (
            {"registry": {f"https://{HOST}": {}}},
            (
                f'registry."https://{HOST}": "https://{HOST}" is not the name of a'
                " registry: a registry is named by its host or host:port alone;"
                ' a section is [registry."HOST"]'
            ),
        ),
        (
            {"registry": {"docker.io": {}, "index.docker.io": {}}},
            (
                'registry."index.docker.io": the same registry as'
                ' nightly.toml: registry."docker.io"'
            ),
        ),
        (
            {"registry": {f"{HOST}/Team": {"username": "a"}}},
            (
                f'registry."{HOST}/Team": "{HOST}/Team" is not a part of a registry:'
                " after the host stands the beginning of a repository's name;"
                ' a section is [registry."HOST"]'
            ),
        ),
        (
            {"registry": {f"{HOST}/team": {"ca_file": "x"}}},
            (
                f'registry."{HOST}/team".ca_file: is said of a whole registry, in its'
                ' [registry."HOST"]; a part of one has a login only'
            ),
        ),
        (
            {"registry": {f"{HOST}/team": {}}},
            f'registry."{HOST}/team": a login is wanted: username and password',
        ),
        (
            section(pasword="x"),
            f'registry."{HOST}".pasword: unknown key; did you mean password_env?',
        ),
        (
            section(workers=3),
            f'registry."{HOST}".workers: stands at the top only, before every section',
        ),
        (
            section(token_url="https://user:hunter2@dtr.example.com/token"),
            (
                f'registry."{HOST}".token_url: an http or https URL without user and'
                " fragment is wanted"
            ),
        ),
        (
            section(token_url="dtr.example.com/auth/token"),
            (
                f'registry."{HOST}".token_url: an http or https URL without user and'
                " fragment is wanted"
            ),
        ),
        (
            section(proxy="http://me:hunter2@proxy:3128"),
            (
                f'registry."{HOST}".proxy: an http or https URL without user and'
                " password, or none, is wanted"
            ),
        ),
        (
            {"proxy": "socks5://proxy:1080"},
            "proxy: an http or https URL without user and password, or none, is wanted",
        ),
        (
            section(mirror="https://mirror.example.com"),
            (
                f'registry."{HOST}".mirror: HOST[:PORT] or HOST[:PORT]/NAMESPACE'
                " is wanted"
            ),
        ),
        (section(mirror=HOST), f'registry."{HOST}".mirror: it is itself'),
        (
            section(key_file="key.pem"),
            (
                f'registry."{HOST}": a key_file without the cert_file that it belongs'
                " to (key_file, --key-file)"
            ),
        ),
        (
            section(realm_hosts=["https://a.example"]),
            (
                f'registry."{HOST}".realm_hosts: a list, with a host name or address'
                " without scheme and port in each place, is wanted"
            ),
        ),
    ],
)
def test_a_mistake_in_a_file_says_its_place_and_what_is_right(
    file: dict[str, object], sentence: str
) -> None:
    assert mistakes(file) == [f"nightly.toml: {sentence}"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("WORKERS", "abc", "=abc: a whole number from 1 to 1024 is wanted"),
        ("WORKERS", "0x10", "=0x10: a whole number from 1 to 1024 is wanted"),
        ("WORKERS", "9" * 5000, f"={'9' * 59}…: a whole number from 1 to 1024"),
        ("DOCKER_CONFIG", "ja", "=ja: true or false is wanted"),
        ("READ_TIMEOUT_S", "inf", "=inf: a number of seconds from 0.1 to 3600"),
        ("WORKER", "3", ": unknown variable; did you mean AUDITOR_WORKERS?"),
        ("PLAIN_HTTP", "1", ": unknown variable; did you mean AUDITOR_PLAIN_HTTP?"),
        ("USERNAME", "me", ": unknown variable"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    name: str, text: str, sentence: str
) -> None:
    (mistake,) = mistakes(environment={f"AUDITOR_{name}": text})
    assert mistake.startswith(f"AUDITOR_{name}{sentence}")


def test_the_value_of_an_unknown_variable_is_not_shown() -> None:
    (mistake,) = mistakes(environment={"AUDITOR_PASSWORD": "hunter2"})
    assert "hunter2" not in mistake


def test_a_flag_that_can_be_repeated_says_what_one_of_it_is() -> None:
    # As for docker buildx, in one flag with a comma.
    assert mistakes(flags={"platforms": ("linux/amd64,linux/arm64",)}) == [
        "--platform: a platform such as linux/arm64 or linux/arm/v7 is wanted each time"
    ]


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("labels", "[", "org.*"),
        ("labels", "a[b", "a[!b-d]?"),
        ("labels", "a]", "[.-_]"),
        ("labels", "[z-a]", "[a-]"),
        ("labels", "a[]", "Ä b/c"),
        ("include", "1.[9-0]", "1.[0-9-]"),
        ("exclude", "v[_-.]", "v[._-]"),
        ("exclude_repositories", "team/[z-a]", "team/[a-z]"),
        ("realm_hosts", ":", "::1"),
        ("realm_hosts", "fe80::1%eth0", "fe80::1"),
        ("realm_hosts", "a.bc:443", "a.bc"),
    ],
)
def test_what_can_match_nothing_or_be_nowhere_is_a_mistake(
    name: str, wrong: str, right: str
) -> None:
    if name == "realm_hosts":
        assert settings(section(realm_hosts=[right])).registry(HOST)
        assert len(mistakes(section(realm_hosts=[wrong]))) == 1
        return
    assert getattr(settings(flags={name: (right,)}), name) == (right,)
    (mistake,) = mistakes(flags={name: (right, wrong)})
    assert mistake.startswith(f"{BY_NAME[name].flag}: ")
    assert mistake.endswith(" is wanted each time")


@pytest.mark.parametrize("wrong", ["foo", "off", "NONE", "foo.example.com", "foo:"])
def test_a_word_alone_is_no_proxy(wrong: str) -> None:
    assert mistakes(flags={"proxy": wrong}) == [
        "--proxy: an http or https URL without user and password, or none, is wanted"
    ]


@pytest.mark.parametrize("right", ["foo:3128", "foo:3128/", "http://foo", "none"])
def test_a_proxy_has_a_scheme_or_a_port(right: str) -> None:
    assert settings(flags={"proxy": right}).default_registry.proxy == right


def test_bounds_are_said_in_digits() -> None:
    assert mistakes(flags={"deadline_s": "5x"}) == [
        "--deadline: a number of seconds from 0.1 to 2678400, or a time such as 90m or"
        " 1h30m, is wanted"
    ]


def test_a_mistake_in_a_flag_names_the_flag() -> None:
    assert mistakes(flags={"workers": "0", "plain_http": "x"}) == [
        "--workers: a whole number from 1 to 1024 is wanted",
        "--plain-http: true or false is wanted",
    ]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"output": "a", "summary": "a"}, "--summary: the same file as --output"),
        ({"output": "a", "metrics": "./a"}, "--metrics: the same file as --output"),
        ({"summary": "a", "metrics": "a"}, "--metrics: the same file as --summary"),
        ({"output": "a", "summary": "a.journal"},
            "--summary: the same file as --output"),
        ({"summary": "-"},
            "--summary: a file is wanted; standard output is the report's"),
        ({"metrics": "-"},
            "--metrics: a file is wanted; standard output is the report's"),
        ({"output": "a", "lists": ("b", "./a")},
            "--output: it would take the place of the list ./a; name another"),
        ({"output": "a", "lists": ("a.partial",)},
            "--output: it would take the place of the list a.partial; name another"),
        ({"summary": "a", "lists": ("a",)},
            "--summary: it would take the place of the list a; name another"),
    ],
)  # fmt: skip
def test_a_file_that_is_read_or_written_already_is_a_mistake(
    flags: Mapping[str, object], told: str
) -> None:
    assert mistakes(flags=flags) == [told]


def test_what_is_read_and_written_may_be_a_stream() -> None:
    assert settings(flags={"output": "-", "lists": ("-",)}).lists == ("-",)


CLUSTER = "tcp://dask.example.com:8786"
NO_CLUSTER = (
    "--scheduler: a cluster audits nothing without --engine dask; give both or neither"
)
NO_PARTS = (
    "--parts: one process leaves no parts; share the run out with --processes N or"
    " --engine dask, or leave it away"
)
TWO_ENGINES = (
    "--processes: with --engine dask the workers of the cluster audit; give one of the"
    " two"
)


@pytest.mark.parametrize(
    ("file", "flags", "told"),
    [
        ({}, {"scheduler": CLUSTER}, [NO_CLUSTER]),
        ({}, {"scheduler": CLUSTER, "processes": "2"}, [NO_CLUSTER]),
        ({"engine": "dask"}, {"scheduler": CLUSTER, "engine": "local"}, [NO_CLUSTER]),
        ({}, {"parts": "parts"}, [NO_PARTS]),
        ({}, {"parts": "parts", "processes": "1"}, [NO_PARTS]),
        ({}, {"parts": "p", "scheduler": CLUSTER}, [NO_CLUSTER, NO_PARTS]),
        ({}, {"processes": "2", "engine": "dask"}, [TWO_ENGINES]),
        ({"engine": "dask"}, {"processes": 2}, [TWO_ENGINES]),
        # What decides was not understood: nothing more is concluded of it.
        ({}, {"scheduler": CLUSTER, "engine": "desk"}, [
            "--engine: local or dask is wanted"]),
    ],
)  # fmt: skip
def test_a_flag_that_the_run_would_not_heed_is_a_mistake(
    file: dict[str, object], flags: dict[str, object], told: list[str]
) -> None:
    assert mistakes(file, flags=flags) == told


@pytest.mark.parametrize(
    ("file", "flags"),
    [
        # Other nights use them: a file is that of many runs.
        ({"scheduler": CLUSTER, "parts": "parts"}, {}),
        ({"scheduler": CLUSTER, "parts": "parts"}, {"engine": "local"}),
        ({"scheduler": CLUSTER, "parts": "parts"}, {"engine": "dask"}),
        ({"processes": 2}, {"engine": "dask", "scheduler": CLUSTER}),
        ({"engine": "dask"}, {"scheduler": CLUSTER, "parts": "parts"}),
        ({"engine": "dask"}, {"processes": "1", "engine": "local"}),
        ({}, {"processes": "2", "parts": "parts"}),
        ({"processes": 2}, {"parts": "parts"}),
    ],
)
def test_what_is_said_once_for_many_runs_need_not_be_of_use_to_each(
    file: dict[str, object], flags: dict[str, object]
) -> None:
    assert settings(file, flags=flags)


@pytest.mark.parametrize("where", ["flag", "registry"])
def test_a_time_for_a_reference_and_hours_of_waiting_are_a_mistake(where: str) -> None:
    flags = {"reference_timeout_s": "15m"}
    sections = {HOST: {"allowance": "spread"}} if where == "registry" else {}
    if where == "flag":
        flags["allowance"] = "spread"
    assert mistakes({"registry": sections}, flags=flags) == [
        "--reference-timeout: a reference may wait for hours where an allowance is"
        " spread (--allowance spread); say one of the two"
    ]


def test_every_mistake_of_every_layer_is_told_at_once() -> None:
    found = mistakes(
        {"worker": 1, "registry": {HOST: {"username": "a", "tries": 0}}},
        environment={"AUDITOR_WINDOW": "x"},
        flags={"workers": "y"},
    )
    assert [mistake.split(": ")[0] for mistake in found] == [
        "nightly.toml",
        "nightly.toml",
        "AUDITOR_WINDOW=x",
        "--workers",
        "nightly.toml",
    ]


# -- files -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"workers = \n", ":1:11: Invalid value"),
        (b"a = 1\nb = [", ":2:6: Invalid value"),
        (b"a = 1\nb = '\xff'", ":2: not UTF-8 text"),
    ],
)
def test_a_syntax_error_is_told_with_line_and_column(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_toml(str(path))
    assert caught.value.mistakes == (f"{path}{sentence}",)


def test_a_mistake_in_a_file_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "nightly.toml"
    path.write_text(
        'references = [\n  "alpine",\n]\nworkers = 0   # tries = 0\n\n'
        '[registry."a.example"]\ntires = 2\nusername = "me"\n'
        '[registry."b.example"]\npassword_env = "NOT_SET"\nusername = "me"\n'
        '[registry."B.EXAMPLE"]\n[registry."c.example"]\nusername = "me"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load({}, {"config": str(path)})
    assert [one.removeprefix(str(path)) for one in caught.value.mistakes] == [
        ":4: workers: a whole number from 1 to 1024 is wanted",
        ':7: registry."a.example".tires: unknown key; did you mean tries?',
        (
            ':12: registry."B.EXAMPLE": the same registry as'
            f' {path}:9: registry."b.example"'
        ),
        (
            ':10: registry."b.example".password_env: the environment variable NOT_SET'
            " is not set"
        ),
        (':13: registry."c.example": a username without password_env or password_file'),
    ]


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "gone.toml"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load({}, {"config": str(path)})


def test_a_file_that_does_not_end_is_not_read_whole() -> None:
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        load({}, {"config": "/dev/zero"})


@pytest.mark.parametrize("by_flag", [True, False])
def test_flag_or_variable_names_the_file_and_its_password_file(
    tmp_path: Path, *, by_flag: bool
) -> None:
    path = tmp_path / "auditor.toml"
    path.write_text(
        '\ufeffworkers = 3\n[registry."dtr.example.com"]\n'
        'username = "admin"\npassword_file = "secret"\n'
    )
    (tmp_path / "secret").write_text("pässword\n")
    found = (
        load({}, {"config": str(path)})
        if by_flag
        else load({"AUDITOR_CONFIG": "~/auditor.toml", "HOME": str(tmp_path)}, {})
    )
    assert found.workers == 3
    assert found.registry(HOST).password == Secret("pässword")


def test_without_a_file_environment_and_flags_are_enough() -> None:
    assert load({"AUDITOR_TRIES": "2"}, {"workers": "4"}) == Settings(
        workers=4, default_registry=RegistrySettings(tries=2)
    )


def test_reading_a_configuration_loads_neither_network_nor_terminal_libraries() -> None:
    code = (
        "import sys, auditor.config;"
        "sys.exit(bool({'aiohttp', 'anyio', 'rich'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
