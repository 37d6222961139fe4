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
    CloudLogin,
    Option,
    OptionGroup,
    RegistrySettings,
    Settings,
    load_settings,
    options_of,
    read_toml,
    record_settings,
    resolve_settings,
)
from auditor.config.option import OptionScope
from auditor.config.option_table import OPTION_BY_NAME
from auditor.config.requests_at_once import DEFAULT_REQUESTS_AT_ONCE
from auditor.config.settings import LoginProgram
from auditor.errors import ConfigError
from auditor.model import Order, Shape
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
    return resolve_settings(
        file=file,
        file_name="/etc/auditor/nightly.toml" if file is not None else None,
        environment=environment or {},
        flags=flags or {},
        read_file=files.__getitem__ if files else no_file,
    )


def errors(
    file: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    files: Mapping[str, str] | None = None,
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings(file, environment=environment, flags=flags, files=files)
    return [
        error.replace("/etc/auditor/nightly.toml", "nightly.toml")
        for error in caught.value.mistakes
    ]


def section(**values: object) -> dict[str, object]:
    return {"registry": {HOST: values}}


def test_the_section_of_a_namespace_is_its_login() -> None:
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


def test_each_setting_belongs_to_an_option_or_is_made_from_options() -> None:
    names = {option.field for option in OPTIONS}
    run = {field.name for field in fields(Settings)}
    registry = {field.name for field in fields(RegistrySettings)}
    assert run - names == {
        "registries",
        "default_registry",
        "namespaces",
        "login_locations",
        "nightly",
    }
    assert registry - names == {"password", "login_program"}
    assert names - run - registry == {
        "config",
        "username_env",
        "password_env",
        "password_file",
        "password_command",
        "helper",
    }


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_flag_key_and_variable_have_one_name(option: Option) -> None:
    if option.variable is not None:
        assert option.variable == f"AUDITOR_{option.name.upper()}"
    for flag in option.flags:
        if flag.startswith("--"):
            name, _, negative = flag.partition("/")
            assert name == f"--{option.name.replace('_', '-')}"
            assert negative in {"", f"--no-{option.name.replace('_', '-')}"}
    assert option.field in {option.name, f"{option.name}_s", option.plural}
    assert (option.plural is None) or option.value.is_list


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
    assert found.value.metavar


def test_an_option_of_a_section_has_neither_flag_nor_variable() -> None:
    for option in OPTIONS:
        alone = option.scope is OptionScope.REGISTRY
        assert (option.variable is None) is alone
        assert (not option.flags and not option.positional) is alone


def test_a_default_is_a_value_that_the_option_itself_accepts() -> None:
    for option in OPTIONS:
        if option.default is not None:
            assert option.value.read(option.default, as_text=False) == option.default


def test_the_command_line_takes_whole_groups_in_table_order() -> None:
    assert [option.name for option in options_of(OptionGroup.CREDENTIALS)] == [
        "config",
        "docker_config",
        "authfile",
        "cloud_login",
    ]


# -- precedence ------------------------------------------------------------------


def test_without_values_the_settings_are_the_defaults() -> None:
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


def test_workers_default_to_twice_the_concurrent_requests() -> None:
    resolved = settings(
        {"requests_at_once": 3, "registry": {"a.example.com": {"requests_at_once": 20}}}
    )
    assert resolved.workers_of("a.example.com") == 40
    assert resolved.workers_of("b.example.com") == resolved.workers_of(None) == 6
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
    assert (elsewhere.tries, elsewhere.requests_at_once) == (
        7,
        DEFAULT_REQUESTS_AT_ONCE,
    )
    assert settings(file).registry(HOST).tries == 5
    assert settings(file).registry("ghcr.io").tries == 2


def test_a_flag_applies_to_every_registry() -> None:
    found = settings(section(plain_http=False), flags={"plain_http": True})
    assert found.registry(HOST).plain_http is True
    assert found.registry("ghcr.io").plain_http is True
    assert settings().default_registry.plain_http is None


@pytest.mark.parametrize(
    ("flags", "references", "lists"),
    [
        ({}, ("a",), ("/etc/auditor/b.txt",)),
        ({"reference": ("c",)}, ("c", "a"), ("/etc/auditor/b.txt",)),
        ({"list": ("-",)}, ("a",), ("-", "/etc/auditor/b.txt")),
        (
            {"reference": ("c",), "list": ("d",)},
            ("c", "a"),
            ("d", "/etc/auditor/b.txt"),
        ),
        ({"reference": (), "list": ()}, ("a",), ("/etc/auditor/b.txt",)),
    ],
)
def test_input_adds_up_with_flags_first(
    flags: dict[str, object], references: tuple[str, ...], lists: tuple[str, ...]
) -> None:
    found = settings({"reference": ["a"], "list": ["b.txt"]}, flags=flags)
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
        ("REFERENCE", "alpine, debian:12", ("alpine", "debian:12")),
        ("OUTPUT", "~/report.jsonl", "/home/me/report.jsonl"),
        ("OUTPUT", "report.jsonl", "report.jsonl"),
    ],
)
def test_a_variable_is_converted_to_the_type_of_its_option(
    name: str, text: str, value: object
) -> None:
    environment = {f"AUDITOR_{name}": text, "HOME": "/home/me"}
    field = OPTION_BY_NAME[name.lower()].field
    assert getattr(settings(environment=environment), field) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90.5", 90.5), ("90s", 90), ("90m", 5400), ("6h", 21600),
        ("1h30m", 5400), ("1h30m5s", 5405), (" 2m ", 120), ("7d", 604_800),
        ("1w2d", 777_600), ("1d12h", 129_600), (90, 90), (1.5, 1.5),
    ],
)  # fmt: skip
def test_a_duration_is_seconds_or_has_units(text: object, seconds: float) -> None:
    option = OPTION_BY_NAME["deadline"]
    assert option.value.read(text, as_text=isinstance(text, str)) == seconds
    assert option.value.read(text, as_text=False) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "m", "30m1h", "1h1d", "40d", "-1", "nan", "9000h"]
)
def test_an_invalid_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="or a duration such as 90m, 1h30m or 7d"):
        OPTION_BY_NAME["deadline"].value.read(text, as_text=True)


def test_the_settings_of_records_are_every_image_and_report_option_but_the_files() -> (
    None
):
    """A new option about reports or images must be added to one of the two."""
    about = {
        option.name for option in options_of(OptionGroup.IMAGE, OptionGroup.REPORT)
    }
    assert about - set(record_settings(Settings())) == {
        "format",
        "output",
        "summary",
        "metrics",
        "sbom",
        "order",
    }
    assert orjson.loads(orjson.dumps(record_settings(Settings()))) == record_settings(
        Settings()
    )


def test_a_duration_may_be_an_integer_or_not() -> None:
    assert settings({"connect_timeout": 3}).default_registry.connect_timeout_s == 3.0
    found = settings(environment={"AUDITOR_CONNECT_TIMEOUT": "2.5"})
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
def test_a_section_is_keyed_by_the_canonical_name(written: str, name: str) -> None:
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
            ".password_env: the password contains a control character or a line break",
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
            ".username_env: COLON contains a colon or a control character",
        ),
        (
            {"username": "a", "username_env": "GOOD", "password_env": "GOOD"},
            ".username_env: username is set, too; remove one of them",
        ),
        (
            {"username": "a", "password_env": "GOOD", "password_file": "gone"},
            ".password_file: password_env is set, too; remove one of them",
        ),
        (
            {"username": "a"},
            ": a user without a password; add password_env, password_file or"
            " password_command",
        ),
        (
            {"password_env": "GOOD"},
            ": a password without a user; add username or username_env",
        ),
        (
            {"username": "a:b", "password_env": "GOOD"},
            ".username: must be a name without colons and control characters",
        ),
        (
            {"username": "a", "password_env": "hunter 2"},
            ".password_env: must be the name of an environment variable",
        ),
        (
            {"username": "a", "helper": "ecr-login"},
            ".username: a helper prints the user, too; remove this",
        ),
        (
            {"helper": "../evil"},
            (
                ".helper: must be the name of a helper without docker-credential-, such"
                " as ecr-login"
            ),
        ),
        (
            {"helper": "ecr-login", "password_command": ["pass", "show"]},
            ".helper: password_command is set, too; remove one of them",
        ),
        (
            {"username": "a", "password_env": "GOOD", "password_command": ["pass"]},
            ".password_command: password_env is set, too; remove one of them",
        ),
        (
            {"username": "a", "password_command": []},
            ".password_command: names no program",
        ),
        (
            {"username": "a", "password_command": "pass show registry"},
            (
                ".password_command: must be a list; each item must be a text without"
                " control characters"
            ),
        ),
        (
            {"password_command": ["pass"]},
            ": a password without a user; add username or username_env",
        ),
        (
            {"cloud_login": "always"},
            (
                ".cloud_login: always needs a registry of AWS, Google or Azure, by its"
                " own host name"
            ),
        ),
        (
            {"role_arn": "arn:aws:iam::123456789012:role/audit"},
            ".role_arn: is for registries of Amazon ECR only",
        ),
        (
            {"lister": "ecr"},
            ".lister: ecr is for private registries of Amazon ECR only",
        ),
        (
            {"lister": "nexus", "api_url": "https://nexus.example.com"},
            (
                '.lister: nexus needs api_url = "https://HOST/repository/NAME", as'
                " Nexus shows it for the repository"
            ),
        ),
        (
            {"role_arn": "audit"},
            (
                ".role_arn: must be the ARN of a role, such as"
                " arn:aws:iam::123456789012:role/audit"
            ),
        ),
        (
            {"username": "a", "password": "hunter2"},
            (
                ".password: a password does not belong in this file;"
                " name its source: password_env = VARIABLE or password_file = FILE"
            ),
        ),
    ],
)
def test_an_invalid_login_is_one_error_with_its_location(
    values: dict[str, object], sentence: str
) -> None:
    environment = {"EMPTY": "", "COLON": "a:b", "BROKEN": "a\nb", "GOOD": "good"}
    assert errors(section(**values), environment=environment) == [LOGIN + sentence]


def test_a_program_can_be_the_source_of_a_login() -> None:
    ecr = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    role = "arn:aws:iam::123456789012:role/audit"
    settings = resolve_settings(
        file={
            "registry": {
                "a.example.com": {"helper": "ecr-login"},
                "b.example.com": {"username": "u", "password_command": ["pass", "b"]},
                "b.example.com/team": {"helper": "other"},
                ecr: {"cloud_login": "always", "role_arn": role, "aws_profile": "prod"},
            }
        },
        file_name="nightly.toml",
        environment={},
        flags={},
        read_file=str,
    )
    assert settings.registry("a.example.com").login_program == LoginProgram(
        helper="ecr-login"
    )
    assert settings.registry("b.example.com").login_program == LoginProgram(
        command=("pass", "b"), username="u"
    )
    assert settings.namespaces["b.example.com/team"] == LoginProgram(helper="other")
    assert settings.registry(ecr).cloud_login is CloudLogin.ALWAYS
    assert settings.registry(ecr).role_arn == role
    location = str(settings.login_locations["b.example.com"])
    assert location == "password_command pass (nightly.toml)"


def test_an_unreadable_password_file_is_an_error_with_the_reason() -> None:
    with pytest.raises(ConfigError, match="secret is not UTF-8 text"):
        resolve_settings(
            file=section(username="a", password_file="secret"),
            file_name=None,
            environment={},
            flags={},
            read_file=lambda _: b"\xff".decode(),
        )
    sentences = errors(
        section(username="a", password_file="secret"),
        files={"/etc/auditor/secret": "\n"},
    )
    assert sentences == [f"{LOGIN}.password_file: /etc/auditor/secret is empty"]


# -- errors --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ({"worker": 3}, "worker: unknown key; did you mean workers?"),
        ({"zzz": 3}, "zzz: unknown key"),
        ({"a b\x1b": 3}, r'"a b\x1b": unknown key'),
        ({"registries": {}}, "registries: unknown key; did you mean registry?"),
        ({"workers": True}, "workers: must be a whole number from 1 to 1024"),
        ({"workers": "16"}, "workers: must be a whole number from 1 to 1024"),
        ({"workers": 1025}, "workers: must be a whole number from 1 to 1024"),
        ({"shape": "leyer"}, "shape: must be image, platform or layer"),
        ({"docker_config": 1}, "docker_config: must be true or false"),
        ({"output": ""}, "output: must be a path"),
        ({"list": "a.txt"}, "list: must be a list; each item must be a path"),
        (
            {"reference": ["a", 1]},
            "reference: must be a list; each item must be a reference",
        ),
        (
            {"read_timeout": float("nan")},
            (
                "read_timeout: must be a number of seconds from 0.1 to 3600, or a"
                " duration such as 90m, 1h30m or 7d"
            ),
        ),
        (
            {"username": "admin"},
            'username: only valid in a section [registry."HOST"]',
        ),
        (
            {"password": "hunter2"},
            'password: only valid in a section [registry."HOST"]',
        ),
        ({"config": "x"}, "config: not valid in a file; use the flag or variable"),
        ({"registry": 1}, 'registry: must be a section: [registry."HOST"]'),
        (
            {"registry": {HOST: 1}},
            f'registry."{HOST}": must be a section: [registry."HOST"]',
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
                " registry: expected host or host:port without a path;"
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
                f'registry."{HOST}/Team": "{HOST}/Team" is not a namespace of a'
                " registry: expected host/path of repositories;"
                ' a section is [registry."HOST"]'
            ),
        ),
        (
            {"registry": {f"{HOST}/team": {"ca_file": "x"}}},
            (
                f'registry."{HOST}/team".ca_file: applies to a whole registry: move it'
                ' to [registry."HOST"]; the section of a namespace only has a login'
            ),
        ),
        (
            {"registry": {f"{HOST}/team": {}}},
            f'registry."{HOST}/team": needs a login: username and password_env',
        ),
        (
            section(pasword="x"),
            f'registry."{HOST}".pasword: unknown key; did you mean password_env?',
        ),
        (
            section(workers=3),
            f'registry."{HOST}".workers: only valid at the top, before every section',
        ),
        (
            section(token_url="https://user:hunter2@dtr.example.com/token"),
            (
                f'registry."{HOST}".token_url: must be an http or https URL without'
                " user and fragment"
            ),
        ),
        (
            section(token_url="dtr.example.com/auth/token"),
            (
                f'registry."{HOST}".token_url: must be an http or https URL without'
                " user and fragment"
            ),
        ),
        (
            section(proxy="http://me:hunter2@proxy:3128"),
            (
                f'registry."{HOST}".proxy: must be an http or https URL without user'
                " and password, or none"
            ),
        ),
        (
            {"proxy": "socks5://proxy:1080"},
            "proxy: must be an http or https URL without user and password, or none",
        ),
        (
            section(mirror="https://mirror.example.com"),
            (f'registry."{HOST}".mirror: must be HOST[:PORT] or HOST[:PORT]/NAMESPACE'),
        ),
        (
            section(mirror=HOST),
            f'registry."{HOST}".mirror: must not be the registry itself',
        ),
        (
            section(key_file="key.pem"),
            f'registry."{HOST}": key_file needs cert_file, the certificate of this key',
        ),
        (
            section(realm_host=["https://a.example"]),
            (
                f'registry."{HOST}".realm_host: must be a list; each item must be a'
                " host name or address without scheme and port"
            ),
        ),
    ],
)
def test_an_error_in_a_file_has_its_location_and_the_valid_values(
    file: dict[str, object], sentence: str
) -> None:
    assert errors(file) == [f"nightly.toml: {sentence}"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("WORKERS", "abc", "=abc: must be a whole number from 1 to 1024"),
        ("WORKERS", "0x10", "=0x10: must be a whole number from 1 to 1024"),
        ("WORKERS", "9" * 5000, f"={'9' * 59}…: must be a whole number from 1 to 1024"),
        ("DOCKER_CONFIG", "ja", "=ja: must be true or false"),
        ("READ_TIMEOUT", "inf", "=inf: must be a number of seconds from 0.1 to 3600"),
        ("WORKER", "3", ": unknown variable; did you mean AUDITOR_WORKERS?"),
        ("PLAINHTTP", "1", ": unknown variable; did you mean AUDITOR_PLAIN_HTTP?"),
        ("USERNAME", "me", ": unknown variable"),
    ],
)
def test_an_error_in_the_environment_names_the_variable(
    name: str, text: str, sentence: str
) -> None:
    (error,) = errors(environment={f"AUDITOR_{name}": text})
    assert error.startswith(f"AUDITOR_{name}{sentence}")


def test_the_value_of_an_unknown_variable_is_not_shown() -> None:
    (error,) = errors(environment={"AUDITOR_PASSWORD": "hunter2"})
    assert "hunter2" not in error


def test_an_error_in_a_repeated_flag_describes_one_value() -> None:
    # As for docker buildx, in one flag with a comma.
    assert errors(flags={"platform": ("linux/amd64,linux/arm64",)}) == [
        "--platform: each value must be a platform such as linux/arm64 or linux/arm/v7"
    ]


def test_a_namespace_to_list_may_have_capitals() -> None:
    """Owners of Gitea and Forgejo have; their repositories are in lower case."""
    found = settings(section(list_namespace=["Team", "Group/Sub-Group"]))
    assert found.registry(HOST).list_namespaces == ("Team", "Group/Sub-Group")
    assert len(errors(section(list_namespace=["Te am"]))) == 1
    assert len(errors(section(list_namespace=["/Team"]))) == 1


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("label", "[", "org.*"),
        ("label", "a[b", "a[!b-d]?"),
        ("label", "a]", "[.-_]"),
        ("label", "[z-a]", "[a-]"),
        ("label", "a[]", "Ä b/c"),
        ("include", "1.[9-0]", "1.[0-9-]"),
        ("exclude", "v[_-.]", "v[._-]"),
        ("exclude_repository", "team/[z-a]", "team/[a-z]"),
        ("realm_host", ":", "::1"),
        ("realm_host", "fe80::1%eth0", "fe80::1"),
        ("realm_host", "a.bc:443", "a.bc"),
    ],
)
def test_a_pattern_that_cannot_match_is_an_error(
    name: str, wrong: str, right: str
) -> None:
    if name == "realm_host":
        assert settings(section(realm_host=[right])).registry(HOST)
        assert len(errors(section(realm_host=[wrong]))) == 1
        return
    assert getattr(settings(flags={name: (right,)}), OPTION_BY_NAME[name].field) == (
        right,
    )
    (error,) = errors(flags={name: (right, wrong)})
    assert error.startswith(f"{OPTION_BY_NAME[name].flag}: each value must be ")


@pytest.mark.parametrize("wrong", ["foo", "off", "NONE", "foo.example.com", "foo:"])
def test_a_single_word_is_not_a_proxy(wrong: str) -> None:
    assert errors(flags={"proxy": wrong}) == [
        "--proxy: must be an http or https URL without user and password, or none"
    ]


@pytest.mark.parametrize("right", ["foo:3128", "foo:3128/", "http://foo", "none"])
def test_a_proxy_has_a_scheme_or_a_port(right: str) -> None:
    assert settings(flags={"proxy": right}).default_registry.proxy == right


def test_bounds_are_printed_in_digits() -> None:
    assert errors(flags={"deadline": "5x"}) == [
        "--deadline: must be a number of seconds from 0.1 to 2678400, or a duration"
        " such as 90m, 1h30m or 7d"
    ]


def test_an_error_in_a_flag_names_the_flag() -> None:
    assert errors(flags={"workers": "0", "plain_http": "x"}) == [
        "--workers: must be a whole number from 1 to 1024",
        "--plain-http: must be true or false",
    ]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"output": "a", "summary": "a"}, "--summary: the same file as --output"),
        ({"output": "a", "metrics": "./a"}, "--metrics: the same file as --output"),
        ({"summary": "a", "metrics": "a"}, "--metrics: the same file as --summary"),
        ({"output": "a", "summary": "a.journal"},
            "--summary: the same file as --output"),
        ({"summary": "-"},
            "--summary: must be a file; standard output is for the report"),
        ({"metrics": "-"},
            "--metrics: must be a file; standard output is for the report"),
        ({"output": "a", "list": ("b", "./a")},
            "--output: would overwrite the input list ./a; choose another file"),
        ({"output": "a", "list": ("a.partial",)},
            "--output: would overwrite the input list a.partial; choose another file"),
        ({"summary": "a", "list": ("a",)},
            "--summary: would overwrite the input list a; choose another file"),
    ],
)  # fmt: skip
def test_writing_over_an_input_or_another_output_is_an_error(
    flags: Mapping[str, object], expected: str
) -> None:
    assert errors(flags=flags) == [expected]


def test_input_and_output_may_be_standard_streams() -> None:
    assert settings(flags={"output": "-", "list": ("-",)}).lists == ("-",)


CLUSTER = "tcp://dask.example.com:8786"
NO_CLUSTER = "--scheduler: has no effect without --engine dask; add it"
NO_SHARDS = (
    "--shard-dir: has no effect without shards; add --processes N or --engine dask"
)
TWO_ENGINES = (
    "--processes: has no effect with --engine dask, whose workers audit; remove one of"
    " the two"
)


@pytest.mark.parametrize(
    ("file", "flags", "expected"),
    [
        ({}, {"scheduler": CLUSTER}, [NO_CLUSTER]),
        ({}, {"scheduler": CLUSTER, "processes": "2"}, [NO_CLUSTER]),
        ({"engine": "dask"}, {"scheduler": CLUSTER, "engine": "local"}, [NO_CLUSTER]),
        ({}, {"shard_dir": "parts"}, [NO_SHARDS]),
        ({}, {"shard_dir": "parts", "processes": "1"}, [NO_SHARDS]),
        ({}, {"shard_dir": "p", "scheduler": CLUSTER}, [NO_CLUSTER, NO_SHARDS]),
        ({}, {"processes": "2", "engine": "dask"}, [TWO_ENGINES]),
        ({"engine": "dask"}, {"processes": 2}, [TWO_ENGINES]),
        # What decides was not understood: nothing more is concluded of it.
        ({}, {"scheduler": CLUSTER, "engine": "desk"}, [
            "--engine: must be local or dask"]),
    ],
)  # fmt: skip
def test_a_flag_without_effect_is_an_error(
    file: dict[str, object], flags: dict[str, object], expected: list[str]
) -> None:
    assert errors(file, flags=flags) == expected


@pytest.mark.parametrize(
    ("file", "flags"),
    [
        # Other nights use them: a file is that of many runs.
        ({"scheduler": CLUSTER, "shard_dir": "parts"}, {}),
        ({"scheduler": CLUSTER, "shard_dir": "parts"}, {"engine": "local"}),
        ({"scheduler": CLUSTER, "shard_dir": "parts"}, {"engine": "dask"}),
        ({"processes": 2}, {"engine": "dask", "scheduler": CLUSTER}),
        ({"engine": "dask"}, {"scheduler": CLUSTER, "shard_dir": "parts"}),
        ({"engine": "dask"}, {"processes": "1", "engine": "local"}),
        ({}, {"processes": "2", "shard_dir": "parts"}),
        ({"processes": 2}, {"shard_dir": "parts"}),
    ],
)
def test_a_file_may_have_options_without_effect(
    file: dict[str, object], flags: dict[str, object]
) -> None:
    assert settings(file, flags=flags)


@pytest.mark.parametrize("where", ["flag", "registry"])
def test_a_reference_timeout_conflicts_with_spreading_requests(where: str) -> None:
    flags = {"reference_timeout": "15m"}
    sections = {HOST: {"rate_limit_policy": "spread"}} if where == "registry" else {}
    if where == "flag":
        flags["rate_limit_policy"] = "spread"
    assert errors({"registry": sections}, flags=flags) == [
        "--reference-timeout: a reference may wait for hours with --rate-limit-policy"
        " spread; remove one of the two"
    ]


def test_errors_of_all_sources_are_reported_at_once() -> None:
    found = errors(
        {"worker": 1, "registry": {HOST: {"username": "a", "tries": 0}}},
        environment={"AUDITOR_WINDOW": "x"},
        flags={"workers": "y"},
    )
    assert [error.split(": ")[0] for error in found] == [
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
        (b"workers = \n", ":1:11: not TOML: Invalid value"),
        (b"a = 1\nb = [", ":2:6: not TOML: Invalid value"),
        (b"a = 1\nb = '\xff'", ":2: not UTF-8 text"),
    ],
)
def test_a_syntax_error_has_line_and_column(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_toml(str(path))
    assert caught.value.mistakes == (f"{path}{sentence}",)


def test_an_error_in_a_file_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "nightly.toml"
    path.write_text(
        'reference = [\n  "alpine",\n]\nworkers = 0   # tries = 0\n\n'
        '[registry."a.example"]\ntires = 2\nusername = "me"\n'
        '[registry."b.example"]\npassword_env = "NOT_SET"\nusername = "me"\n'
        '[registry."B.EXAMPLE"]\n[registry."c.example"]\nusername = "me"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_settings({}, {"config": str(path)})
    assert [one.removeprefix(str(path)) for one in caught.value.mistakes] == [
        ":4: workers: must be a whole number from 1 to 1024",
        ':7: registry."a.example".tires: unknown key; did you mean tries?',
        (
            ':12: registry."B.EXAMPLE": the same registry as'
            f' {path}:9: registry."b.example"'
        ),
        (
            ':10: registry."b.example".password_env: the environment variable NOT_SET'
            " is not set"
        ),
        (
            ':13: registry."c.example": a user without a password; add password_env,'
            " password_file or password_command"
        ),
    ]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "gone.toml"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_settings({}, {"config": str(path)})


def test_reading_a_file_stops_at_the_size_limit() -> None:
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        load_settings({}, {"config": "/dev/zero"})


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
        load_settings({}, {"config": str(path)})
        if by_flag
        else load_settings(
            {"AUDITOR_CONFIG": "~/auditor.toml", "HOME": str(tmp_path)}, {}
        )
    )
    assert found.workers == 3
    assert found.registry(HOST).password == Secret("pässword")


def test_without_a_file_environment_and_flags_are_enough() -> None:
    assert load_settings({"AUDITOR_TRIES": "2"}, {"workers": "4"}) == Settings(
        workers=4, default_registry=RegistrySettings(tries=2)
    )


@pytest.mark.parametrize(
    ("file", "environment", "flags", "shown"),
    [
        ({"quiet": True}, {}, {}, "quiet"),
        ({"quiet": True}, {}, {"verbose": True}, "verbose"),
        ({"verbose": True}, {}, {"quiet": True}, "quiet"),
        ({"verbose": True}, {"AUDITOR_QUIET": "1"}, {}, "quiet"),
        ({"quiet": True}, {"AUDITOR_VERBOSE": "1"}, {"quiet": True}, "quiet"),
        ({"verbose": True}, {}, {"log_level": "warning"}, "warning"),
        ({"quiet": True}, {}, {"log_level": "warning"}, "quiet"),
    ],
)
def test_the_last_source_says_how_much_is_printed(
    file: dict[str, object],
    environment: dict[str, str],
    flags: dict[str, object],
    shown: str,
) -> None:
    found = settings(file, environment=environment, flags=flags)
    chosen = "quiet" if found.quiet else "verbose" if found.verbose else None
    assert (chosen or found.log_level) == shown


def test_quiet_and_verbose_in_one_source_are_refused() -> None:
    assert errors(flags={"quiet": True, "verbose": True}) == [
        "--quiet: excludes --verbose; remove one of the two"
    ]


def test_reading_a_configuration_loads_neither_network_nor_terminal_libraries() -> None:
    code = (
        "import sys, auditor.config;"
        "sys.exit(bool({'aiohttp', 'anyio', 'rich'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "other",
    [
        {"include": ("1*",)},
        {"exclude": ("1*",)},
        {"omit_digest_tags": True},
        {"latest": 3},
        {"since": "30d"},
        {"platform": ("linux/arm64",)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_untagged_excludes_what_leaves_out_the_users_of_a_manifest(
    other: dict[str, object],
) -> None:
    flag = "--" + next(iter(other)).replace("_", "-")
    with pytest.raises(ConfigError, match=f"--untagged: excludes {flag}: a manifest"):
        settings(flags={"untagged": True, **other})
