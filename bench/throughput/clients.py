"""The programs that read the registry, and their commands."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditor.oci.descriptor import ACCEPT_MANIFESTS
from bench.throughput import programs
from bench.throughput.measured import Measured, measure
from bench.throughput.servers import USER, Server
from bench.throughput.workload import Workload

# Requests under way at once, of everybody.
SLOTS = 32
# Tags that the programs get which do one reference a process.
SAMPLE = 400
REPLAY = Path(__file__).parent / "replay.lua"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A row of the table; `run` reads the workload once and measures it."""

    name: str
    run: Callable[[], Measured]
    sample: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One registry, one workload, and a folder for the files of the clients."""

    server: Server
    workload: Workload
    place: Path

    def names(self, count: int | None = None) -> Path:
        """The file with all references, or with the first `count`."""
        file = self.place / f"names-{count or 'all'}"
        names = self.workload.names
        step = 1 if count is None else max(1, len(names) // count)
        file.write_text(
            "".join(f"{self.server.host}/{name}\n" for name in names[::step][:count])
        )
        return file


def clients(setting: Setting) -> list[Client]:
    """The installed clients; prints how to install each other one."""
    found = [
        *_limit(setting),
        *_auditor(setting),
        *_puller(setting),
    ]
    if setting.server.tokens is None:
        found += _one_by_one(setting)
    return found


def _missing(program: programs.Program) -> None:
    print(f"missing: {program.name} ({program.get})")


def _limit(setting: Setting) -> list[Client]:
    wrk = programs.WRK.path()
    if wrk is None:
        _missing(programs.WRK)
        return []
    requests = setting.place / "requests"
    tokens = setting.server.tokens
    authorizations: dict[str, str] = {}
    if tokens is not None:
        for one in setting.workload.images:
            scope = f"repository:{one.repository}:pull"
            token = tokens.issue(USER, [scope])
            authorizations[one.repository] = f" Bearer {token}"

    def line(path: str) -> str:
        repository = path.removeprefix("/v2/").partition("/manifests/")[0]
        return f"{path}{authorizations.get(repository, '')}\n"

    requests.write_text("".join(map(line, setting.workload.paths)))

    def run() -> Measured:
        with tempfile.TemporaryFile() as wall:
            return measure(
                [
                    *(wrk, "-t1", f"-c{SLOTS}", "-d120s", "-s", str(REPLAY)),
                    f"http://{setting.server.host}",
                ],
                setting.server,
                environment={
                    "BENCH_REQUESTS": str(requests),
                    "BENCH_ACCEPT": ACCEPT_MANIFESTS,
                },
                wall=wall,
            )

    return [Client(name="limit: wrk, the same URLs", run=run)]


def _auditor(setting: Setting) -> list[Client]:
    config = setting.place / "auditor.toml"
    setting.server.configure(config, SLOTS)
    store = setting.place / "store"
    # As after an installation: the sources are compiled once, not at each start.
    compiled = {
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(setting.place / "compiled"),
    }
    environment = {"BENCH_PASSWORD": USER.password, **compiled}

    def audit(*more: str, names: int | None = None) -> Measured:
        return measure(
            [
                *(sys.executable, "-m", "auditor", "audit", "--config", str(config)),
                *("-f", str(setting.names(names))),
                *("--output", str(setting.place / "report.jsonl"), *more),
            ],
            setting.server,
            environment=environment,
        )

    def cold() -> Measured:
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir()
        return audit("--cache", str(store / "digests"))

    audit("--no-cache", names=1)  # compiles
    return [
        Client(name="auditor, no store", run=lambda: audit("--no-cache")),
        Client(name="auditor, cold store", run=cold),
        Client(
            name="auditor, warm store",
            run=lambda: audit("--cache", str(store / "digests")),
        ),
    ]


def _puller(setting: Setting) -> list[Client]:
    program = programs.build_puller()
    if program is None:
        _missing(programs.GO)
        return []
    environment = {}
    if setting.server.tokens is not None:
        environment = {"USERNAME": USER.name, "PASSWORD": USER.password}
    return [
        Client(
            name=f"Go, Puller, {SLOTS} jobs",
            run=lambda: measure(
                [program, "-jobs", str(SLOTS)],
                setting.server,
                stdin=setting.names(),
                environment=environment,
            ),
        )
    ]


def _one_by_one(setting: Setting) -> list[Client]:
    """Programs that read one reference per process, on a sample of the tags."""
    found = []
    for program, label, arguments in (
        (
            programs.SKOPEO,
            "skopeo inspect --raw",
            ["inspect", "--raw", "--tls-verify=false", "docker://NAME"],
        ),
        (programs.CRANE, "crane manifest", ["manifest", "--insecure", "NAME"]),
        (
            programs.REGCTL,
            "regctl manifest get",
            ["manifest", "get", "--format", "raw-body", "NAME"],
        ),
    ):
        path = program.path()
        if path is None:
            _missing(program)
            continue
        command = ["xargs", "-P16", "-I", "NAME", path, *arguments]
        found.append(
            Client(
                name=f"{label}, xargs -P16",
                sample=True,
                run=lambda command=command: measure(  # type: ignore[misc]
                    command,
                    setting.server,
                    stdin=setting.names(SAMPLE),
                    environment=_regctl_environment(setting),
                ),
            )
        )
    return found


def _regctl_environment(setting: Setting) -> dict[str, str]:
    """The environment of regctl, with plain HTTP for the host."""
    config = setting.place / "regctl.json"
    host = setting.server.host
    told = {"hosts": {host: {"tls": "disabled", "hostname": host}}}
    config.write_text(json.dumps(told))
    return {"REGCTL_CONFIG": str(config)}
