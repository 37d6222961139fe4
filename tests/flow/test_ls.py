"""`auditor ls`: names as they are read, and whether the listings are complete."""

from __future__ import annotations

import json
import os
from typing import Any

import anyio
import pytest

from auditor.diagnose.ls import ListLine, RepositoryName, list_target, parse_list_target
from auditor.input.input_items import ExpansionCounts, ReferenceEntry, RejectedEntry
from auditor.input.tag_filter import Selection
from auditor.registry.registries import open_registries
from auditor.report.listing_stats import ListState
from tests.flow.commands import auditor, finish, running
from tests.flow.harness import MANIFESTS, PATIENCE_S, TAGS, Lab, lab, simple
from tests.support.fault_actions import Answer, Gate, Hold, Pass

pytestmark = pytest.mark.anyio

CATALOG = "/v2/_catalog"
NAMES = [
    "app:1.0", "app:1.1", "app:2.0", "team/a:1.0", "team/a:2.0", "team/b/c:1.0",
]  # fmt: skip


class ListedLines:
    """The listed names; `put` returns false after `most` of them."""

    def __init__(self, most: int = 1000) -> None:
        self.lines: list[str] = []
        self._most = most

    def put(self, line: ListLine) -> bool:
        match line:
            case RepositoryName():
                self.lines.append(line.repository)
            case ReferenceEntry():
                self.lines.append(f"{line.reference.repository}:{line.reference.tag}")
            case RejectedEntry():
                self.lines.append(f"! {line.failure.kind}")
        return len(self.lines) < self._most


async def ls(
    here: Lab, name: str, *, rules: Selection | None = None, **changes: Any
) -> tuple[list[str], ExpansionCounts]:
    lines = ListedLines(changes.pop("most", 1000))
    selection = rules or Selection()
    async with open_registries(
        here.settings(**changes), clock=here.clock
    ) as registries:
        with anyio.fail_after(PATIENCE_S):
            seen = await list_target(
                parse_list_target((name and here.ref(name)) or here.host),
                registries=registries,
                selection=selection,
                put=lines.put,
            )
    return lines.lines, seen


@pytest.mark.parametrize(
    ("name", "rules", "expected"),
    [
        ("", None, ["app", "team/a", "team/b/c"]),
        ("*", None, ["app", "team/a", "team/b/c"]),
        ("team/*", None, ["team/a"]),
        ("", Selection(exclude_repositories=("team/**",)), ["app"]),
        ("app", None, ["app:1.0", "app:1.1", "app:2.0"]),
        ("app:1.*", None, ["app:1.0", "app:1.1"]),
        ("app:1.1", None, ["app:1.1"]),
        ("app", Selection(latest=2), ["app:2.0", "app:1.1"]),
        ("team/**:1.0", None, ["team/a:1.0", "team/b/c:1.0"]),
        ("**", Selection(latest=1), ["app", "team/a", "team/b/c"]),
    ],
)
async def test_repositories_and_tags_are_listed(
    name: str, rules: Selection | None, expected: list[str]
) -> None:
    async with lab(simple(NAMES)) as here:
        lines, seen = await ls(here, name, rules=rules, page_size=2)
        assert not here.targets(MANIFESTS)
    assert lines == expected
    assert seen.listings.states() == {ListState.COMPLETE}


async def test_a_denied_and_an_empty_catalog() -> None:
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", CATALOG, Answer(403), Answer(body=b'{"repositories":[]}'))
        lines, seen = await ls(here, "")
        assert lines == ["! denied"]
        assert seen.listings.states() == {ListState.DENIED}
        lines, seen = await ls(here, "")
    assert lines == ["! not_found"]
    assert seen.listings.states() == {ListState.EMPTY}


@pytest.mark.parametrize("name", ["", "app"])
async def test_no_more_pages_are_requested_when_put_returns_false(name: str) -> None:
    async with lab(simple(NAMES)) as here:
        lines, _ = await ls(here, name, page_size=1, most=1)
        assert len(lines) == 1
        assert here.faults.count("GET", "/v2/*") <= 4


async def test_names_are_on_stdout_and_the_totals_on_stderr() -> None:
    async with lab(simple(NAMES)) as here:
        done = await auditor("ls", here.host)
        assert (done.code, done.out) == (0, b"app\nteam/a\nteam/b/c\n")
        assert done.messages == [
            "3 repositories; listing of repositories, 1 page: complete"
        ]
        here.faults.on("GET", "/v2/team/a/tags/list", Answer(403))
        done = await auditor("ls", here.ref("**:1.0"), "--full-ref")
    assert done.code == 1
    assert done.out.decode().split() == [here.ref("app:1.0"), here.ref("team/b/c:1.0")]
    denied, explain, told = done.messages
    assert explain == "what to do: auditor explain denied"
    assert denied.startswith(f"{here.ref('team/a:1.0')}: denied: the registry denied")
    assert told == (
        "2 tags; listing of repositories, 1 page: complete;"
        " 3 listings of tags, 2 pages: 2 complete, 1 denied"
    )


async def test_json_lines_have_the_fields_of_the_listing() -> None:
    async with lab(simple(NAMES)) as here:
        done = await auditor("ls", "--format=json", here.ref("app:1.0"))
    (line,) = [json.loads(line) for line in done.out.splitlines()]
    assert line == {
        "registry": here.host,
        "repository": "app",
        "tag": "1.0",
        "reference": here.ref("app:1.0"),
        "digest": None,
        "media_type": None,
        "size": None,
        "created": None,
        "pushed": None,
        "pulled": None,
    }
    assert done.code == 0


async def test_a_closed_standard_output_is_not_an_error() -> None:
    gate = Gate()
    reader, writer = os.pipe()
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", TAGS, Pass(), Hold(gate), forever=True)
        arguments = ("ls", here.ref("app"), "--page-size", "1")
        async with running(*arguments, stdout=writer) as process:
            os.close(writer)
            await anyio.wait_readable(reader)
            assert os.read(reader, 100) == b"1.0\n"  # before the next page
            os.close(reader)
            gate.open()
            done = await finish(process)
    assert (done.code, done.stderr) == (0, [])


async def test_a_namespace_that_is_no_repository_is_named_with_what_is_below() -> None:
    async with lab(simple(["team/a:1", "team/b/c:1", "other:1"])) as here:
        done = await auditor("ls", here.ref("team"))
        gone = await auditor("ls", here.ref("tea"))
    assert (done.code, done.out) == (gone.code, gone.out) == (1, b"")
    path = f"{here.host}/team"
    assert done.messages[1] == (
        f"{path} is no repository, but a namespace with team/a, team/b/c; list it with:"
        f" auditor ls '{path}/**'"
    )
    assert not any("namespace" in line for line in gone.messages)
