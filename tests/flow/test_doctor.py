"""`auditor doctor`: every step, successful and failing."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from auditor.cli.doctor_command import step_lines
from auditor.cli.main import run
from auditor.config import RegistrySettings
from auditor.demo.demo_tokens import ANONYMOUS, DemoAccount
from auditor.diagnose.doctor import DoctorReport, open_session, run_steps, summarize
from auditor.diagnose.doctor_advice import advise_on_login
from auditor.diagnose.doctor_step import DoctorStep, StepName, StepState
from auditor.errors import Failure, FailureKind
from auditor.model import CredentialSource
from auditor.oci.reference import parse_reference
from auditor.registry.auth.docker_config import FoundCredential
from auditor.util.clock import SystemClock
from auditor.util.secret import Secret
from auditor.wire.credential import Login
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
from tests.support.registry import Basic
from tests.support.token_service import FakeTokenService

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1.0", "team/app:2.0"]
GOLDEN = Path(__file__).parents[1] / "golden"
PAGE = Path(__file__).parents[2] / "docs" / "guide" / "doctor.md"
CATALOG = "/v2/_catalog"


class StoppedClock(SystemClock):
    """The time of day; monotonic time passes only in `sleep`, which returns at once."""

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


@cache
def documented_details() -> dict[str, frozenset[str]]:
    """The names that the page of the doctor has for the details of each step."""
    rows = PAGE.read_text("utf-8").partition("| step | details |")[2].splitlines()
    found = {}
    for row in rows[2:]:
        if not row.startswith("|"):
            break
        _, steps, details, _ = row.split("|")
        for step in re.findall(r"`(\w+)`", steps):
            found[step] = frozenset(re.findall(r"`(\w+)`", details))
    return found


class Examination:
    """The steps of a doctor's session by name, its output and its JSON."""

    def __init__(self, steps: list[DoctorStep], report: DoctorReport) -> None:
        self.steps = {step.name.value: step for step in steps}
        self.json = orjson.loads(orjson.dumps(report))
        self.lines = [
            line
            for step in steps
            for line in step_lines(step, width=None, colours=False)
        ]
        assert list(self.steps) == [name.value for name in StepName]
        for step in steps:
            assert step.state is not StepState.FAILED or step.next, step
            named = documented_details().get(step.name.value, frozenset())
            assert step.details.keys() <= named | {"failure", "status"}, step

    def __getitem__(self, name: str) -> DoctorStep:
        return self.steps[name]

    def named(self, state: str) -> list[str]:
        return [name for name, step in self.steps.items() if step.state == state]


async def examine(here: Lab, name: str = "team/app:1.0", **changes: Any) -> Examination:
    """Run the doctor on `name` in the lab's registry; "" is the host alone."""
    tokens = changes.pop("tokens", None)
    if tokens is not None:
        tokens.clock = time.time
    reference = parse_reference(here.ref(name)) if name else None
    with anyio.fail_after(PATIENCE_S):
        async with open_session(
            here.settings(**changes),
            here.host,
            reference,
            has_tag=":" in name,
            clock=StoppedClock(),
        ) as session:
            steps = [step async for step in run_steps(session)]
            return Examination(steps, summarize(session, steps))


def steps_after(name: str) -> list[str]:
    names = [step.value for step in StepName]
    return names[names.index(name) + 1 :]


# -- a good run -----------------------------------------------------------------------


async def test_the_output_of_a_good_run(tmp_path: Path) -> None:
    authority, tokens = Authority(tmp_path), service()
    tls = authority.server("127.0.0.1", lasts=timedelta(days=90, hours=1))
    async with lab(simple(NAMES), tokens=tokens, tls=tls) as here:
        found = await examine(here, tokens=tokens, ca_file=str(authority.file))
        assert here.faults.count("GET", MANIFESTS) == 1
        assert here.faults.count("GET", TAGS) == 1
    lines = [*found.lines, found.json["verdict"]]
    shown = "\n".join(lines).replace(here.host.rpartition(":")[2], "PORT")
    shown = shown.replace(str(tmp_path), "FOLDER") + "\n"
    assert shown == (GOLDEN / "doctor.txt").read_text()


async def test_every_step_has_the_same_keys_in_json() -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens) as here:
        report = (await examine(here, tokens=tokens)).json
    assert {**report, "steps": None, "checked_at": None} == {
        "kind": "doctor",
        "schema": 1,
        "registry": here.host,
        "repository": "team/app",
        "reference": here.ref("team/app:1.0"),
        "works": True,
        "checked_at": None,
        "verdict": "an audit would work",
        "steps": None,
    }
    for step in report["steps"]:
        assert list(step) == ["name", "state", "message", "ms", "next", "details"]
    details = {step["name"]: step["details"] for step in report["steps"]}
    skew_s = details["token"].pop("clock_skew_s")
    assert abs(skew_s) < 30  # Date has whole seconds, and this machine may be busy
    assert details["token"] == {"kind": "jwt", "lifetime_s": 300.0}
    assert details["challenge"]["realm"] == f"http://{here.host}/token"
    assert details["grant"]["actions"] == ["pull"]
    assert details["manifest"]["digest_header"] is True


async def test_a_host_alone_skips_the_steps_of_a_repository() -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens) as here:
        found = await examine(here, "", tokens=tokens)
        assert here.faults.count("GET", MANIFESTS) == 0
    assert found.named("skipped") == [
        "tls", "grant", "tags", "manifest", "referrers",
    ]  # fmt: skip
    assert found["token"].message == "a JWT, valid for 5 minutes"
    assert found["catalog"].details["listed"] == 1
    assert "check token, grant and manifest with" in found.json["verdict"]


async def test_without_a_tag_the_first_tag_of_the_listing_is_used() -> None:
    async with lab(simple(["team/app:3.1"])) as here:
        found = await examine(here, "team/app")
    assert found["manifest"].details["reference"] == here.ref("team/app:3.1")
    assert found.json["reference"] is None


async def test_plain_http_on_a_loopback_address_is_explained() -> None:
    async with lab(simple(NAMES)) as here:
        found = await examine(here)
        configured = await examine(here, plain_http=True)
    assert "the default for loopback addresses" in found["route"].message
    assert "plain HTTP as configured" in configured["route"].message
    assert found["challenge"].message == "none: the registry is public"
    assert found["token"].message == "not needed: the registry is public"


# -- the network ----------------------------------------------------------------------


async def test_a_name_that_does_not_resolve_fails_at_dns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with lab() as here:
        here.host = "registry.test"
        with monkeypatch.context() as patched:
            patched.setattr(socket, "getaddrinfo", fail)
            found = await examine(here)
    assert found.named("failed") == ["dns"]
    assert found.named("skipped") == steps_after("dns")
    assert "does not resolve" in found["dns"].message
    assert "getent hosts registry.test" in (found["dns"].next or "")


async def test_a_closed_port_fails_at_tcp() -> None:
    async with lab() as here:
        pass
    found = await examine(here)
    assert found.named("failed") == ["tcp"]
    assert found.named("skipped") == steps_after("tcp")
    assert "Connection refused" in found["tcp"].message
    assert found.json["verdict"] == "an audit would not work: step tcp failed"


async def test_every_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def two_addresses(host: str, *args: Any, **more: Any) -> Any:
        if host != "registry.test":
            return real(host, *args, **more)
        return [*real("127.0.0.2", *args, **more), *real("127.0.0.1", *args, **more)]

    async with lab(simple(NAMES)) as here:
        here.host = f"registry.test:{here.host.rpartition(':')[2]}"
        monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
        found = await examine(here, plain_http=True)
    assert found.named("warning") == ["tcp"]
    tried: Any = found["tcp"].details["tried"]
    assert [(one["address"], one["failure"]) for one in tried] == [
        ("127.0.0.2", "connect"),
        ("127.0.0.1", None),
    ]


@pytest.mark.parametrize(
    ("hosts", "certificate", "is_ca_given", "message", "advice"),
    [
        (
            ["127.0.0.1"], {"lasts": timedelta(minutes=-30)}, True,
            "certificate has expired", "ask the operator to renew",
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
                "Missing Authority Key Identifier", "run auditor with Python 3.12",
            )
        ] * STRICT,
    ],
)  # fmt: skip
async def test_advice_on_a_certificate_that_is_not_trusted(
    hosts: Sequence[str],
    certificate: dict[str, Any],
    is_ca_given: bool,
    message: str,
    advice: str,
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "other").mkdir()
    trusted = authority if is_ca_given else Authority(tmp_path / "other")
    async with lab(simple(NAMES), tls=authority.server(*hosts, **certificate)) as here:
        found = await examine(here, ca_file=str(trusted.file))
        assert here.faults.count() == 0
    assert found.named("failed") == ["tls"]
    assert found.named("skipped") == steps_after("tls")
    assert message in found["tls"].message
    assert advice in (found["tls"].next or "")
    shown: Any = found["tls"].details["certificate"]
    assert shown["names"] == list(hosts)


async def test_a_certificate_that_expires_soon_is_a_warning(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with lab(simple(NAMES), tls=authority.server("127.0.0.1")) as here:
        found = await examine(here, ca_file=str(authority.file))
    assert found.named("warning") == ["tls"]
    assert found["tls"].details["trusted_by"] == str(authority.file)


async def test_a_client_certificate_that_is_required(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    tls = authority.server("127.0.0.1", clients=True, lasts=timedelta(days=90))
    own = authority.pair("auditor")
    async with lab(simple(NAMES), tls=tls) as here:
        bare = await examine(here, ca_file=str(authority.file))
        good = await examine(
            here,
            ca_file=str(authority.file),
            cert_file=str(own.cert),
            key_file=str(own.key),
        )
    # With TLS 1.3 the server rejects a missing certificate after the handshake.
    assert bare.named("failed") == ["ping"]
    assert "may require a client certificate" in (bare["ping"].next or "")
    assert good.named("failed") == []
    assert f"client certificate {own.cert}" in good["tls"].message


async def test_a_server_without_tls_fails_at_tls() -> None:
    async with lab(simple(NAMES)) as here:
        found = await examine(here, plain_http=False)
    assert found.named("failed") == ["tls"]
    assert "--plain-http" in (found["tls"].next or "")


async def test_plain_http_to_a_tls_port_fails_at_the_ping() -> None:
    async with lab(simple(NAMES)) as here:
        sentence = "The plain HTTP request was sent to HTTPS port"
        here.faults.on("GET", "/v2/", Answer(400, body=sentence.encode()))
        found = await examine(here, plain_http=True)
    assert found.named("failed") == ["ping"]
    assert (found["ping"].next or "").startswith(
        "the server expects TLS: use --no-plain-http"
    )


async def test_dns_and_tcp_check_the_proxy_if_there_is_one() -> None:
    async with lab(simple(NAMES)) as here:
        names = {"registry.test": here.host}
        here.host = "registry.test"
        async with forward_proxy(names) as through:
            proxy = f"http://me:hunter2@{through.address}"
            found = await examine(here, proxy=proxy, plain_http=True)
    assert found.named("failed") == []
    assert f"through the proxy http://{through.address}" in found["route"].message
    assert found["tcp"].details["port"] == int(through.address.rpartition(":")[2])
    assert "hunter2" not in str(found.json)


async def test_a_proxy_that_requires_a_login_or_is_down() -> None:
    async with lab(simple(NAMES)) as here:
        here.host = "registry.test"
        async with forward_proxy({}, authorization="Basic bWU6aHVudGVyMg==") as through:
            proxy = f"http://{through.address}"
            locked = await examine(here, proxy=proxy)
        down = await examine(here, proxy=proxy)
    assert locked.named("failed") == ["ping"]
    assert "USER:PASSWORD@HOST:PORT" in (locked["ping"].next or "")
    assert down.named("failed") == ["tcp"]
    assert (down["tcp"].next or "").startswith(f"check the proxy {proxy} (set by ")


async def test_a_certificate_behind_a_proxy_is_checked_by_the_ping(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    tls = authority.server("registry.test")
    async with lab(simple(NAMES), tls=tls) as here:
        names = {"registry.test": here.host}
        here.host = "registry.test"
        async with forward_proxy(names) as through:
            proxy = f"http://{through.address}"
            bad = await examine(here, proxy=proxy)
            good = await examine(here, proxy=proxy, ca_file=str(authority.file))
    assert bad["tls"].state == good["tls"].state == "skipped"
    assert bad.named("failed") == ["ping"]
    assert "--ca-file FILE" in (bad["ping"].next or "")
    assert good.named("failed") == []


async def test_a_mirror_is_shown_in_the_route() -> None:
    async with lab(simple(NAMES)) as here:
        found = await examine(here, mirror="mirror.test/cache")
    assert "mirror.test/cache first" in found["route"].message


# -- access --------------------------------------------------------------------------


async def test_a_404_to_the_ping_fails_only_a_host_alone() -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens) as here:
        here.faults.on("GET", "/v2/", Answer(404), forever=True)
        found = await examine(here, tokens=tokens)
        alone = await examine(here, "", tokens=tokens)
    assert found.named("warning") == ["ping"]
    # The manifest's challenge led to a token.
    assert found["grant"].message == "admin is granted pull"
    assert alone["ping"].state == "failed"
    assert "may run on another host or port" in (alone["ping"].next or "")


async def test_a_page_in_place_of_the_ping_is_no_registry() -> None:
    page = Answer(200, {"Content-Type": "text/html"}, b"<html>Sign in")
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/", page, forever=True)
        alone = await examine(here, "")
    assert alone["ping"].state == "failed"
    assert alone["ping"].message.startswith("200, an HTML page, ")
    assert "check that this is a registry" in (alone["ping"].next or "")


async def test_a_401_without_a_challenge() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("*", "/v2/*", Answer(401), forever=True)
        found = await examine(here)
        alone = await examine(here, "")
    assert found["challenge"].state == "warning"
    assert found.named("failed") == ["manifest"]
    assert alone.named("failed") == ["challenge"]
    assert "token_url" in (alone["challenge"].next or "")


async def test_a_ping_that_fails() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/", Answer(503), forever=True)
        found = await examine(here)
    assert found.named("failed") == ["ping"]
    assert found.named("skipped") == ["tls", *steps_after("ping")]


async def test_a_realm_that_is_refused() -> None:
    tokens = service(realm="http://169.254.169.254/token")
    async with lab(simple(NAMES), tokens=tokens) as here:
        found = await examine(here, tokens=tokens)
    assert found.named("failed") == ["realm"]
    assert found.named("skipped") == ["tls", *steps_after("realm")]
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
    return {"docker_config": True, "authfiles": (str(authfile),)}


async def test_a_credential_helper_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _helper(tmp_path, monkeypatch, "echo hunter2; exit 3")
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens, login=DemoAccount(ANONYMOUS)) as here:
        found = await examine(here, tokens=tokens, **settings)
    assert found.named("failed") == ["credential"]
    assert (
        "docker-credential-test failed with exit code 3" in found["credential"].message
    )
    assert "hunter2" not in str(found.json)


async def test_a_login_from_a_file_is_shown_with_its_location(tmp_path: Path) -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens, login=DemoAccount(ANONYMOUS)) as here:
        path = tmp_path / "auth.json"
        entry = {"username": ADMIN.name, "password": ADMIN.password}
        path.write_text(json.dumps({"auths": {f"{here.host}/team": entry}}))
        found = await examine(
            here, tokens=tokens, docker_config=True, authfiles=(str(path),)
        )
    assert found.named("failed") == []
    assert found["credential"].message == (
        f"password of 'admin' from {path}: auths.\"{here.host}/team\""
    )


async def test_a_wrong_password_is_sent_to_the_token_service_once() -> None:
    tokens = service(DemoAccount("admin", "another", {"*": ("*",)}))
    async with lab(simple(NAMES), tokens=tokens, login=ADMIN) as here:
        found = await examine(here, tokens=tokens)
        assert here.faults.count("GET", TOKENS) == 1  # more can lock the account
    assert found.named("failed") == ["token"]
    assert "rejected the login of 'admin'" in found["token"].message
    assert (found["token"].next or "").startswith("set the right user name and pass")


@pytest.mark.parametrize(
    ("source", "location", "advice"),
    [
        ("config", "password_env PW (nightly.toml:4)",
         "set the right user name and password in password_env PW (nightly.toml:4)"),
        ("file", '~/.docker/config.json: auths."h"',
         'log in again, docker login h: it replaces ~/.docker/config.json: auths."h"'),
        ("file", "/run/containers/auth.json", "log in again, podman login h: it repl"),
        ("helper", "docker-credential-pass (config.json: credsStore)",
         "the login is from docker-credential-pass (config.json: credsStore): log in"),
    ],
)  # fmt: skip
def test_the_advice_on_a_wrong_password_fits_its_source(
    source: str, location: str, advice: str
) -> None:
    found = FoundCredential(
        credential=Login(username="audit", password=Secret("x")),
        source=CredentialSource(source),
        location=location,
    )
    failure = Failure(kind=FailureKind.DENIED, detail="", status=401)
    assert advise_on_login(failure, "h", found).startswith(advice)
    forbidden = Failure(kind=FailureKind.DENIED, detail="", status=403)
    assert "let the login of 'audit' pull" in advise_on_login(forbidden, "h", found)


async def test_a_token_without_pull_fails_at_the_grant() -> None:
    tokens = service(DemoAccount("admin", "secret", {"other/*": ("pull",)}))
    async with lab(simple(NAMES), tokens=tokens, login=ADMIN) as here:
        found = await examine(here, tokens=tokens)
        assert here.faults.count("GET", MANIFESTS) == 0
    assert found.named("failed") == ["grant"]
    assert found["grant"].message == "admin is granted nothing"
    assert found.named("skipped") == ["tls", "tags", "manifest", "referrers"]


async def test_without_a_login_a_missing_grant_leads_to_a_login() -> None:
    everybody = DemoAccount(ANONYMOUS, grants={"library/*": ("pull",)})
    tokens = service(everybody)
    async with lab(simple(NAMES), tokens=tokens, login=everybody) as here:
        found = await examine(here, tokens=tokens)
    assert found["grant"].message == "the anonymous user is granted nothing"
    assert (found["grant"].next or "").startswith(
        "log in with an account that can pull"
    )


async def test_a_grant_beyond_pull_is_a_warning() -> None:
    def grant_all(claims: dict[str, Any]) -> dict[str, Any]:
        for grant in claims["access"]:
            if grant["type"] == "repository":
                grant["actions"] = ["pull", "push", "delete"]
        return claims

    tokens = service(edit=grant_all)
    async with lab(simple(NAMES), tokens=tokens) as here:
        found = await examine(here, tokens=tokens)
    assert found.named("warning") == ["grant"]
    assert found["grant"].details["beyond_pull"] == ["delete", "push"]


async def test_a_wrong_clock_is_a_warning() -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens) as here:
        late = {"Date": "Mon, 23 Nov 2020 02:00:00 GMT"}
        here.faults.on("GET", TOKENS, Edit(headers=late), forever=True)
        found = await examine(here, tokens=tokens)
    assert found.named("warning") == ["token"]
    assert "ahead of the token service's" in found["token"].message


async def test_the_grant_of_an_opaque_token_and_of_basic_is_unknown() -> None:
    tokens = service(opaque=True)
    async with lab(simple(NAMES), tokens=tokens) as here:
        opaque = await examine(here, tokens=tokens)
    async with lab(simple(NAMES), access=Basic([ADMIN]), login=ADMIN) as here:
        basic = await examine(here)
    assert opaque["token"].message.startswith("an opaque token")
    assert basic["token"].state == "skipped"
    for found in (opaque, basic):
        assert found.named("failed") == []
        assert found["grant"].message.startswith("unknown: ")


async def test_a_wrong_password_with_basic_is_sent_once() -> None:
    wrong = DemoAccount(ADMIN.name, "guess")
    async with lab(simple(NAMES), access=Basic([ADMIN]), login=wrong) as here:
        alone = await examine(here, "")
        here.faults.log.clear()
        found = await examine(here)
        sent = [one for one in here.faults.log if "Authorization" in one.headers]
    assert len(sent) == 1  # more can lock the account
    assert alone.named("failed") == ["catalog"]
    assert found.named("failed") == ["tags"]
    assert (found["tags"].next or "").startswith("set the right user name and pass")


async def test_advice_on_a_token_service_that_is_down_names_its_host() -> None:
    async with lab() as gone:
        pass
    tokens = service(realm=f"http://{gone.host}/token")
    async with lab(simple(NAMES), tokens=tokens) as here:
        found = await examine(here, tokens=tokens)
        # Without a repository and a login, it is asked for the catalog first.
        here.login = RegistrySettings()
        alone = await examine(here, "", tokens=tokens)
    assert found.named("failed") == ["token"]
    assert f"curl -v http://{gone.host}/" in (found["token"].next or "")
    assert alone.named("failed") == ["catalog"]
    assert f"curl -v http://{gone.host}/" in (alone["catalog"].next or "")
    assert not alone.json["works"]


async def test_headers_of_a_registry_are_safe_to_print() -> None:
    evil = {"Docker-Distribution-Api-Version": "a\x1b]0;b\x07" + "c" * 5000}
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/", Edit(headers=evil), forever=True)
        found = await examine(here)
    assert all(line.isprintable() and len(line) < 3000 for line in found.lines)


async def test_basic_without_a_login_fails_at_the_first_request() -> None:
    async with lab(simple(NAMES), access=Basic([ADMIN])) as here:
        found = await examine(here)
    assert found["token"].message == "not needed: requests are anonymous"
    assert found.named("failed") == ["tags"]
    assert "requires a user name and password" in found["tags"].message


async def test_an_offered_login_is_tried_and_one_that_nothing_asks_for_named() -> None:
    offer = Edit(headers={"WWW-Authenticate": "basic"})
    async with lab(simple(NAMES), access=Basic([ADMIN]), login=ADMIN) as here:
        here.faults.on("GET", "/v2/", Edit(200, offer.headers), forever=True)
        offered = await examine(here)
    async with lab(simple(NAMES), login=ADMIN) as here:
        unasked = await examine(here)
    assert offered["challenge"].message == "Basic, offered, not required"
    assert offered["credential"].message.startswith("password of 'admin' from ")
    assert offered["manifest"].state == "ok"
    assert unasked.named("warning") == ["credential"]
    assert unasked["credential"].message.startswith(
        "not used: the registry asks for no"
    )


async def test_a_configured_token_service_needs_no_ping() -> None:
    tokens = service()
    async with lab(simple(NAMES), tokens=tokens) as here:
        url = f"http://{here.host}/token"
        found = await examine(here, tokens=tokens, token_url=url, service="demo")
        assert here.faults.count("GET", "/v2/") == 0
    assert found["ping"].state == "skipped"
    assert found.named("failed") == []
    assert "configured with token_url" in found["realm"].message


# -- content -------------------------------------------------------------------------


async def test_a_missing_tag_fails_at_the_manifest() -> None:
    async with lab(simple(NAMES)) as here:
        found = await examine(here, "team/app:9")
    assert found.named("failed") == ["manifest"]
    assert f"auditor ls {here.host}/team/app" in (found["manifest"].next or "")
    assert found["referrers"].state == "skipped"


async def test_a_429_fails_at_the_manifest() -> None:
    async with lab(simple(NAMES)) as here:
        limited = Answer(429, {"Retry-After": "3600"})
        here.faults.on("GET", MANIFESTS, limited, forever=True)
        found = await examine(here)
        assert here.faults.count("GET", MANIFESTS) == 1
    assert "manifest" in found.named("failed")
    assert "--rate-limit-policy spread" in (found["manifest"].next or "")


async def test_the_rate_limit_is_shown() -> None:
    fields = {
        "RateLimit-Limit": "100;w=21600",
        "RateLimit-Remaining": "76;w=21600",
        "Docker-RateLimit-Source": "192.0.2.7",
    }
    async with lab(simple(NAMES)) as here:
        here.faults.on("*", MANIFESTS, Edit(headers=fields), forever=True)
        found = await examine(here)
    assert found["rate_limit"].message == (
        "76 manifests left of 100 in 6 hours, counted by address"
    )


async def test_failed_listings_are_warnings() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", TAGS, Answer(403), forever=True)
        here.faults.on("GET", CATALOG, Answer(404), forever=True)
        found = await examine(here)
    assert found.named("warning") == ["tags", "catalog"]
    assert "lister" in (found["catalog"].next or "")


async def test_head_without_a_usable_digest_is_a_warning() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("HEAD", MANIFESTS, Answer(405), forever=True)
        no_head = await examine(here)
    async with lab(simple(NAMES)) as here:
        bare = Edit(headers={"Docker-Content-Digest": None})
        here.faults.on("*", MANIFESTS, bare, forever=True)
        no_digest = await examine(here)
    async with lab(simple(NAMES)) as here:
        other = Edit(headers={"Docker-Content-Digest": "sha256:" + "0" * 64})
        here.faults.on("HEAD", MANIFESTS, other, forever=True)
        differs = await examine(here)
    for found in (no_head, no_digest, differs):
        assert found.named("warning") == ["manifest"]
    assert "HEAD returns another digest, sha256:000" in differs["manifest"].message
    assert "--no-cache" in (differs["manifest"].next or "")
    assert no_head["manifest"].details["head"] is False
    assert no_digest["manifest"].details["digest_header"] is False


async def test_lines_are_wrapped_at_the_width_of_the_terminal() -> None:
    async with lab() as here:
        pass
    found = await examine(here)
    lines = list(step_lines(found["tcp"], width=80, colours=True))
    assert lines[0].startswith("\x1b[31mfailed")
    assert len(lines) > 2
    assert all(len(line) <= 90 for line in lines)


# -- the command ----------------------------------------------------------------------


async def test_the_exit_code_is_whether_an_audit_would_work(tmp_path: Path) -> None:
    account = DemoAccount(
        "robot", "hunter2-canary", {"team/*": ("pull",)}
    )  # no catalog
    tokens = FakeTokenService(accounts=[account])
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
            *(*given, here.ref("other/app"), "--format", "json"), environment=secret
        )
        issued = [tokens.sign(claims) for claims in tokens.issued]
    assert (good.code, good.stderr) == (0, [])
    assert good.out.decode().endswith("\n\nan audit would work (1 warning)\n")
    assert (bad.code, bad.stderr) == (1, [])
    assert bad.lines[0]["works"] is False
    stopped = await auditor("doctor", "127.0.0.1:1")
    assert stopped.out.decode().endswith(
        "\nskipped   12 steps: no connection is possible\n"
        "\nan audit would not work: step tcp failed\n"
    )
    for out in (good.out, bad.out):
        assert b"canary" not in out
        assert b"\x1b" not in out
        assert not any(token.partition(".")[0].encode() in out for token in issued)


def test_an_invalid_target_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["doctor", "no such thing"]) == 2
    assert capsys.readouterr().err.startswith('auditor: "no such thing" ')
