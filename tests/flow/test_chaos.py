"""A thousand references, a registry that fails at random, runs killed at random.

In the end each reference has exactly one record; with temporary faults it equals the
record of an uninterrupted run. `make thorough` chooses a seed, which is printed on
failure: `CHAOS_SEED=...` repeats the same faults and kills (what a kill interrupts
depends on the machine).
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import anyio
import pytest
from anyio.abc import Process

from auditor.config import ImageConfigMode
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import image, index
from tests.examples import thorough
from tests.flow.commands import auditor, finish, running
from tests.flow.harness import ADMIN, Lab, lab, service
from tests.flow.reporting import files_next_to, lines_of, report_to
from tests.patience import HANG_S
from tests.support.fault_mix import HOSTILE, TRANSIENT, Mix, Weighted
from tests.support.faults import Faults

pytestmark = pytest.mark.anyio

REPOSITORIES = 20
TAGS = 50
MALFORMED = ("Team/App", "a b", "x@sha256:0")
# More attempts than the mix has faults in a row.
OPTIONS = ("--tries", "4", "--image-config", "always")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """What goes wrong: faults with weights and a rate, and a number of kills.

    `lasting`: some faults are permanent, with a digest cache that survives them.
    """

    faults: Sequence[Weighted]
    rate: float
    kills: int
    options: tuple[str, ...] = ()
    at_most_in_a_row: int | None = 2
    lasting: bool = False

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SECRET": ADMIN.password,
            "AUDITOR_NO_CACHE": "" if self.lasting else "1",
        }


def _name(number: int) -> str:
    return f"team{number % 7}/app{number}"


def _content() -> DemoContent:
    """Images that share children and configs, some in several repositories."""
    children = [image("app", platform=one) for one in ("linux/amd64", "linux/arm64")]
    content = DemoContent()
    for number in range(REPOSITORIES):
        name = _name(number)
        for tag in range(TAGS):
            root = (
                index(children, annotations={"of": f"{tag % 10}"})
                if tag % 5 == 0
                else image(f"{number}-{tag % 20}")
            )
            content.add(name, root, f"{tag}")
    return content


def _lines(here: Lab, chance: random.Random) -> list[str]:
    """Patterns for every third repository, each tag by name for the others."""
    lines = [*MALFORMED, here.ref("team0/none:1")]
    for number in range(REPOSITORIES):
        name = _name(number)
        if number % 3 == 0:
            lines.append(here.ref(f"{name}:*"))
        else:
            lines += (here.ref(f"{name}:{tag}") for tag in range(TAGS))
    chance.shuffle(lines)
    return lines


def _kill(process: Process, chance: random.Random) -> None:
    """Kill a run; with worker processes, one of them, their parent, or all."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pids: list[int] = []
    with suppress(OSError):  # it has just ended
        pids += map(int, children.read_text().split())
    doomed = [[process.pid], [process.pid, *pids]]
    if pids:
        doomed.append([chance.choice(pids)])
    for pid in chance.choice(doomed):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _arguments(place: Path, chaos: Chaos, output: str) -> list[str]:
    listed = str(place / "list.txt")
    arguments = ["audit", "-c", "night.toml", "-f", listed, "-o", output, "--resume"]
    return [*arguments, *OPTIONS, *chaos.options]


async def _killed_and_resumed(
    here: Lab, place: Path, chaos: Chaos, chance: random.Random
) -> int:
    """The exit code of the last run, after runs that were killed."""
    arguments = _arguments(place, chaos, "out.zst")
    log = here.faults.log
    for _ in range(chaos.kills):
        async with running(
            *arguments, place=place, environment=chaos.environment, stderr=DEVNULL
        ) as process:
            # Between the first request and some hundred later.
            enough = len(log) + chance.choice([0, 1, 30, 200, 400, 600])
            with anyio.move_on_after(HANG_S):
                # Poll for its requests, or its end.
                while process.returncode is None and len(log) < enough:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
                await anyio.sleep(chance.random() / 10)
            if process.returncode is None:
                _kill(process, chance)
            code = await process.wait()
        if code != -signal.SIGKILL:
            assert code == 1  # because of malformed lines; it was not killed
            break
    async with running(
        *arguments, place=place, environment=chaos.environment
    ) as process:
        return (await finish(process)).code


def _seed() -> int:
    """The same in each run, so that a change fails by its own fault."""
    if "CHAOS_SEED" in os.environ:
        return int(os.environ["CHAOS_SEED"])
    return random.SystemRandom().randrange(2**32) if thorough() else 1


async def _run(place: Path, chaos: Chaos) -> None:
    seed = _seed()
    print(f"CHAOS_SEED={seed}")  # noqa: T201  (shown where the test fails)
    chance = random.Random(f"{seed} {chaos}")
    faults = Faults(Mix(seed=seed, rate=0.0, faults=chaos.faults))
    assert faults.mix is not None
    faults.mix.at_most_in_a_row = chaos.at_most_in_a_row
    async with lab(_content(), tokens=service(), faults=faults) as here:
        lines = _lines(here, chance)
        (place / "list.txt").write_text("\n".join(lines))
        (place / "night.toml").write_text(
            f'[registry."{here.host}"]\nusername = "admin"\npassword_env = "SECRET"\n'
        )
        whole, output = place / "whole", place / "out.zst"
        lists = (str(place / "list.txt"),)
        await report_to(here, whole, image_config=ImageConfigMode.ALWAYS, lists=lists)
        faults.mix.rate = chaos.rate
        assert await _killed_and_resumed(here, place, chaos, chance) == 1
        if chaos.lasting:
            # A run without faults is not affected by earlier ones.
            faults.mix.rate = 0.0
            night = _arguments(place, chaos, "again")
            done = await auditor(*night, place=place, environment=chaos.environment)
            assert done.code == 1
            assert lines_of(place / "again") == lines_of(whole)
    expected, found = lines_of(whole), lines_of(output)
    assert len(expected) == REPOSITORIES * TAGS + len(MALFORMED) + 1
    if chaos.lasting:
        _assert_each_once(expected, found)
    else:
        assert _without_attempts(found) == _without_attempts(expected)
    assert files_next_to(output) == {}


def _assert_each_once(
    expected: list[dict[str, Any]], found: list[dict[str, Any]]
) -> None:
    """Every reference has one record, except for tags whose listing failed: that is
    one failure of the pattern."""
    counts = Counter(line["reference"] for line in found)
    cut = {line["repository"] for line in found if line["reference"].endswith(":*")}
    assert set(counts.values()) == {1}
    missing = [line for line in expected if not counts[line["reference"]]]
    assert [line for line in missing if line["repository"] not in cut] == []
    known = {line["reference"] for line in expected}
    assert all(one in known or one.endswith(":*") for one in counts)


def _without_attempts(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines without the number of attempts, which differs between runs."""
    return [
        {key: value for key, value in line.items() if key != "attempts"}
        for line in lines
    ]


async def test_temporary_faults_and_kills_give_the_uninterrupted_report(
    tmp_path: Path,
) -> None:
    await _run(tmp_path, Chaos(faults=TRANSIENT, rate=0.05, kills=5))


async def test_killed_worker_processes_give_the_uninterrupted_report(
    tmp_path: Path,
) -> None:
    options = ("--processes", "2")
    await _run(tmp_path, Chaos(faults=TRANSIENT, rate=0.03, kills=4, options=options))


async def test_wrong_responses_and_kills_give_one_record_per_reference(
    tmp_path: Path,
) -> None:
    await _run(
        tmp_path,
        Chaos(
            options=("--cache", "store"),
            faults=(*TRANSIENT, *HOSTILE),
            rate=0.05,
            kills=3,
            at_most_in_a_row=None,
            lasting=True,
        ),
    )
