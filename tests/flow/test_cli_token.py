"""`auditor token`: what a token grants, requested from a registry or pasted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.demo.demo_tokens import ANONYMOUS, DemoAccount, SigningKey
from tests.flow.commands import Finished, auditor
from tests.flow.harness import MANIFESTS, Lab, lab, simple
from tests.support.registry import Basic
from tests.support.token_service import (
    FakeTokenService,
    certificate_pem,
    jwks,
    public_pem,
)

pytestmark = pytest.mark.anyio

ROBOT = DemoAccount("robot", "secret", {"team/*": ("pull", "push")})
ANYONE = DemoAccount(ANONYMOUS, "", {"library/*": ("pull",)})
GOLDEN = Path(__file__).parents[1] / "golden"


def _service(**changes: Any) -> FakeTokenService:
    return FakeTokenService(accounts=[ROBOT, ANYONE], **changes)


async def _token(
    here: Lab,
    name: str,
    *flags: str,
    place: Path,
    tokens: FakeTokenService | None = None,
) -> Finished:
    """`auditor token` as the robot."""
    if tokens is not None:
        tokens.clock = time.time  # the command runs with the real time
    config = place / "night.toml"
    config.write_text(
        f'[registry."{here.host}"]\nusername = "robot"\npassword_env = "SECRET"\n'
    )
    return await auditor(
        *("token", "-c", str(config), here.ref(name), *flags),
        environment={"SECRET": ROBOT.password},
    )


async def test_a_grant_is_shown_with_a_ping_and_a_token_request(tmp_path: Path) -> None:
    tokens = _service()
    async with lab(tokens=tokens) as here:
        done = await _token(here, "team/app", place=tmp_path, tokens=tokens)
        assert here.faults.count() == 2
        assert here.faults.count("GET", MANIFESTS) == 0
    assert (done.code, done.stderr) == (0, [])
    shown = done.out.decode().splitlines()
    for line in (
        f"registry    {here.host}",
        f"realm       http://{here.host}/token",
        "service     demo",
        "scope       repository:team/app:pull",
        "account     robot",
        f"credential  password_env SECRET ({tmp_path}/night.toml:3)",
        "subject     robot",
        "issuer      demo token service",
        "grants      pull on repository team/app",
        f"key         {tokens.key.key_id}",
    ):
        assert line in shown
    # Some seconds may pass before the token is read.
    assert any("(expires in 4 minutes " in line for line in shown)
    assert shown[-1] == "pull on team/app: granted"


async def test_a_token_without_pull_is_exit_1(tmp_path: Path) -> None:
    tokens = _service()
    async with lab(tokens=tokens) as here:
        done = await _token(here, "other/app", place=tmp_path, tokens=tokens)
    assert (done.code, done.stderr) == (1, [])
    assert done.out.decode().splitlines()[-1] == "pull on other/app: NOT granted"


async def test_without_a_credential_the_request_is_anonymous() -> None:
    tokens = _service()
    async with lab(tokens=tokens) as here:
        tokens.clock = time.time
        done = await auditor("token", here.ref("library/app"))
    assert done.code == 0
    assert b"account     anonymous" in done.out


async def test_the_account_of_a_registry_token_is_unknown(tmp_path: Path) -> None:
    tokens = _service()
    tokens.clock = time.time
    token = tokens.issue(ROBOT, ["repository:team/app:pull"])
    path = tmp_path / "auth.json"
    async with lab(tokens=tokens) as here:
        tokens.clock = time.time
        path.write_text(
            orjson.dumps({"auths": {here.host: {"registrytoken": token}}}).decode()
        )
        done = await auditor("token", here.ref("team/app"), "--authfile", str(path))
        assert here.faults.count("GET", "/token") == 0
    assert (done.code, done.stderr) == (0, [])
    shown = done.out.decode()
    assert "account     unknown: a registry token" in shown
    assert f'credential  {path}: auths."{here.host}"' in shown
    assert shown.endswith("pull on team/app: granted\n")
    assert token not in shown


async def test_the_json_of_a_token(tmp_path: Path) -> None:
    tokens = _service()
    async with lab(tokens=tokens) as here:
        done = await _token(
            here, "team/app", "--format=json", place=tmp_path, tokens=tokens
        )
    assert (done.code, done.stderr) == (0, [])
    document = orjson.loads(done.out)
    assert document["pull"] is True
    assert document["access"]["state"] == "granted"
    assert document["access"]["actions"] == ["pull"]
    assert document["account"] == "robot"
    assert document["credential"] == (f"password_env SECRET ({tmp_path}/night.toml:3)")
    assert document["access"]["credential"] == "config"
    assert document["scope"] == "repository:team/app:pull"
    assert document["token"]["payload"]["members"] == tokens.issued[-1]


async def test_raw_prints_only_the_token(tmp_path: Path) -> None:
    tokens = _service()
    async with lab(tokens=tokens) as here:
        done = await _token(here, "team/app", "--raw", place=tmp_path, tokens=tokens)
        assert tokens.allows(done.out.decode().rstrip("\n"), "repository:team/app:pull")
    assert (done.code, done.stderr) == (0, [])


@pytest.mark.parametrize("form", ["public.pem", "certificate.pem", "keys.json"])
@pytest.mark.parametrize(("own", "code"), [(True, 0), (False, 1)])
async def test_keys_verify_the_signature(
    form: str, own: bool, code: int, tmp_path: Path
) -> None:
    tokens = _service()
    key = tokens.key if own else SigningKey.generate()
    content = {
        "public.pem": public_pem(key),
        "certificate.pem": certificate_pem(key),
        "keys.json": jwks(key),
    }[form]
    (tmp_path / form).write_bytes(content)
    async with lab(tokens=tokens) as here:
        done = await _token(
            *(here, "team/app", "--format=json", "--token-keys", str(tmp_path / form)),
            place=tmp_path,
            tokens=tokens,
        )
    assert done.code == code
    document = orjson.loads(done.out)
    assert document["access"]["verified"] is own
    assert document["token"]["verification"]["verified"] is own


async def test_pull_access_of_an_opaque_token_is_unknown(tmp_path: Path) -> None:
    tokens = _service(opaque=True)
    async with lab(tokens=tokens) as here:
        done = await _token(here, "team/app", place=tmp_path, tokens=tokens)
    assert done.code == 1
    assert b"unknown, because the token is opaque" in done.out


async def test_pull_access_with_basic_is_tried(tmp_path: Path) -> None:
    async with lab(simple(["team/app:1"]), access=Basic([ROBOT])) as here:
        done = await _token(here, "team/app", place=tmp_path)
        raw = await _token(here, "team/app", "--raw", place=tmp_path)
        gone = await _token(here, "team/gone", place=tmp_path)
    assert (done.code, raw.code, gone.code) == (0, 1, 1)
    assert b"pull on team/app: granted" in done.out
    assert raw.out == gone.out == b""
    assert "not_found" in gone.messages[0]


async def test_a_public_registry_needs_no_token() -> None:
    async with lab(simple(["team/app:1"])) as here:
        done = await auditor("token", here.ref("team/app"))
    assert done.code == 0
    assert b"needs no token: anyone may pull" in done.out


async def test_a_wrong_password_is_one_message(tmp_path: Path) -> None:
    other = FakeTokenService(accounts=[DemoAccount("robot", "another", {"*": ("*",)})])
    async with lab(tokens=other) as here:
        plain = await _token(here, "team/app", place=tmp_path, tokens=other)
        json = await _token(
            here, "team/app", "--format=json", place=tmp_path, tokens=other
        )
    sentence = (
        f"{here.ref('team/app:latest')}: denied: the token service {here.host}"
        " rejected the login of 'robot' (401); check the credential in password_env"
        f" SECRET ({tmp_path}/night.toml:3)"
    )
    assert (plain.code, json.code) == (1, 1)
    assert plain.out == b""
    explained = "what to do: auditor explain denied"
    assert plain.messages == json.messages == [sentence, explained]
    assert orjson.loads(json.out)["failure"] == "denied"


# -- pasted tokens ------------------------------------------------------------------


@pytest.mark.parametrize("piped", [True, False])
async def test_the_articles_token_is_explained_as_far_as_it_can_be_read(
    piped: bool,
) -> None:
    token = (GOLDEN / "article-token.txt").read_text().strip()
    done = await auditor(
        *("token", "--decode", "-" if piped else token),
        stdin=token.encode() if piped else b"",
    )
    assert (done.code, done.stderr) == (1, [])
    assert done.out.decode() == (GOLDEN / "article-token.explained.txt").read_text()


async def test_a_pasted_response_of_a_token_service_is_read() -> None:
    tokens = _service()
    response = orjson.dumps(
        {"token": tokens.issue(ROBOT, ["repository:team/app:pull"])}
    )
    done = await auditor("token", "--decode", "-", stdin=response)
    assert (done.code, done.stderr) == (0, [])
    assert b"grants      pull on repository team/app" in done.out


async def test_a_pasted_token_is_verified_with_keys(tmp_path: Path) -> None:
    tokens = _service()
    token = tokens.issue(ROBOT, ["repository:team/app:pull"])
    for name, key, code in (
        ("own.pem", tokens.key, 0),
        ("other.pem", SigningKey.generate(), 1),
    ):
        (tmp_path / name).write_bytes(public_pem(key))
        keys = str(tmp_path / name)
        done = await auditor(
            "token", "--decode", token, "--token-keys", keys, "--format=json"
        )
        assert done.code == code
        assert orjson.loads(done.out)["verification"]["verified"] is (code == 0)


@pytest.mark.parametrize(
    "pasted", [b"", b"\xff\xfe\x00", b"a.b.c", b"." * 100, b"A" * 300_000]
)
async def test_any_pasted_text_is_explained(pasted: bytes) -> None:
    done = await auditor(
        *("token", "--decode", "-"),
        stdin=pasted,
        environment={"PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"},
    )
    assert (done.code, done.stderr) == (1, [])
    assert done.out
