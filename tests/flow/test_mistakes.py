"""What users get for common mistakes: tests/golden/mistakes.md, read as a whole.

To write the file anew after a change of a message: UPDATE_GOLDEN=1 pytest THIS_FILE
"""

from __future__ import annotations

import os
import re
import shlex
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest

from auditor.analysis.history import add
from auditor.demo.demo_tokens import DemoAccount
from auditor.report.writer import ReportOptions, open_report
from tests.certificates import Authority
from tests.flow.commands import Finished, auditor
from tests.flow.harness import Lab, lab, service, simple
from tests.records import RECORDS, image
from tests.reports import write_report
from tests.support.registry import Basic

pytestmark = pytest.mark.anyio

GOLDEN = Path(__file__).parents[1] / "golden" / "mistakes.md"
ROBOT = DemoAccount("robot", "right", {"team/app": ("pull",)})
HOST, TLS, LOGIN, TOKENS = "registry:5000", "tls:5443", "login:5001", "tokens:5002"
# Nothing listens on this port, which needs rights to listen on.
NOBODY = "127.0.0.1:1"
MAX_SHOWN_LINES = 12
NOW = "2026-11-24T02:00:00Z"
_PROCESS = f"process {os.getpid()} on {socket.gethostname()}"

# What a name that does not exist is called depends on the machine's resolver.
_NO_ADDRESS = re.compile(
    "Name or service not known|Temporary failure in name resolution"
    "|No address associated with hostname|nodename nor servname provided.*"
)

_NIGHTLY = f"""\
[registry."{LOGIN}"]
username = "robot"
password_env = "REGPW"
"""

# Each section with its mistakes: a sentence, the command line as typed in a shell, and
# environment variables in front of it. The hosts above stand for real ones.
MISTAKES: dict[str, list[tuple[str, str]]] = {
    "The command line": [
        ("a typing error in the command", "auditor adit registry:5000/team/app:1"),
        ("no command", "auditor 'registry:5000/*:*'"),
        ("a typing error in an option",
         "auditor audit --ouput r.jsonl registry:5000/team/app:1"),
        ("no reference", "auditor audit"),
        ("a value out of range", "auditor audit --tries 0 registry:5000/team/app:1"),
        ("a duration in words",
         "auditor audit --since yesterday registry:5000/team/app:1"),
        ("an unknown platform",
         "auditor audit --platform linux/arm46 registry:5000/team/app:1"),
        ("a platform without its system",
         "auditor audit --platform arm64 registry:5000/team/app:1"),
        ("a report as CSV", "auditor audit registry:5000/team/app:1 -o report.csv"),
        ("a message code with a typing error", "auditor explain denyed"),
        ("a format that does not exist", "auditor ls --format yaml registry:5000"),
    ],
    "References and lists": [
        ("a URL", "auditor audit https://registry:5000/team/app:1 -o r.jsonl"),
        ("upper case", "auditor audit registry:5000/Team/App:1 -o r.jsonl"),
        ("a registry alone", "auditor audit registry.example.com -o r.jsonl"),
        ("an empty tag", "auditor audit registry:5000/team/app: -o r.jsonl"),
        ("a space", "auditor audit 'registry:5000/team/app: 1' -o r.jsonl"),
        ("braces in quotes", "auditor audit 'registry:5000/team/app:{1,2}' -o r.jsonl"),
        ("a short digest",
         "auditor inspect registry:5000/team/app@sha256:0123456789ab"),
        ("the shell replaced a pattern with file names",
         "auditor audit list.csv nightly.toml -o r.jsonl"),
        ("a list that does not exist", "auditor audit -f images.txt"),
        ("an empty list", "auditor audit -f empty.txt"),
        ("a folder as list", "auditor audit -f folder"),
        ("an image of which the tag does not exist",
         "auditor audit registry:5000/team/app:9 -o r.jsonl"),
        ("a pattern that no tag matches",
         "auditor audit 'registry:5000/team/app:9.*' -o r.jsonl"),
        ("a namespace in place of a repository", "auditor ls registry:5000/team"),
    ],
    "Connections": [
        ("a host name with a typing error",
         "auditor inspect --tries 1 registry.invalid/team/app:1"),
        ("a port on which nothing listens", f"auditor ls --tries 1 {NOBODY}"),
        ("plain HTTP for a registry with TLS",
         "auditor inspect --tries 1 --plain-http tls:5443/team/app:1"),
        ("TLS for a registry with plain HTTP",
         "auditor inspect --no-plain-http registry:5000/team/app:1"),
        ("a private CA", "auditor inspect --no-plain-http tls:5443/team/app:1"),
        ("a CA file that does not exist",
         "auditor inspect --ca-file ca.pem tls:5443/team/app:1"),
    ],
    "Logins": [
        ("a wrong password",
         "REGPW=wrong auditor inspect -c nightly.toml login:5001/team/app:1"),
        ("a wrong password, examined",
         "REGPW=wrong auditor token -c nightly.toml login:5001/team/app:1"),
        ("a variable that is not set",
         "auditor inspect -c nightly.toml login:5001/team/app:1"),
        ("no login", "auditor inspect login:5001/team/app:1"),
        ("no right to pull",
         "REGPW=right auditor inspect -c tokens.toml tokens:5002/team/other:1"),
        ("a login file that does not exist",
         "auditor inspect --authfile auth.json login:5001/team/app:1"),
        ("no token", "auditor token --decode password"),
    ],
    "Configuration and policy": [
        ("a configuration that does not exist", "auditor audit -c night.toml"),
        ("an unknown key", "auditor audit -c unknown.toml"),
        ("a value of the wrong type", "auditor audit -c type.toml"),
        ("no TOML", "auditor audit -c broken.toml"),
        ("a night without a configuration", "auditor nightly"),
        ("a check without a policy", "auditor check report.jsonl"),
        ("an unknown rule", "auditor check report.jsonl --policy rule.toml"),
        ("a rule with a wrong value", "auditor check report.jsonl --policy age.toml"),
    ],
    "Reports": [
        ("a report that does not exist", "auditor layers reprot.jsonl"),
        ("CSV in place of a report", "auditor query list.csv 'select 1'"),
        ("a summary in place of a report", "auditor layers summary.json"),
        ("a report of another version", "auditor layers future.jsonl"),
        ("a report of another shape", "auditor layers flat.jsonl"),
        ("a report that was cut off", "auditor layers cut.jsonl"),
        ("no report, but a page", "auditor layers page.html"),
        ("one report to compare", "auditor diff report.jsonl"),
        ("the output is the input", "auditor html report.jsonl -o report.jsonl"),
        ("a page in a folder that does not exist",
         "auditor html report.jsonl -o gone/page.html"),
        ("a digest that is too short", "auditor layers report.jsonl --digest 12"),
        ("a table that does not exist",
         "auditor export report.jsonl --to csv -o tables --table image"),
        ("a name without its registry", "auditor history show runs app:1"),
    ],
    "Queries": [
        ("no report", "auditor query 'select * from images'"),
        ("a query without quotes", "auditor query report.jsonl select tag from images"),
        ("a misspelt column", "auditor query report.jsonl 'select digst from images'"),
        ("a column of another table",
         "auditor query report.jsonl 'select created from images'"),
        ("a misspelt table", "auditor query report.jsonl 'select * from image'"),
        ("quotes that the shell removed",
         "auditor query report.jsonl 'select * from images where tag = 'latest''"),
        ("a list compared with a text",
         "auditor query report.jsonl"
         " \"select * from images where architectures = 'linux/arm64'\""),
        ("a query that writes", "auditor query report.jsonl 'drop table images'"),
        ("a question that the report cannot answer",
         "auditor query report.jsonl"
         " \"select count(*) from platforms where created < '2026-01-01'\""),
    ],
    "Files and processes": [
        ("a full disk", "auditor audit registry:5000/team/app:1 -o /dev/full"),
        ("a folder that does not exist",
         "auditor audit registry:5000/team/app:1 -o gone/r.jsonl"),
        ("a program that reads no further",
         "auditor audit registry:5000/team/app:1 | head -n 0"),
        ("two audits write the same report",
         "auditor audit registry:5000/team/app:1 -o busy.jsonl"),
        ("nothing to resume",
         "auditor audit --resume registry:5000/team/app:1 -o new.jsonl"),
    ],
}  # fmt: skip


def prepare(place: Path) -> None:
    """The files that the commands name."""
    report = write_report(place / "report.jsonl", [*RECORDS, image(content="image")])
    files = {
        "list.csv": "repository,tag\nteam/app,1\n",
        "empty.txt": "# nothing\n",
        "nightly.toml": _NIGHTLY,
        "tokens.toml": _NIGHTLY.replace(LOGIN, TOKENS),
        "unknown.toml": 'reference = ["a.io/b:1"]\noutptu = "r.jsonl"\n',
        "type.toml": 'reference = ["a.io/b:1"]\ntries = "five"\n',
        "broken.toml": "reference = [\n",
        "rule.toml": '[rules.all]\nmax_agee = "90 days"\n',
        "age.toml": '[rules.all]\nmax_age = "3 months"\n',
        "summary.json": '{"schema": 1, "kind": "summary"}\n',
        "future.jsonl": '{"schema": 2, "kind": "image", "reference": "a.io/b:1"}\n',
        "flat.jsonl": '{"schema": 1, "kind": "layer", "reference": "a.io/b:1"}\n',
        "cut.jsonl": Path(report).read_text(encoding="utf-8")[:-40],
        "page.html": "<!doctype html>\n<title>Report</title>\n",
    }
    for name, text in files.items():
        (place / name).write_text(text, encoding="utf-8")
    (place / "folder").mkdir()
    add(place / "runs", [report])


def shown(done: Finished) -> Iterator[str]:
    """What is printed, without results that go on and on."""
    printed = [*done.out.decode().splitlines(), *done.stderr]
    yield from printed[:MAX_SHOWN_LINES]
    if len(printed) > MAX_SHOWN_LINES:
        yield "..."


@contextmanager
def stdout_of(reader: Sequence[str]) -> Iterator[int]:
    """Standard output of a command: a pipe without a reader if it had one."""
    if not reader:
        yield PIPE
        return
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        yield write_end
    finally:
        os.close(write_end)


class Shell:
    """Runs command lines in which names stand for the hosts of the test."""

    def __init__(self, place: Path, hosts: Mapping[str, str]) -> None:
        self._place = place
        self._hosts = hosts
        for file in place.glob("*.toml"):
            text = file.read_text(encoding="utf-8")
            file.write_text(self._real(text), encoding="utf-8")

    def _real(self, text: str) -> str:
        for name, host in self._hosts.items():
            text = text.replace(name, host)
        return text

    async def run(self, line: str) -> str:
        """The exit code and what is printed, with the names of the hosts."""
        line, *reader = line.split(" | ")
        words = shlex.split(self._real(line))
        count = words.index("auditor")
        environment = dict(word.split("=", 1) for word in words[:count])
        with stdout_of(reader) as stdout:
            done = await auditor(
                *words[count + 1 :],
                place=self._place,
                environment=environment,
                stdout=stdout,
            )
        typed = " | ".join([line, *reader])
        text = "\n".join(["$ " + typed, *shown(done), f"[exit code {done.code}]"])
        for name, host in self._hosts.items():
            text = text.replace(host, name)
        text = text.replace(f"{self._place}/", "")
        text = re.sub(r" in [0-9.]+ s( \([0-9.]+/s\))?", " in 0.1 s", text)
        text = _NO_ADDRESS.sub("Name or service not known", text)
        return text.replace(_PROCESS, "process 4711 on build.example.com")


async def test_common_mistakes_print_what_the_golden_file_has(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    prepare(tmp_path)
    authority = Authority(tmp_path_factory.mktemp("ca"))
    content = simple(["team/app:1", "team/other:1"])
    tokens = service(ROBOT)
    sections = ["# Common mistakes, and what auditor prints"]
    async with AsyncExitStack() as stack:

        async def opened(**more: object) -> Lab:
            return await stack.enter_async_context(lab(content, **more))  # type: ignore[arg-type]

        hosts = {
            HOST: (await opened()).host,
            TLS: (await opened(tls=authority.server("127.0.0.1"))).host,
            LOGIN: (await opened(access=Basic([ROBOT]))).host,
            TOKENS: (await opened(tokens=tokens)).host,
        }
        shell = Shell(tmp_path, hosts)
        busy = ReportOptions(output=str(tmp_path / "busy.jsonl"))
        async with open_report(busy, now=NOW, notify=pytest.fail):
            for title, mistakes in MISTAKES.items():
                sections.append(f"## {title}")
                for what, line in mistakes:
                    printed = await shell.run(line)
                    sections.append(f"{what}:\n\n```\n{printed}\n```")
    text = "\n\n".join(sections) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_the_golden_file_has_fifty_mistakes_and_no_bug() -> None:
    text = GOLDEN.read_text(encoding="utf-8")
    codes = re.findall(r"^\[exit code (\d+)\]$", text, re.MULTILINE)
    assert len(codes) == sum(map(len, MISTAKES.values())) >= 50
    assert set(codes) <= {"0", "1", "2", "3", "5"}
    assert "Traceback" not in text
