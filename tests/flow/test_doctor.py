"""`auditor doctor`: each step, well and failing on its own."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from auditor.cli.doctor_command import step_lines, to_json, verdict
from auditor.cli.main import run
from auditor.demo.registry import Basic
from auditor.demo.tokens import ANONYMOUS, Account, TokenService
from auditor.diagnose.doctor import examine, opened, works
from auditor.diagnose.doctor_step import Step, StepName, StepState
from auditor.oci.reference import parse_reference
from auditor.util.clock import SystemClock
from tests.certificates import STRICT, Authority
from tests.flow.commands import auditor
from tests.flow.forward_proxy import forward_proxy
from tests.flow.harness import (
    ADMIN,
    MANIFESTS,
    PATIENCE_S,
    TAGS,
    TOKENS,
    Lab,
    lab,
    service,
    simple,
)
from tests.support.fault_actions import Answer, Edit

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1.0", "team/app:2.0"]
GOLDEN = Path(__file__).parents[1] / "golden"
CATALOG = "/v2/_catalog"


class StoppedClock(SystemClock):
    """The time of day; nothing takes any but a wait, which nobody waits for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.monotonic = lambda: self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def no_proxies_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Examined:
    """What a doctor said, by step."""

    def __init__(self, steps: list[Step], shown: list[str], document: Any) -> None:
        self.steps = {step.name.value: step for step in steps}
        self.shown = shown
        self.json = document
        assert list(self.steps) == [name.value for name in StepName]
        assert document["works"] is works(steps)
        for step in steps:  # whatever fails, there is something to try
            assert step.state is not StepState.FAILED or step.next, step

    def __getitem__(self, name: str) -> Step:
        return self.steps[name]

    def named(self, state: str) -> list[str]:
        return [name for name, step in self.steps.items() if step.state == state]


async def examined(here: Lab, name: str = "team/app:1.0", **changes: Any) -> Examined:
    """What the doctor says of `name` in the registry, "" for the host alone."""
    tokens = changes.pop("tokens", None)
    if tokens is not None:
        tokens.clock = time.time
    reference = parse_reference(here.ref(name)) if name else None
    with anyio.fail_after(PATIENCE_S):
        async with opened(
            here.settings(**changes),
            here.host,
            reference,
            tag_named=":" in name,
            clock=StoppedClock(),
        ) as case:
            steps = [step async for step in examine(case)]
    shown = [
        line for step in steps for line in step_lines(step, width=None, colours=False)
    ]
    document = orjson.loads(orjson.dumps(to_json(steps, case)))
    return Examined(steps, [*shown, verdict(steps, case)], document)


def after(name: str) -> list[str]:
    """The steps that come later."""
    names = [one.value for one in StepName]
    return names[names.index(name) + 1 :]


# -- a good run -----------------------------------------------------------------------


async def test_a_good_run_is_shown_step_by_step(tmp_path: Path) -> None:
    authority, tokens = Authority(tmp_path), service()
    tls = authority.server("127.0.0.1", lasts=timedelta(days=90, hours=1))
    async with lab(simple(NAMES), tokens=tokens, tls=tls) as here:
        found = await examined(here, tokens=tokens, ca_file=str(authority.file))
        assert here.faults.count("GET", MANIFESTS) == 1
        assert here.faults.count("GET", TAGS) == 1
    shown = "\n".join(found.shown).replace(here.host.rpartition(":")[2], "PORT")
    shown = shown.replace(str(tmp_path), "FOLDER") + "\n"
    assert shown == (GOLDEN / "doctor.txt").read_text()


async def test_json_has_the_same_keys_for_every_step() -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens) as here:
        said = (await examined(here, tokens=tokens)).json
    assert {**said, "steps": None, "checked_at": None} == {
        "schema": 1,
        "registry": here.host,
        "repository": "team/app",
        "reference": here.ref("team/app:1.0"),
        "works": True,
        "checked_at": None,
        "verdict": "an audit would work",
        "steps": None,
    }
    for step in said["steps"]:
        assert list(step) == ["step", "state", "says", "ms", "next", "facts"]
    facts = {step["step"]: step["facts"] for step in said["steps"]}
    skew_s = facts["token"].pop("clock_skew_s")
    assert abs(skew_s) < 30  # Date has whole seconds, and this machine may be busy
    assert facts["token"] == {"kind": "jwt", "lifetime_s": 300.0}
    assert facts["challenge"]["realm"] == f"http://{here.host}/token"
    assert facts["grant"]["actions"] == ["pull"]
    assert facts["manifest"]["digest_header"] is True


async def test_a_host_alone_is_examined_as_far_as_that_goes() -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens) as here:
        found = await examined(here, "", tokens=tokens)
        assert here.faults.count("GET", MANIFESTS) == 0
    assert found.named("skipped") == [
        "tls", "grant", "tags", "manifest", "referrers",
    ]  # fmt: skip
    assert found["token"].says == "a JWT, good for 5 minutes"
    assert found["catalog"].facts["listed"] == 1
    assert "goes on with token, grant and manifest" in found.shown[-1]


async def test_without_a_tag_one_of_the_list_is_taken() -> None:
    async with lab(simple(["team/app:3.1"])) as here:
        found = await examined(here, "team/app")
    assert found["manifest"].facts["reference"] == here.ref("team/app:3.1")
    assert found.json["reference"] is None


async def test_plain_http_on_a_loopback_address_is_explained() -> None:
    async with lab(simple(NAMES)) as here:
        found = await examined(here)
        said = await examined(here, plain_http=True)
    assert "because it is a loopback address" in found["route"].says
    assert "because the settings say so" in said["route"].says
    assert found["challenge"].says == "none: it asks for no credential"


# -- the network ----------------------------------------------------------------------


async def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with lab() as here:
        here.host = "registry.test"
        with monkeypatch.context() as patched:
            patched.setattr(socket, "getaddrinfo", nothing)
            found = await examined(here)
    assert found.named("failed") == ["name"]
    assert found.named("skipped") == after("name")
    assert "does not resolve" in found["name"].says
    assert "getent hosts registry.test" in (found["name"].next or "")


async def test_a_closed_port() -> None:
    async with lab() as here:
        pass
    found = await examined(here)
    assert found.named("failed") == ["tcp"]
    assert found.named("skipped") == after("tcp")
    assert "127.0.0.1: Connection refused" in found["tcp"].says
    assert found.shown[-1] == "an audit would not work: it fails at tcp"


async def test_each_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def two(host: str, *args: Any, **more: Any) -> Any:
        if host != "registry.test":
            return real(host, *args, **more)
        return [*real("127.0.0.2", *args, **more), *real("127.0.0.1", *args, **more)]

    async with lab(simple(NAMES)) as here:
        here.host = f"registry.test:{here.host.rpartition(':')[2]}"
        monkeypatch.setattr(socket, "getaddrinfo", two)
        found = await examined(here, plain_http=True)
    assert found.named("warning") == ["tcp"]
    tried: Any = found["tcp"].facts["tried"]
    assert [(one["address"], one["failure"]) for one in tried] == [
        ("127.0.0.2", "connect"),
        ("127.0.0.1", None),
    ]


@pytest.mark.parametrize(
    ("hosts", "more", "given", "says", "following"),
    [
        (
            ["127.0.0.1"], {"lasts": timedelta(minutes=-30)}, True,
            "certificate has expired", "have the certificate renewed",
        ),
        (
            ["127.0.0.1"], {}, False,
            "unable to get local issuer certificate", "an authority of the tests",
        ),
        (
            ["127.0.0.1"], {"self_signed": True}, True,
            "self-signed certificate", "get the certificate itself",
        ),
        (
            ["other.test", "127.0.0.9"], {}, True,
            "IP address mismatch", "(other.test, 127.0.0.9)",
        ),
        *[
            (
                ["127.0.0.1"], {"names_the_key": False}, True,
                "Python 3.13 and newer insist", "run auditor with Python 3.12",
            )
        ] * STRICT,
    ],
)  # fmt: skip
async def test_a_certificate_that_is_not_trusted(
    hosts: Sequence[str],
    more: dict[str, Any],
    given: bool,
    says: str,
    following: str,
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "other").mkdir()
    trusted = authority if given else Authority(tmp_path / "other")
    async with lab(simple(NAMES), tls=authority.server(*hosts, **more)) as here:
        found = await examined(here, ca_file=str(trusted.file))
        assert here.faults.count() == 0  # whom it does not trust, it tells nothing
    assert found.named("failed") == ["tls"]
    assert found.named("skipped") == after("tls")
    assert says in found["tls"].says
    assert following in (found["tls"].next or "")
    certificate: Any = found["tls"].facts["certificate"]
    assert certificate["names"] == list(hosts)


async def test_a_certificate_that_ends_soon_is_a_warning(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with lab(simple(NAMES), tls=authority.server("127.0.0.1")) as here:
        found = await examined(here, ca_file=str(authority.file))
    assert found.named("warning") == ["tls"]
    assert found["tls"].facts["trusted_by"] == str(authority.file)


async def test_a_client_certificate_that_is_wanted_and_the_one_that_is_shown(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    tls = authority.server("127.0.0.1", clients=True, lasts=timedelta(days=90))
    own = authority.pair("auditor")
    async with lab(simple(NAMES), tls=tls) as here:
        bare = await examined(here, ca_file=str(authority.file))
        shown = await examined(
            here,
            ca_file=str(authority.file),
            cert_file=str(own.cert),
            key_file=str(own.key),
        )
    # With TLS 1.3 the server says no after our handshake.
    assert bare.named("failed") == ["ping"]
    assert "client certificate" in bare["ping"].says
    assert shown.named("failed") == []
    assert f"our certificate is {own.cert}" in shown["tls"].says


async def test_plain_http_where_tls_is_expected() -> None:
    async with lab(simple(NAMES)) as here:
        found = await examined(here, plain_http=False)
    assert found.named("failed") == ["tls"]
    assert "--plain-http" in (found["tls"].next or "")


async def test_a_proxy_is_examined_in_the_place_of_the_host() -> None:
    async with lab(simple(NAMES)) as here:
        names = {"registry.test": here.host}
        here.host = "registry.test"
        async with forward_proxy(names) as through:
            proxy = f"http://me:hunter2@{through.address}"
            found = await examined(here, proxy=proxy, plain_http=True)
    assert found.named("failed") == []
    assert f"through the proxy http://{through.address}" in found["route"].says
    assert found["tcp"].facts["port"] == int(through.address.rpartition(":")[2])
    assert "hunter2" not in str(found.json)


async def test_a_proxy_that_wants_a_password_or_is_not_there() -> None:
    async with lab(simple(NAMES)) as here:
        here.host = "registry.test"
        async with forward_proxy({}, authorization="Basic bWU6aHVudGVyMg==") as through:
            proxy = f"http://{through.address}"
            wants = await examined(here, proxy=proxy)
        gone = await examined(here, proxy=proxy)
    assert wants.named("failed") == ["ping"]
    assert "USER:PASSWORD@HOST:PORT" in (wants["ping"].next or "")
    assert gone.named("failed") == ["tcp"]
    assert proxy in (gone["tcp"].next or "")


async def test_a_certificate_in_the_tunnel_of_a_proxy(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server("registry.test")
    async with lab(simple(NAMES), tls=tls) as here:
        names = {"registry.test": here.host}
        here.host = "registry.test"
        async with forward_proxy(names) as through:
            proxy = f"http://{through.address}"
            bad = await examined(here, proxy=proxy)
            good = await examined(here, proxy=proxy, ca_file=str(authority.file))
    assert bad["tls"].state == good["tls"].state == "skipped"
    assert bad.named("failed") == ["ping"]
    assert "--ca-file FILE" in (bad["ping"].next or "")
    assert good.named("failed") == []


async def test_a_mirror_is_told_of() -> None:
    async with lab(simple(NAMES)) as here:
        found = await examined(here, mirror="mirror.test/cache")
    assert "mirror.test/cache first" in found["route"].says


# -- who is let in --------------------------------------------------------------------


async def test_a_ping_that_is_not_found_is_no_verdict_on_a_repository() -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens) as here:
        here.faults.on("GET", "/v2/", Answer(404), forever=True)
        found = await examined(here, tokens=tokens)
        alone = await examined(here, "", tokens=tokens)
    assert found.named("warning") == ["ping"]
    assert (
        found["grant"].says == "admin is granted pull"
    )  # the manifest asked for a token
    assert alone["ping"].state == "failed"
    assert "may stand at another host or port" in (alone["ping"].next or "")


async def test_a_401_that_does_not_say_how() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("*", "/v2/*", Answer(401), forever=True)
        found = await examined(here)
        alone = await examined(here, "")
    assert found["challenge"].state == "warning"
    assert found.named("failed") == ["manifest"]
    assert alone.named("failed") == ["challenge"]
    assert "token_url" in (alone["challenge"].next or "")


async def test_a_ping_that_fails() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/", Answer(503), forever=True)
        found = await examined(here)
    assert found.named("failed") == ["ping"]
    assert found.named("skipped") == ["tls", *after("ping")]


async def test_a_realm_that_is_refused() -> None:
    tokens = service(realm="http://169.254.169.254/token")
    async with lab(simple(NAMES), tokens=tokens) as here:
        found = await examined(here, tokens=tokens)
    assert found.named("failed") == ["realm"]
    assert found.named("skipped") == ["tls", *after("realm")]
    assert 'realm_host = ["169.254.169.254"]' in (found["realm"].next or "")


def _helper(
    folder: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> dict[str, Any]:
    path = folder / "docker-credential-test"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    authfile = folder / "auth.json"
    authfile.write_text(json.dumps({"credsStore": "test"}))
    return {"docker_config": True, "authfile": str(authfile)}


async def test_a_helper_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _helper(tmp_path, monkeypatch, "echo hunter2; exit 3")
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens, login=Account(ANONYMOUS)) as here:
        found = await examined(here, tokens=tokens, **settings)
    assert found.named("failed") == ["credential"]
    assert "docker-credential-test failed with code 3" in found["credential"].says
    assert "hunter2" not in str(found.json)


async def test_a_login_of_a_file_is_told_with_its_place(tmp_path: Path) -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens, login=Account(ANONYMOUS)) as here:
        path = tmp_path / "auth.json"
        entry = {"username": ADMIN.name, "password": ADMIN.password}
        path.write_text(json.dumps({"auths": {f"{here.host}/team": entry}}))
        found = await examined(
            here, tokens=tokens, docker_config=True, authfile=str(path)
        )
    assert found.named("failed") == []
    assert found["credential"].says == (
        f"password of 'admin' from {path}: auths.\"{here.host}/team\""
    )


async def test_a_wrong_password() -> None:
    tokens = service(Account("admin", "another", {"*": ("*",)}))
    async with lab(simple(NAMES), tokens=tokens, login=ADMIN) as here:
        found = await examined(here, tokens=tokens)
        assert here.faults.count("GET", TOKENS) == 1  # more lock accounts
    assert found.named("failed") == ["token"]
    assert "refuses the user name and password of 'admin'" in found["token"].says
    assert f"docker login {here.host}" in (found["token"].next or "")


async def test_a_grant_that_is_narrowed() -> None:
    tokens = service(Account("admin", "secret", {"other/*": ("pull",)}))
    async with lab(simple(NAMES), tokens=tokens, login=ADMIN) as here:
        found = await examined(here, tokens=tokens)
        assert here.faults.count("GET", MANIFESTS) == 0
    assert found.named("failed") == ["grant"]
    assert found["grant"].says == "admin is granted nothing"
    assert found.named("skipped") == ["tls", "tags", "manifest", "referrers"]


async def test_a_grant_of_more_than_was_asked_for_is_a_warning() -> None:
    def more(claims: dict[str, Any]) -> dict[str, Any]:
        for grant in claims["access"]:
            if grant["type"] == "repository":
                grant["actions"] = ["pull", "push", "delete"]
        return claims

    tokens = service(edit=more)
    async with lab(simple(NAMES), tokens=tokens) as here:
        found = await examined(here, tokens=tokens)
    assert found.named("warning") == ["grant"]
    assert found["grant"].facts["beyond_pull"] == ["delete", "push"]


async def test_a_clock_that_is_wrong_is_a_warning() -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens) as here:
        late = {"Date": "Mon, 23 Nov 2020 02:00:00 GMT"}
        here.faults.on("GET", TOKENS, Edit(headers=late), forever=True)
        found = await examined(here, tokens=tokens)
    assert found.named("warning") == ["token"]
    assert "ahead of the service's" in found["token"].says


async def test_an_opaque_token_and_basic_show_no_grant() -> None:
    tokens = service(opaque=True)
    async with lab(simple(NAMES), tokens=tokens) as here:
        opaque = await examined(here, tokens=tokens)
    async with lab(simple(NAMES), access=Basic([ADMIN]), login=ADMIN) as here:
        basic = await examined(here)
    assert opaque["token"].says.startswith("an opaque token")
    assert basic["token"].state == "skipped"
    for found in (opaque, basic):
        assert found.named("failed") == []
        assert "cannot be seen" in found["grant"].says


async def test_a_wrong_password_with_basic_is_sent_once() -> None:
    wrong = Account(ADMIN.name, "guess")
    async with lab(simple(NAMES), access=Basic([ADMIN]), login=wrong) as here:
        alone = await examined(here, "")
        here.faults.log.clear()
        found = await examined(here)
        sent = [one for one in here.faults.log if "Authorization" in one.headers]
    assert len(sent) == 1  # more lock accounts
    assert alone.named("failed") == ["catalog"]
    assert found.named("failed") == ["tags"]
    assert f"docker login {here.host}" in (found["tags"].next or "")


async def test_a_token_service_that_is_not_there_is_what_is_looked_for() -> None:
    async with lab() as gone:
        pass
    tokens = service(realm=f"http://{gone.host}/token")
    async with lab(simple(NAMES), tokens=tokens) as here:
        found = await examined(here, tokens=tokens)
    assert found.named("failed") == ["token"]
    assert f"curl -v http://{gone.host}/" in (found["token"].next or "")


async def test_what_a_registry_says_cannot_steer_a_terminal() -> None:
    evil = {"Docker-Distribution-Api-Version": "a\x1b]0;b\x07" + "c" * 5000}
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/", Edit(headers=evil), forever=True)
        found = await examined(here)
    assert all(line.isprintable() and len(line) < 3000 for line in found.shown)


async def test_basic_without_a_login() -> None:
    async with lab(simple(NAMES), access=Basic([ADMIN])) as here:
        found = await examined(here)
    assert found.named("failed") == ["token"]
    assert "asks for a user name and a password" in found["token"].says


async def test_where_tokens_come_from_can_be_configured() -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens) as here:
        url = f"http://{here.host}/token"
        found = await examined(here, tokens=tokens, token_url=url, service="sandbox")
        assert here.faults.count("GET", "/v2/") == 0
    assert found["ping"].state == "skipped"
    assert found.named("failed") == []
    assert "own word" in found["realm"].says


# -- what is there --------------------------------------------------------------------


async def test_a_manifest_that_is_not_there() -> None:
    async with lab(simple(NAMES)) as here:
        found = await examined(here, "team/app:9")
    assert found.named("failed") == ["manifest"]
    assert f"auditor ls {here.host}/team/app" in (found["manifest"].next or "")
    assert found["referrers"].state == "skipped"


async def test_a_registry_that_throttles() -> None:
    async with lab(simple(NAMES)) as here:
        throttled = Answer(429, {"Retry-After": "3600"})
        here.faults.on("GET", MANIFESTS, throttled, forever=True)
        found = await examined(here)
        assert here.faults.count("GET", MANIFESTS) == 1
    assert "manifest" in found.named("failed")
    assert "--rate-limit-policy spread" in (found["manifest"].next or "")


async def test_an_allowance_is_told() -> None:
    fields = {
        "RateLimit-Limit": "100;w=21600",
        "RateLimit-Remaining": "76;w=21600",
        "Docker-RateLimit-Source": "192.0.2.7",
    }
    async with lab(simple(NAMES)) as here:
        here.faults.on("*", MANIFESTS, Edit(headers=fields), forever=True)
        found = await examined(here)
    assert found["allowance"].says == (
        "76 manifests left of 100 in 6 hours, counted by address"
    )


async def test_lists_that_are_closed_are_warnings() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", TAGS, Answer(403), forever=True)
        here.faults.on("GET", CATALOG, Answer(404), forever=True)
        found = await examined(here)
    assert found.named("warning") == ["tags", "catalog"]
    assert "lister" in (found["catalog"].next or "")


async def test_head_and_the_digest_are_tried() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("HEAD", MANIFESTS, Answer(405), forever=True)
        no_head = await examined(here)
    async with lab(simple(NAMES)) as here:
        bare = Edit(headers={"Docker-Content-Digest": None})
        here.faults.on("*", MANIFESTS, bare, forever=True)
        no_digest = await examined(here)
    async with lab(simple(NAMES)) as here:
        other = Edit(headers={"Docker-Content-Digest": "sha256:" + "0" * 64})
        here.faults.on("HEAD", MANIFESTS, other, forever=True)
        differs = await examined(here)
    for found in (no_head, no_digest, differs):
        assert found.named("warning") == ["manifest"]
    assert "HEAD says sha256:000" in differs["manifest"].says
    assert "--no-cache" in (differs["manifest"].next or "")
    assert no_head["manifest"].facts["head"] is False
    assert no_digest["manifest"].facts["digest_header"] is False


async def test_lines_are_broken_where_a_terminal_ends() -> None:
    async with lab() as here:
        pass
    found = await examined(here)
    lines = list(step_lines(found["tcp"], width=80, colours=True))
    assert lines[0].startswith("\x1b[31mfailed")
    assert len(lines) > 2
    assert all(len(line) <= 90 for line in lines)


# -- the command ----------------------------------------------------------------------


async def test_the_command_says_it_in_its_exit_code(tmp_path: Path) -> None:
    account = Account("robot", "hunter2-canary", {"team/*": ("pull",)})  # no catalog
    tokens = TokenService(accounts=[account])
    async with lab(simple(NAMES), tokens=tokens, login=account) as here:
        tokens.clock = time.time
        config = tmp_path / "a.toml"
        config.write_text(
            f'[registry."{here.host}"]\nusername = "robot"\npassword_env = "SECRET"\n'
        )
        given = ("doctor", "-c", str(config))
        secret = {"SECRET": account.password}
        good = await auditor(*given, here.ref("team/app:1.0"), environment=secret)
        bad = await auditor(
            *(*given, here.ref("other/app"), "--json"), environment=secret
        )
        issued = [tokens.sign(claims) for claims in tokens.issued]
    assert (good.code, good.said) == (0, [])
    assert good.out.decode().endswith("\n\nan audit would work (1 warning)\n")
    assert (bad.code, bad.said) == (1, [])
    assert bad.lines[0]["works"] is False
    for out in (good.out, bad.out):
        assert b"canary" not in out
        assert b"\x1b" not in out
        assert not any(token.partition(".")[0].encode() in out for token in issued)


def test_a_target_that_is_none_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["doctor", "no such thing"]) == 2
    assert capsys.readouterr().err.startswith('auditor: "no such thing" ')
