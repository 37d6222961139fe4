"""`auditor token` of many repositories: who may pull, and who may do more."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from auditor.cli.main import run
from auditor.cli.pull_access import list_pull_access
from auditor.demo.demo_tokens import DemoAccount
from auditor.demo.signing_key import SigningKey
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
# What a robot account should not be.
ROBOT = DemoAccount(
    "robot",
    "hunter2",
    {"team/app": ("pull",), "team/web": ("pull", "push", "delete"), "catalog": ("*",)},
)
ALL = ("delete", "pull", "push")
PULL = ("pull",)
CATALOG = "/v2/_catalog"


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.lines = [line.split() for line in out.splitlines()[1:]]
        self.text = out
        self.told = [
            line.removeprefix("auditor: ") for line in err.splitlines() if line
        ]

    @property
    def json(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Any:
    """Ask for tokens in this process; the registry's service has the real time."""

    async def ask(
        here: Lab,
        *names: str,
        actions: tuple[str, ...] = PULL,
        allowed: tuple[str, ...] | None = None,
        as_json: bool = False,
        tokens: FakeTokenService | None = None,
        **changes: Any,
    ) -> Said:
        if tokens is not None:
            tokens.clock = time.time
        settings = here.settings(*map(here.ref, names), **changes)
        capsys.readouterr()
        with anyio.fail_after(PATIENCE_S):
            code = await list_pull_access(settings, actions, allowed, as_json)
        return Said(code, *capsys.readouterr())

    return ask


async def test_each_repository_is_asked_about_once_and_in_order(ask: Any) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        said = await ask(here, *NAMES, "team/app:*", tokens=tokens)
        assert here.faults.count("GET", TOKENS) == 3
        assert here.faults.count("*", MANIFESTS) == 0
        assert here.faults.count("GET", TAGS) == 0
    assert said.lines == [
        ["yes", "-", here.ref("team/app")],
        ["yes", "-", here.ref("team/web")],
        ["no", "-", here.ref("other/app")],
    ]
    assert said.told == ["3 repositories: 2 may be pulled from, 1 may not"]
    assert said.code == 1


async def test_all_may_pull_is_0(ask: Any) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        said = await ask(here, "team/app", "team/web", tokens=tokens)
    assert said.code == 0


async def test_what_goes_beyond_pull_is_seen_by_asking_for_it(ask: Any) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        names = ("team/app", "team/web")
        plain = await ask(here, *names, tokens=tokens, actions=ALL)
        fails = await ask(here, *names, tokens=tokens, actions=ALL, allowed=PULL)
        allowed = await ask(here, *names, tokens=tokens, actions=ALL, allowed=ALL)
        asked = [target for target in here.targets(TOKENS) if "push" in target]
        # nothing but tokens: what was granted is not used
        assert here.faults.count() == here.faults.count("GET", TOKENS) + 3
    assert plain.lines == [
        ["yes", "-", here.ref("team/app")],
        ["yes", "delete,", "push", here.ref("team/web")],
    ]
    assert plain.told[1] == (
        "1 grant goes beyond pull: delete (1), push (1); as robot (1)"
    )
    assert (plain.code, fails.code, allowed.code) == (0, 1, 0)
    assert len(asked) == 6


async def test_a_pattern_asks_the_catalog_and_no_list_of_tags(ask: Any) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        said = await ask(here, "**:*", tokens=tokens, exclude_repositories=("other/*",))
        assert here.faults.count("GET", CATALOG) == 1
        assert here.faults.count("GET", TAGS) == 0
    assert [line[-1] for line in said.lines] == [
        here.ref("team/app"), here.ref("team/web"),
    ]  # fmt: skip


async def test_a_catalog_that_is_closed_is_a_line_and_the_others_go_on(
    ask: Any,
) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        here.faults.on("GET", CATALOG, Answer(404), forever=True)
        said = await ask(here, "**:*", "team/app", tokens=tokens)
    assert [line[0] for line in said.lines] == ["failed", "yes"]
    assert said.told == [
        "1 repository: 1 may be pulled from",
        "1 line of the input failed",
        "failed: not_found (1)",
    ]
    assert said.code == 1


async def test_json_lines_have_the_same_keys(ask: Any) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        said = await ask(
            here, "team/web", "no such name", tokens=tokens, actions=ALL, as_json=True
        )
    good, bad = said.json
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


async def test_what_cannot_be_seen_is_no_yes(ask: Any) -> None:
    tokens = service(ROBOT, opaque=True)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        opaque = await ask(here, "team/app", tokens=tokens)
    async with lab(simple(NAMES), access=Basic([ROBOT]), login=ROBOT) as here:
        basic = await ask(here, "team/app")
    async with lab(simple(NAMES)) as here:
        everybody = await ask(here, "team/app")
    assert opaque.lines[0][0] == basic.lines[0][0] == "unseen"
    assert opaque.text.endswith("(the token is opaque)\n")
    assert basic.text.endswith("(Basic has no token)\n")
    assert everybody.lines[0][0] == "yes"
    assert (opaque.code, basic.code, everybody.code) == (1, 1, 0)


async def test_a_service_that_refuses_the_whole_question_is_asked_for_pull(
    ask: Any,
) -> None:
    tokens = service(ROBOT)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        for name in ("team/app", "team/web"):
            scope = {"scope": f"repository:{name}:delete,pull,push"}
            here.faults.on("GET", TOKENS, Answer(401), query=scope, forever=True)
        said = await ask(here, "team/app", "team/web", tokens=tokens, actions=ALL)
    assert [line[0] for line in said.lines] == ["yes", "yes"]
    assert "of 2 the service refuses to tell more than pull" in said.told


async def test_a_wrong_password_is_sent_once(ask: Any) -> None:
    other = service(DemoAccount("robot", "another", {"*": ("*",)}))
    async with lab(simple(NAMES), tokens=other, login=ROBOT) as here:
        said = await ask(
            here, "team/app", "team/web", "other/app", tokens=other, actions=ALL
        )
        assert here.faults.count("GET", TOKENS) == 1
    assert [line[0] for line in said.lines] == ["failed"] * 3
    assert "hunter2" not in said.text


async def test_each_part_of_a_registry_has_its_own_account(ask: Any) -> None:
    second = DemoAccount("second", "hunter3", {"other/*": ("pull", "push")})
    tokens = service(ROBOT, second)
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        login = Login(username="second", password=Secret("hunter3"))
        said = await ask(
            *(here, "team/app", "other/app"),
            tokens=tokens,
            actions=ALL,
            namespaces={f"{here.host}/other": login},
        )
    assert [line[0] for line in said.lines] == ["yes", "yes"]
    assert said.told[1].endswith("push (1); as second (1)")


async def test_a_token_that_no_key_verifies_is_no_yes(ask: Any, tmp_path: Path) -> None:
    tokens = service(ROBOT)
    codes = []
    async with lab(simple(NAMES), tokens=tokens, login=ROBOT) as here:
        for number, key in enumerate((tokens.key, SigningKey.generate())):
            path = tmp_path / f"{number}.pem"
            path.write_bytes(public_pem(key))
            said = await ask(here, "team/app", tokens=tokens, token_keys=str(path))
            codes.append(said.code)
    assert codes == [0, 1]
    assert said.told[-1] == "1 token is verified by none of the keys"


async def test_many_are_asked_about_at_once_and_no_more_than_allowed(ask: Any) -> None:
    tokens = service(DemoAccount("robot", "hunter2", {"*": ("pull",)}))
    names = [f"many/r{number}" for number in range(300)]
    async with lab(tokens=tokens, login=ROBOT) as here:
        gate = Gate()
        # The first one tries the login and is alone.
        here.faults.on("GET", TOKENS, Hold(gate), skip=1, forever=True)
        async with here.when(lambda: here.faults.count("GET", TOKENS) > 4, gate.open):
            said = await ask(
                here, *names, tokens=tokens, requests_at_once=4, window=16, workers=8
            )
        assert here.faults.peak("GET", TOKENS) == 4
        assert here.faults.count("GET", TOKENS) == 300
    assert [line[-1] for line in said.lines] == [here.ref(name) for name in names]


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
    assert done.mistakes[0] == "2 repositories: 2 may be pulled from"


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
def test_mistakes_are_one_sentence(
    arguments: list[str], mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", *arguments]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert mistake in said
