"""The commands against registries that others wrote, with the corpus pushed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from auditor.config import AttachmentMode
from auditor.demo.demo_tokens import DemoAccount
from tests.patience import HANG_S
from tests.real.access_log import wait_until
from tests.real.audits import audit, command, content, login, started
from tests.real.diagnoses import doctor, ls
from tests.real.push import Pusher
from tests.real.stocked_registry import StockedRegistry
from tests.real.token_server import PUSHER

pytestmark = pytest.mark.real


class Commands:
    """`auditor` with the account of a registry, in a folder of its own."""

    def __init__(self, stocked: StockedRegistry, place: Path) -> None:
        self.host = stocked.host
        self.place = place
        self._environment = {}
        config = f'[registry."{stocked.host}"]\n'
        account = stocked.running.account
        if account is not None:
            config += f'username = "{account.name}"\npassword_env = "SECRET"\n'
            self._environment = {"SECRET": account.password}
        (place / "a.toml").write_text(config)

    def run(
        self, name: str, *arguments: str, exit_code: int = 0
    ) -> subprocess.CompletedProcess[bytes]:
        done = command(
            *(name, *arguments), place=self.place, environment=self._environment
        )
        assert done.returncode == exit_code, done.stderr.decode()
        return done

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return started(*arguments, place=self.place, environment=self._environment)

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in (self.place / name).read_bytes().splitlines()
        ]


@pytest.fixture
def commands(stocked: StockedRegistry, tmp_path: Path) -> Commands:
    return Commands(stocked, tmp_path)


def test_the_doctor_finds_nothing_wrong(stocked: StockedRegistry) -> None:
    found = doctor(stocked.host, "corpus/multi:1", stocked.running.settings)
    failed = {name: step for name, step in found.items() if step.state == "failed"}
    assert failed == {}
    assert found["manifest"].details["digest"] == stocked.entry("multi").root["digest"]
    assert found["manifest"].details["head"] is True
    assert found["referrers"].details["api"] is stocked.product.referrers
    if stocked.running.account is PUSHER:
        # Both distributions: the realm is at `localhost`, the registry at 127.0.0.1.
        assert "another host; its address is checked" in found["realm"].message
    listed = found["catalog"].state == "ok"
    assert listed is stocked.product.catalog, found["catalog"]


def test_what_a_token_grants(commands: Commands, stocked: StockedRegistry) -> None:
    """Opaque tokens do not say it: then nobody knows, and the exit code is 1."""
    readable = stocked.product.name != "olareg"
    done = commands.run(
        *("token", "-c", "a.toml", "--format=json"),
        *(f"{stocked.host}/corpus/{name}" for name in ("multi", "plain")),
        exit_code=0 if readable else 1,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    account = stocked.running.account
    assert len(lines) == 2
    for line in lines:
        assert line["pull"] is (True if readable else None)
        assert line["beyond_pull"] == []
        assert line["account"] == (account and account.name)
        assert line["authentication"] == ("bearer" if account else "none")


# distribution 2.8 lists no repository that has no layer.
NOT_LISTED = {"docker-registry-2.8": {"corpus/empty"}}


def test_repositories_and_tags_are_those_of_crane(stocked: StockedRegistry) -> None:
    settings = stocked.running.settings
    for entry in (stocked.entry("tags"), stocked.entry("cosign")):
        tags = ls(stocked.host, entry.repository, settings)
        assert sorted(tags) == sorted(stocked.reader.words("ls", entry.repository))
        assert set(tags) == {*entry.tags, *entry.beside}
    if stocked.product.catalog:
        listed = ls(stocked.host, "", settings)
        assert sorted(listed) == sorted(stocked.reader.words("catalog"))
        assert set(listed) >= listed_repositories(stocked)


def listed_repositories(stocked: StockedRegistry) -> set[str]:
    """The repositories of the corpus that are in the catalog."""
    known = {entry.repository for entry in stocked.entries}
    return known - NOT_LISTED.get(stocked.product.name, set())


def test_every_tag_of_every_repository_is_audited(stocked: StockedRegistry) -> None:
    """Without a catalog, repository after repository."""
    repositories = listed_repositories(stocked)
    patterns = ["*:*"] if stocked.product.catalog else [f"{r}:*" for r in repositories]
    lines = audit(stocked.host, *patterns, registry=stocked.running.settings).lines
    for entry in stocked.entries:
        if entry.repository not in repositories or entry.failure is not None:
            continue
        found = {
            line["tag"]: (line["digest"], line["content"])
            for line in lines
            if line["repository"] == entry.repository
        }
        expected = dict.fromkeys(entry.tags, (entry.root["digest"], entry.content))
        for tag, manifest in entry.beside.items():
            expected[tag] = manifest["digest"], "attachment"
        assert expected.items() <= found.items(), entry.name
        fallbacks = {kind for tag, (_, kind) in found.items() if tag not in expected}
        assert fallbacks <= {"attachment"}, entry.name


def test_a_killed_audit_is_resumed_without_a_difference(
    commands: Commands, stocked: StockedRegistry
) -> None:
    tags = [f"corpus/tags:{tag}" for tag in stocked.entry("tags").tags[1:20]]
    names = [*stocked.names, *tags]
    listed = [f"{stocked.host}/{name}\n" for name in names]
    # The list is a pipe that ends after the kill: some references remain to be done.
    known = listed[: -len(tags)]
    lists = commands.place / "list.txt"
    os.mkfifo(lists)
    arguments = ("audit", "-c", "a.toml", "-f", "list.txt", "-o", "killed.jsonl")
    partial = commands.place / "killed.jsonl.partial"
    with (
        commands.start(*arguments, "--requests-per-second", "80") as process,
        # Opened for both, it does not wait for the reader.
        open(os.open(lists, os.O_RDWR), "w") as pipe,  # noqa: PTH123
    ):
        pipe.writelines(known)
        pipe.flush()
        wait_until(
            lambda: partial.exists() and partial.read_bytes().count(b"\n") > 10,
            "ten records are written",
        )
        process.send_signal(signal.SIGKILL)
        assert process.wait(HANG_S) == -signal.SIGKILL
    lists.unlink()
    lists.write_text("".join(listed))
    assert not (commands.place / "killed.jsonl").exists()
    failures = any(entry.failure for entry in stocked.entries)
    summary = ("--resume", "--summary", "summary.json")
    commands.run(*arguments, *summary, exit_code=int(failures))
    kept = json.loads((commands.place / "summary.json").read_bytes())["resumed"]["kept"]
    assert 10 <= kept <= len(known)
    whole = audit(stocked.host, *names, registry=stocked.running.settings).lines
    resumed = commands.lines("killed.jsonl")
    assert [content(line) for line in resumed] == [content(line) for line in whole]


def test_a_wrong_password_is_said_and_nothing_is_read(
    stocked: StockedRegistry,
) -> None:
    account = stocked.running.account
    if account is None:
        assert not stocked.product.signs_in
        return
    wrong = login(DemoAccount(account.name, "guess"))
    audited = audit(stocked.host, *stocked.names, registry=wrong)
    assert {(line["kind"], line["failure"]) for line in audited.lines} == {
        ("failure", "denied")
    }
    assert all(account.name in line["detail"] for line in audited.lines)
    # olareg answers 403, which may be about one repository: another is asked.
    assert audited.summary.requests["token"] <= 2
    found = doctor(stocked.host, "corpus/multi:1", wrong)
    assert "failed" in {step.state for step in found.values()}


def test_a_moved_tag_is_the_only_difference(
    commands: Commands, stocked: StockedRegistry
) -> None:
    """With a warm cache: what a tag names is asked every time."""
    repository, tag = "corpus/tags", "t077"
    before, after = stocked.entry("tags").root, stocked.entry("sixty").root
    pusher = Pusher(stocked.running, stocked.layout)

    def night(name: str) -> None:
        audited = audit(
            stocked.host,
            f"{repository}:t07*",
            registry=stocked.running.settings,
            cache=str(commands.place / "cache"),
        )
        lines = (json.dumps(line) + "\n" for line in audited.lines)
        (commands.place / name).write_text("".join(lines))

    night("old.jsonl")
    pusher.push(repository, after, tag)
    try:
        night("new.jsonl")
    finally:
        pusher.push(repository, before, tag)
        pusher.close()
    shown = commands.run("diff", "--format", "jsonl", "old.jsonl", "new.jsonl")
    moved, totals = map(json.loads, shown.stdout.splitlines())
    assert (moved["change"], moved["tag"]) == ("moved", tag)
    assert moved["old"]["digest"] == before["digest"]
    assert moved["new"]["digest"] == after["digest"]
    assert moved["architectures_gained"] == ["linux/riscv64"]
    assert moved["architectures_lost"] == ["linux/amd64"]
    assert totals["kind"] == "totals"


@pytest.mark.parametrize("name", ["plain", "sparse", "referred", "docker-list"])
def test_an_image_by_digest_has_the_content_of_its_tag(
    stocked: StockedRegistry, name: str
) -> None:
    entry = stocked.entry(name)
    by_digest = f"{entry.repository}@{entry.root['digest']}"
    first, second = audit(
        stocked.host,
        *(entry.name, by_digest),
        registry=stocked.running.settings,
        attachments=AttachmentMode.ALL,
    ).lines
    assert (second["tag"], second["untagged"]) == (None, None)
    assert {**content(second), "tag": first["tag"], "untagged": False} == {
        **content(first),
        "reference": f"{stocked.host}/{by_digest}",
    }
