"""`auditor nightly` as cron runs it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import orjson
import pytest

from auditor.nightly.night_folder import open_night_folder, read_nights
from auditor.nightly.night_text import status_lines
from tests.flow.commands import PROGRAM, auditor, running
from tests.flow.harness import Lab, lab, simple
from tests.flow.nights import files_in, read_report
from tests.support.fault_actions import Answer, Hold
from tests.support.sbom_images import sbom_images

pytestmark = pytest.mark.anyio

CONFIG = """
reference = ["{host}/team/app:*"]
docker_config = false
[registry."{host}"]
plain_http = true
{more}
[nightly]
folder = "state"
"""
# The page is half of a small night, and of no interest to most tests.
NO_PAGE = "page = false\n"


def _config(here: Lab, folder: Path, more: str = "", nightly: str = "") -> str:
    file = folder / "night.toml"
    file.write_text(CONFIG.format(host=here.host, more=more) + nightly)
    return str(file)


async def test_a_good_night_of_cron_prints_nothing_and_status_shows_it(
    tmp_path: Path,
) -> None:
    # As cron: a shell, hardly any environment, no home folder, no terminal.
    command = shlex.join((sys.executable, "-W", "error", "-m", "auditor"))
    program = (
        *("/usr/bin/env", "-i", f"PYTHONPATH={Path(__file__).parents[2]}"),
        *("PATH=/usr/bin:/bin", "sh", "-c", f'{command} "$@"', "sh"),
    )
    async with lab(simple(["team/app:1", "team/app:2"])) as here:
        config = _config(here, tmp_path)
        for _ in range(2):
            done = await auditor("nightly", "-c", config, program=program)
            assert (done.code, done.out, done.stderr) == (0, b"", [])
    status = await auditor("nightly", "status", "-c", config, "--format", "json")
    assert [(line["audited"], line["changes"]) for line in status.lines] == [
        (2, None),
        (2, {}),
    ]
    table = (await auditor("nightly", "-c", config, "status")).out.decode()
    assert "complete" in table
    assert "reports/" in table


async def test_a_good_night_of_processes_prints_nothing_but_warnings(
    tmp_path: Path,
) -> None:
    async with lab(simple(["team/app:1", "team/app:2"])) as here:
        config = _config(here, tmp_path, nightly='run_after = ["false"]\n')
        Path(config).write_text(f"processes = 2\n{Path(config).read_text()}")
        done = await auditor("nightly", "-c", config)
    assert (done.code, done.stderr) == (0, [])
    assert done.out == b"warning: run_after: false ended with exit code 1\n"


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_night_without_an_sbom_says_so(processes: int, tmp_path: Path) -> None:
    images = sbom_images()
    top = f"processes = {processes}\nsbom = 's.jsonl'\nmetrics = 'm.prom'\n"
    lost = images.referred.root.digest
    async with lab(images.content) as here:
        config = Path(_config(here, tmp_path, nightly=NO_PAGE))
        config.write_text(top + config.read_text())
        done = await auditor("nightly", "-c", str(config), place=tmp_path)
        assert (done.code, done.out) == (0, b"")
        assert (
            'auditor_sboms{audit="m",state="read"} 6'
            in (tmp_path / "m.prom").read_text()
        )
        text = (tmp_path / "state" / "latest.md").read_text()
        assert "- SBOMs: 6 SBOMs, 7 packages\n" in text
        (attachment,) = here.content.repository("team/app").referrers(lost)
        (document,) = orjson.loads(attachment.raw)["layers"]
        path = f"/v2/team/app/blobs/{document['digest']}"
        here.faults.on("GET", path, Answer(404), forever=True)
        done = await auditor("nightly", "-c", str(config), place=tmp_path)
    assert done.code == 1
    assert "1 SBOM could not be fetched" in done.out.decode().splitlines()[0]
    night = read_nights(str(tmp_path / "state"))[-1]
    assert night.sboms is not None
    assert (night.exit_code, night.sboms["failed"]) == (1, 1)
    assert (
        'auditor_sboms{audit="m",state="failed"} 1' in (tmp_path / "m.prom").read_text()
    )


async def test_status_and_prune_need_no_login(tmp_path: Path) -> None:
    logins = (
        'username = "audit"\npassword_env = "NO_SUCH_VARIABLE"\n'
        '[registry."b.example.com"]\nusername = "b"\npassword_file = "none"'
    )
    async with lab() as here:
        config = _config(here, tmp_path, logins, nightly="keep = { daily = 1 }\n")
    (tmp_path / "state").mkdir()
    for arguments in (("status",), ("prune", "--dry-run")):
        done = await auditor("nightly", *arguments, "-c", config)
        assert (done.code, done.stderr) == (0, [])
    assert (await auditor("nightly", "-c", config)).code == 2


@pytest.mark.parametrize(
    ("wrong", "code", "sentence"),
    [
        ("policy", 2, "none.toml: cannot be read"),
        ("key", 2, "tries: must be a whole number"),
        ("password", 2, "NO_SUCH_VARIABLE is not set"),
        ("folder", 3, "state: cannot be written"),
        ("list", 2, "none.txt"),
    ],
)
async def test_a_night_that_cannot_begin_is_announced(
    wrong: str, code: int, sentence: str, tmp_path: Path
) -> None:
    """Whoever is told of a night is told of its error, and status shows it."""
    password = 'username = "audit"\npassword_env = "NO_SUCH_VARIABLE"'
    top = {"key": 'tries = "many"', "list": 'list = ["none.txt"]'}.get(wrong, "")
    out, metrics = tmp_path / "night.json", tmp_path / "night.prom"
    state = tmp_path / "state"
    async with lab() as here:
        for method in ("POST", "PUT"):
            here.faults.on(method, "/told/*", Answer(200), forever=True)
        nightly = (
            f'ping_url = "http://{here.host}/told/ping"\n'
            f'push_url = "http://{here.host}/told/push"\n'
            f'run_after = ["sh", "-c", "cat > {out}"]\n'
            'notify = { urls_env = "URLS", on = "failure" }\n'
        )
        nightly += 'policy = "none.toml"\n' if wrong == "policy" else ""
        more = password if wrong == "password" else ""
        config = _config(here, tmp_path, more, nightly)
        Path(config).write_text(
            f'metrics = "night.prom"\n{top}\n{Path(config).read_text()}'
        )
        if wrong == "folder":
            state.write_text("a file")
        else:
            state.mkdir()
        done = await auditor(
            *("nightly", "-c", config),
            environment={"URLS": f"json://{here.host}/told/notify"},
        )
        told = here.faults
        assert told.count("POST", "/told/ping/fail") == 1
        assert told.count("PUT", "/told/push/metrics/job/auditor-night") == 1
        assert told.count("POST", "/told/notify") == 1
    assert done.code == code
    assert sentence in " ".join(done.messages)
    assert sentence in orjson.loads(out.read_bytes())["remark"]
    assert f'auditor_night_exit_code{{audit="night"}} {code}.0' in metrics.read_text()
    if wrong == "folder":
        return
    (night,) = read_nights(str(state))
    assert (night.complete, night.exit_code) == (False, code)
    assert sentence in "\n".join(status_lines([night], str(state)))


async def test_what_failed_is_printed_and_the_exit_code_is_1(tmp_path: Path) -> None:
    async with lab(simple(["team/app:1"])) as here:
        config = _config(here, tmp_path)
        Path(config).write_text(
            Path(config).read_text().replace("team/app:*", "team/app:gone")
        )
        done = await auditor("nightly", "-c", config)
    assert done.code == 1
    assert done.stderr == []
    lines = done.out.decode().splitlines()
    assert "no image could be audited (1 failed)" in lines[0]
    assert lines[1].startswith(f"1 not_found: {here.host}/team/app:gone: ")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_an_ended_night_is_continued(
    number: signal.Signals, tmp_path: Path
) -> None:
    async with lab(simple(f"team/app:{n}" for n in range(4))) as here:
        config = _config(here, tmp_path, nightly=NO_PAGE)
        here.faults.on("GET", "/v2/team/app/manifests/3", Hold())
        async with running("nightly", "-c", config) as process:
            await here.faults.until(
                lambda: here.faults.count("GET", "/v2/team/app/manifests/3") == 1
            )
            process.send_signal(number)
            code = await process.wait()
        assert code in {-number, 128 + number}
        done = await auditor("nightly", "-c", config)
    assert (done.code, done.out, done.stderr) == (0, b"", [])
    latest = tmp_path / "state" / "latest.jsonl.zst"
    assert len(read_report(latest)) == 4
    assert not [name for name in files_in(tmp_path / "state") if "tonight" in name]


@pytest.mark.parametrize(
    ("more", "nightly", "sentence"),
    [
        ("output = 'x.jsonl'", "", "only valid at the top"),
        ("", "kep = {}", "nightly.kep: unknown key; did you mean keep?"),
    ],
    ids=["output", "key"],
)
async def test_a_wrong_configuration_is_exit_2_and_starts_no_night(
    more: str, nightly: str, sentence: str, tmp_path: Path
) -> None:
    async with lab() as here:
        config = _config(here, tmp_path, more, nightly)
        done = await auditor("nightly", "-c", config)
        assert not here.faults.log
    assert done.code == 2
    assert sentence in " ".join(done.messages)
    assert not files_in(tmp_path / "state")


async def test_without_its_table_the_command_says_what_to_add(tmp_path: Path) -> None:
    file = tmp_path / "audit.toml"
    file.write_text('reference = ["registry.example.com/app"]\n')
    done = await auditor("nightly", "-c", str(file))
    assert done.code == 2
    assert "with a table [nightly]" in done.messages[0]


async def test_prune_says_what_it_would_remove(tmp_path: Path) -> None:
    async with lab(simple(["team/app:1"])) as here:
        config = _config(here, tmp_path, nightly=NO_PAGE)
        for _ in range(2):
            await auditor("nightly", "-c", config)
    file = Path(config)
    file.write_text(file.read_text() + "keep = { last = 1 }\n")
    before = files_in(tmp_path / "state")
    (tmp_path / "state" / "lock").unlink()
    dry = await auditor("nightly", "prune", "-c", config, "--dry-run")
    assert dry.out.decode().startswith("would remove 20")
    assert files_in(tmp_path / "state") == before
    assert not (tmp_path / "state" / "lock").exists()  # for those who may only read
    done = await auditor("nightly", "prune", "-c", config)
    assert done.out.decode() == dry.out.decode().replace("would remove", "removed")
    status = await auditor("nightly", "status", "-c", config, "--format", "json")
    (night,) = (orjson.loads(line) for line in status.out.splitlines())
    assert night["number"] == 2


@pytest.mark.parametrize("scheduler", ["systemd", "cron", "kubernetes"])
async def test_install_prints_files_for_this_configuration(
    scheduler: str, tmp_path: Path
) -> None:
    async with lab() as here:
        more = 'username = "audit"\npassword_env = "NIGHT_PASSWORD"'
        config = _config(here, tmp_path, more)
    before = files_in(tmp_path)
    done = await auditor("nightly", "install", scheduler, "-c", config)
    assert (done.code, done.stderr) == (0, [])
    text = done.out.decode()
    assert "NIGHT_PASSWORD" in text
    assert Path(config).name in text
    assert "# Enable it:" in text
    assert "__main__.py" not in text  # these tests start it by `python -m auditor`
    assert files_in(tmp_path) == before


async def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    async with lab() as here:
        config = _config(here, tmp_path)
        done = await auditor("nightly", "-c", config)
    assert done.code == 3
    (message,) = done.messages
    assert message.startswith(f"{tmp_path / 'state'}: cannot be written: ")


@pytest.mark.parametrize(
    ("unreadable", "sentence"),
    [
        ("state", "state: cannot be read: Permission denied"),
        ("state/nights", "state/nights: cannot be read: Permission denied"),
        ("gone/state", "gone/state: cannot be read: Permission denied"),
    ],
)
async def test_a_folder_that_may_not_be_read_is_no_folder_without_nights(
    unreadable: str, sentence: str, tmp_path: Path
) -> None:
    config = tmp_path / "night.toml"
    state = "gone/state" if unreadable.startswith("gone") else "state"
    config.write_text(
        f'reference = ["registry.example.com/app"]\n[nightly]\nfolder = "{state}"\n'
    )
    (tmp_path / "state" / "nights").mkdir(parents=True)
    (tmp_path / "gone" / "state").mkdir(parents=True)
    folder = tmp_path / unreadable.replace("gone/state", "gone")
    folder.chmod(0)
    program: tuple[str, ...] = PROGRAM
    if os.geteuid() == 0:  # root may read everything, but not without this right
        rights = "-dac_override,-dac_read_search"
        program = ("setpriv", f"--bounding-set={rights}", *PROGRAM)
    done = await auditor("nightly", "status", "-c", str(config), program=program)
    folder.chmod(0o700)
    assert done.code == 2
    assert done.messages == [f"{tmp_path}/{sentence}"]


async def test_a_run_after_that_kills_auditor_leaves_the_night_to_the_next_start(
    tmp_path: Path,
) -> None:
    async with lab(simple(["team/app:1", "team/app:2"])) as here:
        nightly = f'{NO_PAGE}run_after = ["sh", "-c", "kill -9 $PPID"]\n'
        config = _config(here, tmp_path, nightly=nightly)
        killed = await auditor("nightly", "-c", config)
        assert killed.code == -signal.SIGKILL
        requests = len(here.faults.log)
        text = Path(config).read_text()
        Path(config).write_text(text[: text.index("run_after")])
        done = await auditor("nightly", "-c", config)
        assert len(here.faults.log) > requests
    assert (done.code, done.out, done.stderr) == (0, b"", [])
    nights = read_nights(str(tmp_path / "state"))
    assert [night.complete for night in nights] == [True, True]
    assert not [name for name in files_in(tmp_path / "state") if "tonight" in name]


async def test_a_second_night_at_the_same_time_ends_with_5(tmp_path: Path) -> None:
    async with lab(simple(["team/app:1"])) as here:
        config = _config(
            here, tmp_path, nightly=f'ping_url = "http://{here.host}/ping"\n'
        )
        with open_night_folder(str(tmp_path / "state")):
            done = await auditor("nightly", "-c", config)
        assert not here.faults.log  # also no ping: the other one pings at its end
    assert done.code == 5
    assert "another auditor nightly works in this folder" in done.messages[0]
