"""A distinct secret in every place that can have one; no output contains any of them.

Searched are both standard streams with debug logs, the report, a partial report, the
summary, metrics, the digest cache and the output of other commands, for runs that
succeed, fail, hit a bug and are killed.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import signal
import sqlite3
import sys
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import anyio
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from auditor.demo.demo_tokens import ANONYMOUS, DemoAccount
from tests.certificates import Authority
from tests.flow.commands import Finished, running
from tests.flow.forward_proxy import ForwardProxy, forward_proxy
from tests.flow.harness import PATIENCE_S, Lab, lab, simple
from tests.support.fault_actions import Answer, Hold
from tests.support.token_service import FakeTokenService

pytestmark = pytest.mark.anyio

# Each place and its secret. No secret contains words of other texts, or looks like a
# token that masking would recognise by its form.
SECRETS = {
    "password of an environment variable": "Waldkauz:läuft!",
    "password file": 'Uhu "sitzt" \\still',
    "auth in docker's file": "Sperber%2fruft",
    "identity token": "Habicht-kreist",
    "identity token that replaces it": "Falke-ruettelt",
    "output of a credential helper": "Milan'segelt",
    "password of the proxy": "Bussard-jagt",
    "password in a mistyped reference": "Adler/thront",
    "password in a mistyped entry": "Kauz-wacht",
    "query of a presigned URL": "Kranich0zieht0Kranich0zieht",
    "Set-Cookie": "Reiher-steht",
}
PARTS = ("env", "file", "docker", "identity", "bearer", "helper")
USERS = {part: f"{part}-user" for part in PARTS}


class Rotating(FakeTokenService):
    """Replaces the identity token with each response."""

    def refresh_token(self, account: DemoAccount) -> str:
        token = SECRETS["identity token that replaces it"]
        self.give_refresh_token(token, account)
        return token


@dataclass(frozen=True, slots=True)
class Echo:
    """Returns the Authorization that it got, in every part of the response."""

    status: int

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        sent = request.headers.get("Authorization", "")
        error_body = {"errors": [{"code": "DENIED", "message": f"what is {sent}?"}]}
        answer = web.json_response(error_body, status=self.status)
        answer.headers["Set-Cookie"] = f"session={SECRETS['Set-Cookie']}"
        answer.headers["WWW-Authenticate"] = (
            f'Bearer realm="http://{request.host}/token?was={quote(sent)}",'
            f'error="{sent}"'
        )
        answer.headers["Warning"] = sent
        return answer


@dataclass(kw_only=True)
class Nest:
    """A folder with every secret in its place, and the hosts that they are sent to."""

    folder: Path
    here: Lab
    tokens: FakeTokenService
    store: Lab
    mutual: Lab
    proxy: ForwardProxy
    environment: Mapping[str, str]
    key_lines: list[str]
    given: str
    printed: list[bytes] = field(default_factory=list)

    @property
    def work(self) -> Path:
        """Where runs write; it contains no input with a secret."""
        return self.folder / "work"

    def arguments(self, *more: str) -> list[str]:
        return ["-c", str(self.folder / "night.toml"), *more]

    async def run(
        self, command: str, *more: str, program: tuple[str, ...] | None = None
    ) -> Finished:
        """Run a command to its end; its output is kept."""
        async with running(
            *(command, *self.arguments(*more)),
            environment=self.environment,
            place=self.work,
            program=program,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            pieces: dict[str, bytes] = {}

            async def read(name: str, stream: anyio.abc.ByteReceiveStream) -> None:
                pieces[name] = b"".join([piece async for piece in stream])

            async with anyio.create_task_group() as group:
                group.start_soon(read, "out", process.stdout)
                group.start_soon(read, "err", process.stderr)
            code = await process.wait()
        self.printed += pieces.values()
        stderr = pieces["err"].decode().splitlines()
        return Finished(code=code, out=pieces["out"], stderr=stderr)

    def secrets(self) -> Iterator[tuple[str, str]]:
        """Every secret by its place, with the tokens and headers that were sent."""
        yield from SECRETS.items()
        for line in self.key_lines:
            yield "client key", line
        yield "registry token", self.given
        for one in (*self.here.faults.log, *self.mutual.faults.log):
            secret = one.headers.get("Authorization", "").partition(" ")[2]
            if secret:
                yield "Authorization field", secret

    def assert_nothing_shows(self) -> None:
        """Search everything that was written and printed so far."""
        found = dict(enumerate(self.printed))
        texts = [("a standard stream", text) for text in found.values()]
        files = [path for path in self.work.rglob("*") if path.is_file()]
        texts += [(path.name, path.read_bytes()) for path in files]
        texts += [("the cache", text) for text in _contents(self.work / "store")]
        # This is in the streams, the report and the cache: they were really searched.
        assert sum(b"docker/app" in text for _, text in texts) >= 2
        for place, secret in dict(self.secrets()).items():
            for form in _forms(secret):
                for name, text in texts:
                    assert form not in text, f"{place}: {form!r} in {name}"


def _forms(secret: str) -> set[bytes]:
    """A secret in plain text and in its usual encodings."""
    plain = secret.encode()
    in_json = json.dumps(secret)[1:-1]
    forms = {plain, quote(secret, safe="").encode(), in_json.encode()}
    forms.add(json.dumps(in_json)[1:-1].encode())  # a response, in a log line of JSON
    forms.add(json.dumps(secret, ensure_ascii=False)[1:-1].encode())
    for shift in range(3):
        # The base64 digits depend on the bytes before: all three alignments, without
        # the digits at the ends, which depend on neighbours.
        coded = base64.b64encode(b"\0" * shift + plain)
        forms.add(coded[-(-shift * 8 // 6) : len(coded) - 4])
        forms.add(base64.urlsafe_b64encode(b"\0" * shift + plain)[4:-4])
    return {form for form in forms if len(form) >= 8}


def _contents(store: Path) -> list[bytes]:
    """The cells of the cache's tables, also decompressed."""
    if not store.exists():
        return []
    found = []
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            for row in database.execute(f'SELECT * FROM "{table}"'):  # noqa: S608
                for cell in row:
                    data = cell if isinstance(cell, bytes) else str(cell).encode()
                    found.append(data)
                    for bits in (15, -15, 31):
                        with suppress(zlib.error):
                            found.append(zlib.decompress(data, bits))
    database.close()
    return found


@asynccontextmanager
async def nest(folder: Path) -> AsyncIterator[Nest]:
    names = [f"{part}/app:1" for part in PARTS]
    content = simple([*names, *(f"docker/app:echo{n}" for n in (401, 403, 500))])
    passwords = {
        "env": SECRETS["password of an environment variable"],
        "file": SECRETS["password file"],
        "docker": SECRETS["auth in docker's file"],
        "identity": "",
        "bearer": "",
        "helper": SECRETS["output of a credential helper"],
    }
    accounts = [
        DemoAccount(USERS[part], passwords[part], {f"{part}/*": ("pull",)})
        for part in PARTS
    ]
    tokens = Rotating(accounts=accounts, rotates=True)
    tokens.give_refresh_token(SECRETS["identity token"], accounts[3])
    authority = Authority(folder)
    tls = authority.server("mtls.test", clients=True)
    proxy_login = f"proxy-user:{SECRETS['password of the proxy']}"
    basic = "Basic " + base64.b64encode(proxy_login.encode()).decode()
    async with (
        lab(content, tokens=tokens, login=DemoAccount(ANONYMOUS)) as here,
        lab() as store,
        lab(simple(["team/app:1"]), tls=tls) as mutual,
        forward_proxy({"mtls.test": mutual.host}, authorization=basic) as proxy,
    ):
        given = tokens.issue(accounts[4], ["repository:bearer/app:pull"])
        pair = authority.pair("client")
        _write_configuration(folder, here, authority, pair.cert, pair.key)
        auth = base64.b64encode(f"docker-user:{passwords['docker']}".encode()).decode()
        document = {
            "auths": {
                f"{here.host}/docker": {"auth": auth},
                f"{here.host}/identity": {"identitytoken": SECRETS["identity token"]},
                f"{here.host}/bearer": {"registrytoken": given},
            },
            "credHelpers": {f"{here.host}/helper": "canary"},
        }
        (folder / "auth.json").write_text(json.dumps(document))
        answer = {"Username": USERS["helper"], "Secret": passwords["helper"]}
        (folder / "answer.json").write_text(json.dumps(answer))
        helper = folder / "docker-credential-canary"
        helper.write_text(f"#!/bin/sh\ncat {folder}/answer.json\n")
        helper.chmod(0o755)
        _write_list(folder, here, names)
        _send_blobs_elsewhere(here, store)
        for status in (401, 403, 500):
            path = f"/v2/docker/app/manifests/echo{status}"
            here.faults.on("GET", path, Echo(status), forever=True)
        (folder / "work").mkdir()
        lines = re.findall(r"^[^-].{20,}$", pair.key.read_text(), re.MULTILINE)
        yield Nest(
            folder=folder,
            here=here,
            tokens=tokens,
            store=store,
            mutual=mutual,
            proxy=proxy,
            given=given,
            key_lines=lines,
            environment={
                "CANARY_PASSWORD": passwords["env"],
                "AUDITOR_AUTHFILE": str(folder / "auth.json"),
                "AUDITOR_LOG_LEVEL": "debug",
                "AUDITOR_NO_CACHE": "",
                "AUDITOR_TRIES": "1",
                "AUDITOR_CACHE": str(folder / "work/store"),
                "HTTPS_PROXY": f"http://{proxy_login}@{proxy.address}",
                "PATH": f"{folder}:/usr/bin:/bin",
            },
        )


def _write_configuration(
    folder: Path, here: Lab, authority: Authority, cert: Path, key: Path
) -> None:
    (folder / "password").write_text(SECRETS["password file"] + "\n")
    (folder / "night.toml").write_text(
        f'[registry."{here.host}/env"]\nusername = "env-user"\n'
        'password_env = "CANARY_PASSWORD"\n'
        f'[registry."{here.host}/file"]\nusername = "file-user"\n'
        f'password_file = "{folder}/password"\n'
        f'[registry."mtls.test"]\nca_file = "{authority.file}"\n'
        f'cert_file = "{cert}"\nkey_file = "{key}"\n'
    )


def _write_list(folder: Path, here: Lab, names: list[str]) -> None:
    mistyped = SECRETS["password in a mistyped reference"]
    in_json = f"user:{SECRETS['password in a mistyped entry']}@{here.host}/x"
    lines = [
        *map(here.ref, names),
        here.ref("docker/app:*"),
        f"https://user:{mistyped}@{here.host}/env/app:1",
        f"user:{mistyped}@{here.host}",
        json.dumps({"repository": in_json, "tag": "1"}),
        "mtls.test/team/app:1",
        "gone.test/team/app:1",
    ]
    (folder / "list.txt").write_text("\n".join(lines))


def _send_blobs_elsewhere(here: Lab, store: Lab) -> None:
    """Configs are redirected to presigned URLs; the storage refuses one of them."""
    query = f"X-Amz-Signature={SECRETS['query of a presigned URL']}"
    for part in ("env", "file"):
        for digest, blob in here.content.repository(f"{part}/app").blobs.items():
            path = f"/bucket/{part}/{digest}"
            to = Answer(307, {"Location": f"http://{store.host}{path}?{query}"})
            here.faults.on("GET", f"/v2/{part}/app/blobs/*", to, forever=True)
            refused = f"<Error><Message>no: {path}?{query}</Message></Error>".encode()
            answer = Answer(403, {"Content-Type": "application/xml"}, refused)
            if part == "env":
                answer = Answer(body=blob.content)
            store.faults.on("GET", path, answer, forever=True)


async def test_no_audit_writes_a_secret_however_it_ends(tmp_path: Path) -> None:
    async with nest(tmp_path) as here:
        listed = ("-f", str(tmp_path / "list.txt"))
        files = ("--summary", "summary.json", "--metrics", "metrics.prom")

        done = await here.run("audit", *listed, *files, "-o", "text.jsonl")
        assert done.code == 1, "\n".join(done.stderr)
        _every_secret_was_sent(here)
        kinds = [line.get("failure") for line in _lines(here.work / "text.jsonl")]
        assert kinds.count(None) == 6
        assert kinds.count("invalid_reference") == 3
        here.assert_nothing_shows()

        done = await here.run(
            *("audit", *listed, "--log-format", "json", "--processes", "2"),
            *("--requests-at-once", "8", "-o", "json.jsonl"),
        )
        assert done.code == 1, "\n".join(done.stderr)
        here.assert_nothing_shows()

        bug = (sys.executable, "-c", _BUG)
        done = await here.run("audit", *listed, "-o", "bug.jsonl", program=bug)
        assert done.code == 70
        assert any("RuntimeError: planted" in line for line in done.stderr)
        here.assert_nothing_shows()

        await _killed(here, *listed)
        here.assert_nothing_shows()
        done = await here.run("audit", *listed, "-o", "killed.jsonl", "--resume")
        assert done.code == 1, "\n".join(done.stderr)
        here.assert_nothing_shows()


async def test_no_other_command_prints_a_secret(tmp_path: Path) -> None:
    async with nest(tmp_path) as here:
        listed = ("-f", str(tmp_path / "list.txt"))
        # The search expects this name in two places.
        (here.work / "note").write_text("docker/app")
        mistyped = (
            f"user:{SECRETS['password in a mistyped reference']}@{here.here.host}"
        )
        for command in (
            ("audit", *listed, "--dry-run"),
            ("token", here.here.ref("docker/app"), "--format", "json"),
            ("token", *listed, "--actions", "pull,push", "--format", "json"),
            ("doctor", here.here.ref("docker/app:echo401"), "--format", "json"),
            ("doctor", "mtls.test/team/app:1"),
            ("inspect", here.here.ref("docker/app:echo403")),
            ("inspect", f"{mistyped}/docker/app:1"),
            ("ls", mistyped),
            ("ls", here.here.ref("docker/app"), "--proxy", f"http://{mistyped}"),
        ):
            done = await here.run(*command)
            is_mistyped = any(mistyped in word for word in command)
            assert done.code in ({2} if is_mistyped else {0, 1}), done.stderr
            here.assert_nothing_shows()
        # --raw prints the token on purpose.
        raw = await here.run("token", here.here.ref("env/app"), "--raw")
        sent = here.here.faults.requests("GET", "/token")
        assert raw.code == 0
        assert sent
        assert raw.out.count(b".") == 2


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "user:"])
@pytest.mark.parametrize("secret", SECRETS.values())
def test_a_secret_is_found_in_every_encoding(secret: str, before: str) -> None:
    forms = _forms(secret)
    text = f"{before}{secret} and more".encode()
    for coded in (
        text,
        base64.b64encode(text),
        base64.urlsafe_b64encode(text),
        quote(text, safe="").encode(),
        json.dumps(text.decode()).encode(),
    ):
        assert any(form in coded for form in forms), coded


_BUG = """
import auditor.registry.auth.token_service as module
def planted(body): raise RuntimeError("planted")
module.parse_token_response = planted
from auditor.cli.main import main
main()
"""


def _every_secret_was_sent(here: Nest) -> None:
    """Otherwise the test would prove nothing."""
    fields = {one.headers.get("Authorization", "") for one in here.here.faults.log}
    for name in ("env", "file", "docker", "helper"):
        (account,) = (one for one in here.tokens.accounts if one.name == USERS[name])
        pair = f"{account.name}:{account.password}".encode()
        assert "Basic " + base64.b64encode(pair).decode() in fields, name
    assert f"Bearer {here.given}" in fields
    refresh = {form.get("refresh_token") for form in here.tokens.forms}
    assert SECRETS["identity token"] in refresh
    assert any("X-Amz-Signature" in one.query for one in here.store.faults.log)
    assert here.mutual.faults.count() > 0  # it requires the client certificate
    assert "CONNECT mtls.test:443" in here.proxy.seen
    echoes = [one.status for one in here.here.faults.requests("GET", "*echo*")]
    assert {401, 403, 500} <= set(echoes)


async def _killed(here: Nest, *listed: str) -> None:
    """Kill a run after it has written some records."""
    output = here.work / "killed.jsonl"
    gate = here.here.faults.on("GET", "/v2/helper/app/manifests/1", Hold())
    here.here.faults.rules.insert(0, here.here.faults.rules.pop())
    # Images in the cache would not be requested.
    shutil.rmtree(here.work / "store", ignore_errors=True)
    for path in here.work.glob("store*"):
        path.unlink()
    async with running(
        *("audit", *here.arguments(*listed, "-o", output.name)),
        environment=here.environment,
        place=here.work,
    ) as process:
        with anyio.fail_after(PATIENCE_S):
            partial = output.with_name(output.name + ".partial")
            while not partial.exists() or partial.stat().st_size == 0:  # noqa: ASYNC110
                await anyio.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
    assert gate.used_up
    assert output.with_name(output.name + ".journal").exists()


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]
