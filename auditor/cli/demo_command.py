"""`auditor demo`"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from auditor.cli.command_support import run_async
from auditor.cli.help_text import help_command
from auditor.config import (
    NightlySettings,
    RegistrySettings,
    Settings,
)
from auditor.errors import ExitCode, UsageError
from auditor.util.secret import Secret
from auditor.util.text import format_count

if TYPE_CHECKING:
    from auditor.demo.demo_registry import DemoContent

DEFAULT_PORT = 5050
_QUERY = "SELECT repository, count(*) AS images FROM images GROUP BY ALL ORDER BY 2"
# What a demo leaves in its folder.
_FILES = {"nights", "policy.toml", "digests.sqlite"}


@help_command("demo")
@click.option(
    "--folder",
    default="auditor-demo",
    metavar="FOLDER",
    show_default=True,
    help="Where the reports and the page go.",
)
@click.option(
    "--serve", is_flag=True, help="Keep the registry running, without an audit."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=None,
    metavar="N",
    help=f"The port to serve on. [default: {DEFAULT_PORT} with --serve, else any]",
)
def command(*, folder: str, serve: bool, port: int | None) -> int:
    """Run a local registry, and audit it for two nights.

    The registry holds a slice of the Docker Official Images (real names, tags and
    platforms; made-up layers) and one image of every other kind. It listens on the
    loopback interface only, and nothing else is contacted.
    """
    if port is None:
        port = DEFAULT_PORT if serve else 0
    if serve:
        return run_async(_serve, Settings(), port)
    return run_async(_demo, Settings(quiet=True), port, Path(folder))


@asynccontextmanager
async def _serving(content: DemoContent, port: int) -> AsyncIterator[str]:
    """Serve the demo's registry on a port; yield its base URL."""
    from auditor.demo.demo_images import demo_app
    from auditor.demo.demo_registry import serve

    async with AsyncExitStack() as stack:
        try:
            server = serve(demo_app(content), port=port)
            url = await stack.enter_async_context(server)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UsageError(
                f"port {port} cannot be used: {reason}; choose another with --port"
            ) from None
        yield url


async def _demo(settings: Settings, port: int, folder: Path) -> int:
    import anyio.to_thread

    from auditor.demo.demo_images import (
        ADMIN,
        ADMIN_PASSWORD,
        POLICY,
        change_content,
        demo_images,
    )
    from auditor.demo.demo_registry import DemoContent
    from auditor.nightly.night_folder import write_bytes

    content = DemoContent.of(demo_images())
    nights = _prepare(folder)
    async with _serving(content, port) as url:
        host = url.removeprefix("http://")
        repositories = sorted(content.repositories)
        policy = folder / "policy.toml"
        write_bytes(policy, POLICY.format(host=host).encode())
        nightly = NightlySettings(folder=str(nights), policy=str(policy))
        settings = replace(
            settings,
            references=tuple(f"{host}/{name}:*" for name in repositories),
            docker_config=False,
            cache=str(folder / "digests.sqlite"),
            registries={
                host: RegistrySettings(
                    username=ADMIN,
                    password=Secret(ADMIN_PASSWORD),
                )
            },
        )
        click.echo(
            f"A registry with a token service runs on {host} with"
            f" {format_count(len(repositories), 'repository', 'repositories')}."
        )
        code = await _night(settings, nightly, "The first night")
        if code is ExitCode.OK:
            click.echo("\nDuring the day:")
            for sentence in change_content(content):
                click.echo(f"  {sentence}")
            code = await _night(settings, nightly, "\nThe second night")
    if code not in {ExitCode.OK, ExitCode.FAILED}:
        return code
    await anyio.to_thread.run_sync(_print_changes, nightly)
    _print_next_steps(folder)
    return ExitCode.OK


def _prepare(folder: Path) -> Path:
    """Make the folder without the nights of an earlier demo; return the nights' folder.

    Raises `UsageError` if the folder contains anything else.
    """
    from auditor.nightly.night_folder import writing

    nights = folder / "nights"
    if folder.exists() and {one.name for one in folder.iterdir()} - _FILES:
        raise UsageError(
            f"{folder}: contains other files than those of a demo; choose another"
            " --folder"
        )
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(nights, ignore_errors=True)
    return nights


async def _night(settings: Settings, nightly: NightlySettings, title: str) -> ExitCode:
    """One night, as `auditor nightly` does it; prints what it found."""
    import anyio.to_thread

    from auditor.cli.audit_command import audit
    from auditor.nightly.night_folder import open_night_folder
    from auditor.nightly.night_run import NightRun
    from auditor.nightly.notifications import Announcer
    from auditor.util.clock import SystemClock

    now = SystemClock().epoch
    announcer = Announcer(nightly, metrics=None, environment={}, now=now)
    with open_night_folder(nightly.folder) as folder:
        run = NightRun(folder, nightly, audit=settings, announcer=announcer, now=now)
        night = run.begin()
        code = await audit(replace(settings, **run.audit_options()))
        summary = folder.read_summary()
        if summary is None:
            return ExitCode(code)
        requests = sum(summary["requests"].values())
        click.echo(
            f"{title}: {summary['references']['audited']} images audited in"
            f" {summary['duration_s']:.1f} s with {requests} requests."
        )
        # In a thread: DuckDB would hold up the registry.
        result = await anyio.to_thread.run_sync(run.finish, night, summary)
    return result.exit_code


def _print_changes(nightly: NightlySettings) -> None:
    """Print what changed between the nights, and what breaks the policy."""
    from datetime import UTC, datetime

    from auditor.analysis.check.evaluate import check_reports
    from auditor.analysis.check.formats import output_formats
    from auditor.analysis.check.policy_file import load_policy
    from auditor.analysis.diff import compare
    from auditor.analysis.diff_text import diff_lines
    from auditor.nightly.night_folder import read_nights

    old, new = (
        str(Path(nightly.folder, night.report or ""))
        for night in read_nights(nightly.folder)
    )
    with compare([old], [new]) as comparison:
        for line in diff_lines(comparison, "text", 5):
            click.echo(line)
    assert nightly.policy is not None
    policy = load_policy(nightly.policy)
    today = datetime.now(UTC).date()
    with check_reports([new], policy, today=today, earlier=[old]) as findings:
        click.echo()
        for piece in output_formats(5)["table"](findings):
            click.echo(piece, nl=False)


def _program() -> str:
    """The command to type: `make demo` uses an environment that is not on the PATH."""
    if shutil.which("auditor"):
        return "auditor"
    program = Path(sys.argv[0])
    if program.name == "__main__.py":  # as `python -m auditor`
        return f"{shlex.quote(sys.executable)} -m auditor"
    return shlex.quote(str(program))


def _print_next_steps(folder: Path) -> None:
    auditor, latest = _program(), folder / "nights" / "latest"
    click.echo(f"\nThe page of the second night: {Path(f'{latest}.html').absolute()}\n")
    click.echo("Try next:")
    for line in (
        f"{auditor} query {latest}.jsonl.zst '{_QUERY}'",
        f"{auditor} layers {latest}.jsonl.zst",
        f"{auditor} demo --serve   # keeps the registry running",
    ):
        click.echo(f"  {line}")


async def _serve(settings: Settings, port: int) -> int:
    import anyio

    from auditor.demo.demo_images import ADMIN, ADMIN_PASSWORD, demo_images
    from auditor.demo.demo_registry import DemoContent

    del settings
    auditor = _program()
    async with _serving(DemoContent.of(demo_images()), port) as url:
        host = url.removeprefix("http://")
        click.echo(
            f"A registry with a token service runs on {host} until Ctrl-C.\n"
            f"Anyone may pull library/*;\n{ADMIN!r} with the password"
            f" {ADMIN_PASSWORD!r} may do everything. Try:\n\n"
            f"  {auditor} audit '{host}/library/alpine:*'\n"
            f"  {auditor} inspect {host}/library/alpine:latest\n"
            f"  {auditor} token {host}/library/alpine\n"
            f'  curl -u {ADMIN}:{ADMIN_PASSWORD} "{url}/auth/v2/token/'
            f'?service={host}&scope=repository:admin/java-hello-world:pull"'
        )
        await anyio.sleep_forever()
    return ExitCode.OK
