"""Malformed responses and unusable outputs: one message each, and the exit code."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.demo.demo_tokens import DemoAccount
from tests.flow.commands import Finished, auditor
from tests.flow.harness import MANIFESTS, TAGS, Lab, lab, service, simple
from tests.ports import held_port
from tests.support.fault_actions import Action, Answer, Edit, Flood, Raw, Truncate

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1", "team/app:2"]


def _is_told(done: Finished, detail: str) -> None:
    """The summary on standard error repeats a failure's sentence on a line."""
    assert f"auditor:       {detail}" in done.stderr


# -- registries: exit 1, a record that says why --------------------------------------


async def _one_failure(
    here: Lab, reference: str | None = None, *arguments: str
) -> dict[str, object]:
    """The failure record of a command whose only reference fails."""
    done = await auditor("audit", reference or here.ref(NAMES[0]), *arguments)
    assert done.code == 1
    (line,) = done.lines
    assert line["kind"] == "failure"
    assert done.messages[0].startswith("0 of 1 reference audited in ")
    assert done.messages[0].endswith(", 1 failed")
    _is_told(done, line["detail"])
    return line


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that is taken and refuses connections."""
    with held_port() as port:
        yield port


async def test_a_refused_connection(closed_port: int) -> None:
    host = f"127.0.0.1:{closed_port}"
    done = await auditor("audit", f"{host}/team/app:1", "--tries", "1")
    assert done.code == 1
    (line,) = done.lines
    assert line["failure"] == "connect"
    assert line["detail"].startswith(f"no connection to http://{host}/v2/: ")
    _is_told(done, line["detail"])


async def test_an_unknown_host_name() -> None:
    done = await auditor("audit", "registry.invalid/team/app:1", "--tries", "1")
    assert done.code == 1
    (line,) = done.lines
    # RFC 6761: "invalid" never resolves. Without any network it is not even asked.
    assert line["failure"] in {"dns", "connect"}
    assert "registry.invalid" in line["detail"]


async def test_a_registry_without_tls() -> None:
    async with lab(simple(NAMES)) as here:
        done = await auditor(
            *("audit", here.ref(NAMES[0])),
            environment={"AUDITOR_PLAIN_HTTP": "false"},
        )
    assert done.code == 1
    (line,) = done.lines
    assert line["failure"] == "tls"
    assert "--plain-http" in line["detail"]
    assert line["attempts"] == 1


async def test_plain_http_to_a_registry_with_tls() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/", Raw(b"\x15\x03\x03\x00\x02\x02\x50"))
        line = await _one_failure(here, None, "--plain-http")
    assert line["failure"] == "tls"
    assert str(line["detail"]).endswith(
        "; the server expects TLS: use --no-plain-http (plain_http = false in the"
        " configuration), and --ca-file for a private CA"
    )


async def test_a_wrong_password(tmp_path: Path) -> None:
    admin = DemoAccount("admin", "secret", {"*": ("*",)})
    async with lab(simple(NAMES), tokens=service(admin)) as here:
        (tmp_path / "night.toml").write_text(
            f'[registry."{here.host}"]\nusername = "admin"\npassword_env = "SECRET"\n'
        )
        done = await auditor(
            *("audit", "-c", "night.toml", here.ref(NAMES[0])),
            environment={"SECRET": "guess"},
            place=tmp_path,
        )
    assert done.code == 1
    (line,) = done.lines
    assert (line["failure"], line["stage"], line["status"]) == ("denied", "token", 401)
    assert line["detail"].startswith(
        f"the token service {here.host} rejected the login of 'admin' (401); check the"
    )
    _is_told(done, line["detail"])
    assert "guess" not in "\n".join(done.stderr)


async def test_a_missing_tag() -> None:
    async with lab(simple(NAMES)) as here:
        line = await _one_failure(here, here.ref("team/app:3"))
    assert (line["failure"], line["status"], line["tag"]) == ("not_found", 404, "3")
    assert str(line["detail"]).startswith("not found, or not visible to this account")


HTML = Answer(200, {"Content-Type": "text/html"}, b"<html><title>Log in</title></html>")


@pytest.mark.parametrize(
    ("fault", "failure", "detail"),
    [
        (HTML, "protocol_violation", "an HTML page, not a manifest"),
        (Answer(200), "protocol_violation", "not JSON"),
        (Edit(body=b"[]"), "protocol_violation", "not an object"),
        (Edit(body=b'{"schemaVersion":2}'), "protocol_violation", ""),
        (Truncate(at_bytes=100), "connect", "is incomplete or damaged"),
        (Truncate(at_bytes=100, reset=True), "connect", ""),
        (Raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol_violation", "is not HTTP/1.1"),
        (Flood(5 * 1024 * 1024), "too_large", "4194304 bytes"),
        (
            Edit(body=lambda body: body + b" " * 5 * 1024 * 1024),
            "too_large",
            "4194304 bytes",
        ),
        (Answer(500), "server_error", "500"),
        (Answer(403), "denied", "403"),
        (Answer(302, {"Location": "ftp://x/"}), "redirect_refused", ""),
        (Answer(302), "redirect_refused", ""),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
async def test_a_malformed_manifest(fault: Action, failure: str, detail: str) -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", MANIFESTS, fault, forever=True)
        line = await _one_failure(here, None, "--tries", "1")
    assert line["stage"] == "manifest"
    assert line["failure"] == failure
    assert detail in str(line["detail"])


async def test_a_manifest_with_another_digest() -> None:
    async with lab(simple(NAMES)) as here:
        digest = here.content.repository("team/app").tags["1"]
        here.faults.on(
            "GET", MANIFESTS, Edit(body=lambda body: body + b" "), forever=True
        )
        line = await _one_failure(here, f"{here.host}/team/app@{digest}")
    assert line["failure"] == "digest_mismatch"
    assert digest in str(line["detail"])


async def test_a_larger_manifest_is_read_if_the_limit_is_raised() -> None:
    async with lab(simple(NAMES)) as here:
        padded = Edit(
            body=lambda body: body + b" " * 5 * 1024 * 1024,
            headers={"Docker-Content-Digest": None},
        )
        here.faults.on("GET", MANIFESTS, padded)
        done = await auditor(
            "audit", here.ref(NAMES[0]), "--max-manifest-bytes", str(6 * 1024 * 1024)
        )
    assert done.code == 0


async def test_html_instead_of_a_listing() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", TAGS, HTML, forever=True)
        line = await _one_failure(here, here.ref("team/app:*"))
    assert (line["stage"], line["failure"]) == ("list", "protocol_violation")
    assert "the listing is a web page, not JSON" in str(line["detail"])


# -- outputs: exit 3 ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("gone/report.jsonl", "its folder does not exist"),
        ("", "is a folder; give a file in it"),
        ("list.txt/report.jsonl", "Not a directory"),
        ("r" * 300, "File name too long"),
    ],
)
async def test_a_report_that_cannot_be_written(
    output: str, reason: str, tmp_path: Path
) -> None:
    async with lab(simple(NAMES)) as here:
        (tmp_path / "list.txt").write_text(here.ref(NAMES[0]))
        target = f"{tmp_path}/{output}".rstrip("/")
        done = await auditor("audit", "-f", str(tmp_path / "list.txt"), "-o", target)
        assert here.faults.count() == 0
    assert (done.code, done.out) == (3, b"")
    (message,) = done.messages
    assert message.startswith(target + ": ")
    assert message.endswith(reason)


@pytest.mark.parametrize(
    ("option", "name", "reason"),
    [
        ("--summary", "/gone/summary.json", "its folder does not exist"),
        ("--summary", "", "it is a folder; give a file in it"),
        ("--metrics", "", "it is a folder; give a file in it"),
    ],
)
async def test_side_outputs_that_cannot_be_written_are_reported_at_once(
    tmp_path: Path, option: str, name: str, reason: str
) -> None:
    async with lab(simple(NAMES)) as here:
        side_output = f"{tmp_path}{name}"
        done = await auditor("audit", here.ref(NAMES[0]), option, side_output)
        assert here.faults.count() == 0
    assert (done.code, done.out) == (3, b"")
    assert done.messages == [f"{side_output}: cannot be written: {reason}"]


async def test_a_summary_that_cannot_be_written_is_reported_after_the_audit(
    tmp_path: Path,
) -> None:
    async with lab(simple(NAMES)) as here:
        report = tmp_path / "report.jsonl"
        done = await auditor(
            *("audit", here.ref(NAMES[0]), "-o", str(report)),
            *("--summary", "/dev/full"),
        )
    assert done.code == 3
    assert report.read_bytes().count(b"\n") == 1
    assert done.messages[-1] == (
        "/dev/full: the summary cannot be written: No space left on device"
    )


@pytest.mark.parametrize("arguments", [["demo"], ["demo", "--serve"]])
async def test_a_port_that_is_in_use(arguments: list[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = await auditor(*arguments, "--port", str(port), place=tmp_path)
    assert (done.code, done.out) == (2, b"")
    (message,) = done.messages
    assert message.startswith(f"port {port} cannot be used: Address alr")
    assert message.endswith("; choose another with --port")
