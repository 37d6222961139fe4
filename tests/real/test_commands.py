"""The real command line against real registries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.real.audits import Lines, command, content
from tests.real.filled_registry import FilledRegistry
from tests.real.images import IN_EVERY_FLAVOUR, names
from tests.real.skopeo_records import expected_record
from tests.real.token_server import AUDITOR, PUSHER

pytestmark = pytest.mark.real
PASSWORD = {"REGISTRY_PASSWORD": AUDITOR.password}


@pytest.fixture
def config(filled: FilledRegistry, tmp_path: Path) -> str:
    """A configuration as the README shows it; keys next to the file."""
    (tmp_path / "keys.pem").write_bytes(filled.keys.read_bytes())
    file = tmp_path / "auditor.toml"
    file.write_text(
        f"""
        image_config = "always"

        [registry."{filled.host}"]
        username = "{AUDITOR.name}"
        password_env = "REGISTRY_PASSWORD"
        token_keys = "keys.pem"
        """
    )
    return str(file)


def test_audit_with_a_configuration_and_a_list(
    filled: FilledRegistry, config: str, tmp_path: Path
) -> None:
    wanted = names(filled.flavour)
    listed, report, summary = (
        tmp_path / name for name in ("list.txt", "report.jsonl", "summary.json")
    )
    listed.write_text(
        "# every image\n" + "".join(f"{filled.host}/{name}\n" for name in wanted)
    )
    done = command(
        *("audit", "-c", config, "-f", str(listed), "-o", str(report)),
        *("--summary", str(summary)),
        place=tmp_path,
        environment=PASSWORD,
    )
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["reference"] for line in lines] == [
        f"{filled.host}/{name}" for name in wanted
    ]
    # The last one is another's repository.
    *images, denied = lines
    assert (denied["failure"], denied["repository"]) == ("no_pull_grant", "secret/oci")
    for name, line in zip(wanted, images, strict=False):
        assert content(line) == expected_record(filled.skopeo, filled.host, name)
        assert line["access"]["verified"] is True
    output = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b""), output
    assert f"{len(images)} of {len(wanted)} references audited" in output
    assert AUDITOR.password not in output + report.read_text() + summary.read_text()
    counts = json.loads(summary.read_text())["references"]
    keys = ("asked", "duplicates", "audited", "failed", "to_do")
    assert [counts[key] for key in keys] == [len(wanted), 0, len(images), 1, 0]


def test_audit_without_the_password_variable_is_a_configuration_error(
    filled: FilledRegistry, config: str, tmp_path: Path
) -> None:
    done = command("audit", "-c", config, f"{filled.host}/team/oci:1.0", place=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "the environment variable REGISTRY_PASSWORD is not set" in str(done.stderr)


@pytest.mark.parametrize("name", IN_EVERY_FLAVOUR)
def test_inspect_raw_prints_the_bytes_that_skopeo_prints(
    filled: FilledRegistry, tmp_path: Path, name: str
) -> None:
    done = command(
        *("inspect", "--raw", f"--authfile={filled.skopeo.authfile}"),
        f"{filled.host}/{name}",
        place=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == filled.skopeo.raw(name)


def test_inspect_json_prints_the_record(
    filled: FilledRegistry, config: str, full_records: Lines, tmp_path: Path
) -> None:
    done = command(
        *("inspect", "--format=json", "-c", config, f"{filled.host}/team/multi:1.0"),
        place=tmp_path,
        environment=PASSWORD,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert content(json.loads(done.stdout)) == content(full_records["team/multi:1.0"])


def test_inspect_shows_the_platforms_layers_and_labels(
    filled: FilledRegistry, config: str, full_records: Lines, tmp_path: Path
) -> None:
    done = command(
        *("inspect", "-c", config, f"{filled.host}/team/multi:1.0"),
        place=tmp_path,
        environment=PASSWORD,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    shown, line = done.stdout.decode(), full_records["team/multi:1.0"]
    for word in (line["digest"], *line["architectures"], "maintainer"):
        assert word in shown
    for platform in line["platforms"]:
        assert all(layer["digest"] in shown for layer in platform["layers"])


def token(config: str, place: Path, *arguments: str) -> Any:
    done = command(
        *("token", "-c", config, *arguments), place=place, environment=PASSWORD
    )
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


def test_token_shows_that_pull_is_granted(
    filled: FilledRegistry, config: str, tmp_path: Path
) -> None:
    code, output = token(config, tmp_path, f"{filled.host}/team/oci")
    assert code == 0
    assert output.endswith("pull on team/oci: granted\n")
    assert "token service of the tests" in output


def test_token_shows_that_pull_is_not_granted(
    filled: FilledRegistry, config: str, tmp_path: Path
) -> None:
    code, output = token(config, tmp_path, f"{filled.host}/secret/oci")
    assert code == 1
    assert output.endswith("pull on secret/oci: NOT granted\n")


def test_token_json_has_the_request_and_the_grant(
    filled: FilledRegistry, config: str, tmp_path: Path
) -> None:
    code, output = token(config, tmp_path, "--format=json", f"{filled.host}/public/arm")
    found = json.loads(output)
    assert code == 0
    assert found["pull"] is True
    assert found["realm"] == filled.tokens.realm
    assert found["service"] == "registry of the tests"
    assert found["scope"] == "repository:public/arm:pull"
    assert found["access"]["verified"] is True
    assert found["token"]["verification"]["verified"] is True
    assert found["token"]["claims"]["grants"] == [
        {
            "type": "repository",
            "name": "public/arm",
            "resource_class": None,
            "actions": ["pull"],
        }
    ]


def test_token_raw_is_a_valid_token(
    filled: FilledRegistry, config: str, tmp_path: Path
) -> None:
    code, output = token(config, tmp_path, "--raw", f"{filled.host}/team/oci")
    assert code == 0
    service = filled.tokens.service
    assert service.allows(output.strip(), "repository:team/oci:pull") is True


def test_a_wrong_password_is_one_message_and_exit_1(
    filled: FilledRegistry, config: str, tmp_path: Path
) -> None:
    done = command(
        *("token", "-c", config, f"{filled.host}/team/oci"),
        place=tmp_path,
        environment={"REGISTRY_PASSWORD": PUSHER.password},
    )
    assert (done.returncode, done.stdout) == (1, b"")
    message = done.stderr.decode()
    assert message.startswith(
        f"auditor: {filled.host}/team/oci:latest: denied: the token service "
    )
    assert message.endswith(
        " rejected the login of 'auditor' (401); check the credential in password_env"
        f" REGISTRY_PASSWORD ({config}:6)\n"
        "auditor: what to do: auditor explain denied\n"
    )
