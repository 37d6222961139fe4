"""`auditor token` for many repositories: pull access, and what is granted beyond."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from auditor.cli.main import run
from auditor.cli.pull_access import list_pull_access
from auditor.demo.demo_tokens import DemoAccount, SigningKey
from auditor.util.secret import Secret
from auditor.wire.credential import Login
from tests.flow.commands import auditor
from tests.flow.harness import (
    MANIFESTS,
    PATIENCE_S,
    TAGS,
    TOKENS,
    Lab,
    lab,
    service,
    simple,
)
from tests.support.fault_actions import Answer, Gate, Hold
from tests.support.registry import Basic
from tests.support.token_service import FakeTokenService, public_pem

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1", "team/app:2", "team/web:1", "other/app:1"]
# An account with more rights than an audit needs.
ROBOT = DemoAccount(
    "robot",
    "hunter2",
    {"team/app": ("pull",), "team/web": ("pull", "push", "delete"), "catalog": ("*",)},
)
ALL = ("delete", "pull", "push")
PULL = ("pull",)
CATALOG = "/v2/_catalog"


class TokenOutput:
    """The lines of standard output without the header, and those of standard error."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.lines = [line.split() for line in out.splitlines()[1:]]
        self.text = out
        self.messages = [
            line.removeprefix("auditor: ") for line in err.splitlines() if line
        ]

    @property
    def json(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run `auditor token` in this process, with the real time."""

    async def ask(
        here: Lab,
        *names: str,
        actions: tuple[str, ...] = PULL,
        allowed: tuple[str, ...] | None = None,
        as_json: bool = False,
        tokens: FakeTokenService | None = None,
        **changes: Any,
    ) -> TokenOutput:
        if tokens is not None:
            tokens.clock = time.time
        settings = here.settings(*map(here.ref, names), **changes)
        capsys.readouterr()
        with anyio.fail_after(PATIENCE_S):
            code = await list_pull_access(settings, actions, allowed, as_json)
        return TokenOutput(code, *capsys.readouterr())

    return ask


async def test_each_repository_is_checked_once_and_in_order(ask: Any) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        output = await ask(here, *NAMES, "team/app:*", tokens=tokens)
        assert here.faults.count("GET", TOKENS) == 3
        assert here.faults.count("*", MANIFESTS) == 0
        assert here.faults.count("GET", TAGS) == 0
    assert output.lines == [
        ["yes", "-", here.ref("team/app")],
        ["yes", "-", here.ref("team/web")],
        ["no", "-", here.ref("other/app")],
    ]
    assert output.messages == ["3 repositories: pull granted 2, not granted 1"]
    assert output.code == 1


async def test_pull_access_to_all_repositories_is_exit_0(ask: Any) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        output = await ask(here, "team/app", "team/web", tokens=tokens)
    assert output.code == 0


async def test_requesting_more_actions_shows_what_is_granted_beyond_pull(
    ask: Any,
) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        names = ("team/app", "team/web")
        plain = await ask(here, *names, tokens=tokens, actions=ALL)
        fails = await ask(here, *names, tokens=tokens, actions=ALL, allowed=PULL)
        allowed = await ask(here, *names, tokens=tokens, actions=ALL, allowed=ALL)
        asked = [target for target in here.targets(TOKENS) if "push" in target]
        # The granted actions are not performed.
        assert here.faults.count() == here.faults.count("GET", TOKENS) + 3
    assert plain.lines == [
        ["yes", "-", here.ref("team/app")],
        ["yes", "delete,", "push", here.ref("team/web")],
    ]
    assert plain.messages[1] == (
        "more than pull granted: delete (1), push (1); accounts: robot (1)"
    )
    assert (plain.code, fails.code, allowed.code) == (0, 1, 0)
    assert len(asked) == 6


async def test_a_pattern_reads_the_catalog_and_no_tags(ask: Any) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        output = await ask(
            here, "**:*", tokens=tokens, exclude_repositories=("other/*",)
        )
        assert here.faults.count("GET", CATALOG) == 1
        assert here.faults.count("GET", TAGS) == 0
    assert [line[-1] for line in output.lines] == [
        here.ref("team/app"), here.ref("team/web"),
    ]  # fmt: skip


async def test_a_failed_catalog_is_one_line_and_the_others_continue(
    ask: Any,
) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        here.faults.on("GET", CATALOG, Answer(404), forever=True)
        output = await ask(here, "**:*", "team/app", tokens=tokens)
    assert [line[0] for line in output.lines] == ["failed", "yes"]
    assert output.messages == [
        "1 repository: pull granted 1",
        "1 line of the input failed",
        "failed: not_found (1)",
        "what to do: auditor explain not_found",
    ]
    assert output.code == 1


async def test_all_json_lines_have_the_same_keys(ask: Any) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        output = await ask(
            here, "team/web", "no such name", tokens=tokens, actions=ALL, as_json=True
        )
    good, bad = output.json
    assert list(good) == list(bad)
    assert good == {
        "registry": here.host,
        "repository": "team/web",
        "text": here.ref("team/web"),
        "pull": True,
        "state": "granted",
        "actions": ["delete", "pull", "push"],
        "beyond_pull": ["delete", "push"],
        "asked": ["delete", "pull", "push"],
        "more_refused": False,
        "authentication": "bearer",
        "account": "robot",
        "credential": f'configuration: [registry."{here.host}"]',
        "verified": False,
        "failure": None,
        "status": None,
        "detail": None,
    }
    assert bad["state"] == "failed"
    assert bad["failure"] == "invalid_reference"


async def test_unknown_pull_access_is_not_yes(ask: Any) -> None:
    tokens = service(ROBOT, opaque=True)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        opaque = await ask(here, "team/app", tokens=tokens)
    async with lab(simple(NAMES), access=Basic([ROBOT]), login=ROBOT) as here:
        basic = await ask(here, "team/app")
    async with lab(simple(NAMES)) as here:
        public = await ask(here, "team/app")
    assert opaque.lines[0][0] == "unknown"
    assert opaque.text.endswith("(the token is opaque)\n")
    assert basic.lines[0][0] == public.lines[0][0] == "yes"
    assert (opaque.code, basic.code, public.code) == (1, 0, 0)


async def test_if_the_service_refuses_all_actions_only_pull_is_requested(
    ask: Any,
) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        for name in ("team/app", "team/web"):
            scope = {"scope": f"repository:{name}:delete,pull,push"}
            here.faults.on("GET", TOKENS, Answer(401), query=scope, forever=True)
        output = await ask(here, "team/app", "team/web", tokens=tokens, actions=ALL)
    assert [line[0] for line in output.lines] == ["yes", "yes"]
    assert (
        "more than pull refused by the token service: 2 repositories" in output.messages
    )


async def test_a_wrong_password_is_sent_once(ask: Any) -> None:
    other = service(DemoAccount("robot", "another", {"*": ("*",)}))
    async with lab(simple(NAMES), tokens=other, login=ROBOT) as here:
        output = await ask(
            here, "team/app", "team/web", "other/app", tokens=other, actions=ALL
        )
        assert here.faults.count("GET", TOKENS) == 1
    assert [line[0] for line in output.lines] == ["failed"] * 3
    assert "hunter2" not in output.text


async def test_each_namespace_has_its_own_account(ask: Any) -> None:
    second = DemoAccount("second", "hunter3", {"other/*": ("pull", "push")})
    tokens = service(ROBOT, second)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        login = Login(username="second", password=Secret("hunter3"))
        output = await ask(
            *(here, "team/app", "other/app"),
            tokens=tokens,
            actions=ALL,
            namespaces={f"{here.host}/other": login},
        )
    assert [line[0] for line in output.lines] == ["yes", "yes"]
    assert output.messages[1].endswith("push (1); accounts: second (1)")


async def test_a_token_that_no_key_verifies_is_exit_1(ask: Any, tmp_path: Path) -> None:
    tokens = service(ROBOT)
    codes = []
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        for number, key in enumerate((tokens.key, SigningKey.generate())):
            path = tmp_path / f"{number}.pem"
            path.write_bytes(public_pem(key))
            output = await ask(here, "team/app", tokens=tokens, token_keys=str(path))
            codes.append(output.code)
    assert codes == [0, 1]
    assert output.messages[-1] == "1 token not verified by any key of --token-keys"


async def test_tokens_are_requested_concurrently_up_to_the_limit(ask: Any) -> None:
    tokens = service(DemoAccount("robot", "hunter2", {"*": ("pull",)}))
    names = [f"many/r{number}" for number in range(300)]
    async with lab(tokens=tokens, login=ROBOT) as here:
        gate = Gate()
        # The first request tries the login alone.
        here.faults.on("GET", TOKENS, Hold(gate), skip=1, forever=True)
        async with here.when(lambda: here.faults.count("GET", TOKENS) > 4, gate.open):
            output = await ask(
                here, *names, tokens=tokens, requests_at_once=4, window=16, workers=8
            )
        assert here.faults.peak("GET", TOKENS) == 4
        assert here.faults.count("GET", TOKENS) == 300
    assert [line[-1] for line in output.lines] == [here.ref(name) for name in names]


async def test_a_list_is_read_from_standard_input(tmp_path: Path) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        tokens.clock = time.time
        config = tmp_path / "a.toml"
        config.write_text(
            f'[registry."{here.host}"]\nusername = "robot"\npassword_env = "SECRET"\n'
        )
        done = await auditor(
            *("token", "-c", str(config), "-f", "-", "--fail-beyond", "pull"),
            stdin="\n".join(map(here.ref, NAMES[:3])).encode(),
            environment={"SECRET": ROBOT.password},
        )
    assert done.code == 1
    assert done.out.decode().splitlines() == [
        "PULL      BEYOND            REPOSITORY",
        f"yes       -                 {here.ref('team/app')}",
        f"yes       delete, push      {here.ref('team/web')}",
    ]
    assert done.messages[0] == "2 repositories: pull granted 2"


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (["--actions", "pull push", "a.test/b"], "is not a list of actions"),
        (["--fail-beyond", "", "a.test/b"], "is not a list of actions"),
        (["--raw", "a.test/b", "a.test/c"], "--raw prints the token of one REFERENCE"),
        (["--raw", "a.test/*:*"], "--raw prints the token of one REFERENCE"),
        ([], "give either a REFERENCE or --decode TOKEN"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_a_usage_error(
    arguments: list[str], mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", *arguments]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert mistake in message
