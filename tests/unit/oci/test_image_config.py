"""Image configs: what an inventory needs, whatever else stands there."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from auditor.errors import FailureKind, ProtocolError
from auditor.oci.image_config import ImageConfig, parse_image_config
from auditor.oci.platform import PlatformSpec
from tests.documents import raw

FULL: dict[str, Any] = {
    "created": "2026-08-05T10:00:00Z",
    "author": "somebody",
    "architecture": "arm64",
    "variant": "v8",
    "os": "linux",
    "os.version": "1.2",
    "config": {
        "User": "app",
        "WorkingDir": "/srv",
        "Entrypoint": ["/bin/app"],
        "Cmd": ["--serve", "80"],
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
        "Env": ["PASSWORD=hunter2"],
        "Labels": {"a": "b", "n": 1},
    },
    "history": [{}, {}, {}],
    "rootfs": {"type": "layers", "diff_ids": []},
}


def test_the_facts_of_a_config() -> None:
    assert parse_image_config(raw(FULL)) == ImageConfig(
        platform=PlatformSpec(
            os="linux", architecture="arm64", variant="v8", os_version="1.2"
        ),
        created="2026-08-05T10:00:00Z",
        author="somebody",
        user="app",
        working_directory="/srv",
        entrypoint=("/bin/app",),
        command=("--serve", "80"),
        exposed_ports=("443/tcp", "80/tcp"),
        labels={"a": "b"},
        history_length=3,
    )


def test_the_environment_is_left_out_because_it_holds_secrets() -> None:
    assert "hunter2" not in repr(parse_image_config(raw(FULL)))


NOTHING = parse_image_config(b"{}")


def test_an_empty_config_says_nothing() -> None:
    assert (
        ImageConfig(
            platform=PlatformSpec(
                os=None, architecture=None, variant=None, os_version=None
            ),
            created=None,
            author=None,
            user=None,
            working_directory=None,
            entrypoint=(),
            command=(),
            exposed_ports=(),
            labels={},
            history_length=0,
        )
        == NOTHING
    )


@pytest.mark.parametrize("value", [None, 7, True, 1.5, "", [], {}, [[]], [{}], [None]])
@pytest.mark.parametrize(
    "place", sorted(FULL.keys() - {"config", "rootfs"} | {"config"})
)
def test_a_fact_of_another_type_is_no_fact(place: str, value: object) -> None:
    found = dataclasses.replace(
        parse_image_config(raw({place: value})), history_length=0
    )
    assert found == NOTHING


@pytest.mark.parametrize("value", [None, 7, True, "", [], {}, [7], [None]])
@pytest.mark.parametrize("place", sorted(FULL["config"]))
def test_a_runtime_fact_of_another_type_is_no_fact(place: str, value: object) -> None:
    found = parse_image_config(raw({"config": {place: value}}))
    assert dataclasses.replace(found, entrypoint=(), command=()) == NOTHING
    assert all(isinstance(word, str) for word in found.entrypoint + found.command)


@pytest.mark.parametrize("key", ["Entrypoint", "Cmd"])
def test_a_command_in_shell_form_is_one_word(key: str) -> None:
    found = parse_image_config(raw({"config": {key: "run me"}}))
    assert (found.entrypoint or found.command) == ("run me",)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FailureKind.PROTOCOL_VIOLATION),
        (b"null", FailureKind.PROTOCOL_VIOLATION),
        (b"[]", FailureKind.PROTOCOL_VIOLATION),
        (b"\x1f\x8b", FailureKind.PROTOCOL_VIOLATION),
        (b'{"os":"linux","os":"linux"}', FailureKind.AMBIGUOUS_DOCUMENT),
        (b'{"architecture":"a","architecture":"b"}', FailureKind.AMBIGUOUS_DOCUMENT),
    ],
)
def test_what_is_no_object_or_says_a_thing_twice_is_refused(
    body: bytes, kind: FailureKind
) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_image_config(body)
    assert caught.value.kind is kind
    assert "image config" in caught.value.detail
