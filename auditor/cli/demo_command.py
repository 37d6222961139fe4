"""`auditor demo`"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from auditor.cli.command_support import run_async
from auditor.config import RegistrySettings, Settings
from auditor.errors import ExitCode, UsageError
from auditor.util.secret import Secret
from auditor.util.text import format_count

if TYPE_CHECKING:
    from auditor.demo.image_builder import PlacedImage

DEFAULT_PORT = 5050
ARTICLE = "admin/java-hello-world:latest"


@click.command("demo")
@click.option(
    "-o",
    "--output",
    default="demo-report.jsonl",
    metavar="FILE",
    help="Where the demo's report goes. [default: demo-report.jsonl]",
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
def command(*, output: str, serve: bool, port: int | None) -> int:
    """Run a local registry with a token service and audit it.

    The registry holds a slice of the Docker Official Images (real names, tags and
    platforms; made-up layers) and one image of every other kind. It listens on the
    loopback interface only, and nothing else is contacted.
    """
    if port is None:
        port = DEFAULT_PORT if serve else 0
    settings = Settings(output=output)
    return run_async(_serve if serve else _demo, settings, port)


@asynccontextmanager
async def _serving(images: Iterable[PlacedImage], port: int) -> AsyncIterator[str]:
    """Serve the demo's registry on a port; yield its base URL."""
    from auditor.demo.demo import demo_app
    from auditor.demo.demo_registry import serve

    async with AsyncExitStack() as stack:
        try:
            server = serve(demo_app(images), port=port)
            url = await stack.enter_async_context(server)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UsageError(
                f"port {port} cannot be used: {reason}; choose another with --port"
            ) from None
        yield url


async def _demo(settings: Settings, port: int) -> int:
    from auditor.cli.audit_command import audit
    from auditor.demo.demo import ADMIN, ADMIN_PASSWORD, demo_images

    images = demo_images()
    repositories = sorted({image.repository for image in images})
    async with _serving(images, port) as url:
        host = url.removeprefix("http://")
        click.echo(
            f"A registry with a token service runs on {host} with"
            f" {format_count(len(repositories), 'repository', 'repositories')}.\n"
            f"Auditing every tag of them as {ADMIN!r}:\n",
            err=settings.output == "-",  # then standard output is for the report
        )
        code = await audit(
            Settings(
                references=tuple(f"{host}/{name}:*" for name in repositories),
                output=settings.output,
                docker_config=False,
                no_cache=True,
                registries={
                    host: RegistrySettings(
                        username=ADMIN,
                        password=Secret(ADMIN_PASSWORD),
                        requests_at_once=16,
                    )
                },
            )
        )
    if code == ExitCode.OK:
        _print_next_steps(settings.output)
    return code


def _program() -> str:
    """The command to type: `make demo` uses an environment that is not on the PATH."""
    return "auditor" if shutil.which("auditor") else sys.argv[0]


def _print_next_steps(output: str) -> None:
    from auditor.demo.demo import ADMIN_PASSWORD

    if output == "-":
        return
    with Path(output).open(encoding="utf-8") as lines:
        article_line = next((line for line in lines if f"/{ARTICLE}" in line), "")
    click.echo(f"\nThe report is in {output}: one JSON object a line. The line")
    click.echo(f"of {ARTICLE}, a signed schema 1 image, begins:\n")
    click.echo(f"  {article_line[:300].rstrip()}...\n")
    auditor = _program()
    click.echo("Try next:")
    for line in (
        f"head -n 1 {output} | python3 -m json.tool   one record, readable",
        f"{auditor} schema                 the fields of a line",
        f"{auditor} demo --serve           keeps it running; in another terminal:",
        f"  {auditor} inspect 127.0.0.1:{DEFAULT_PORT}/library/alpine:latest",
        f"  {auditor} token 127.0.0.1:{DEFAULT_PORT}/library/alpine",
        f"  {auditor} token 127.0.0.1:{DEFAULT_PORT}/admin/java-hello-world",
        f"  DEMO_PASSWORD={ADMIN_PASSWORD} {auditor} audit -c configs/demo.toml",
    ):
        click.echo(f"  {line}")


async def _serve(settings: Settings, port: int) -> int:
    import anyio

    from auditor.demo.demo import ADMIN, ADMIN_PASSWORD, demo_images

    del settings
    auditor = _program()
    images = demo_images()
    async with _serving(images, port) as url:
        host = url.removeprefix("http://")
        click.echo(
            f"A registry with a token service runs on {host} until Ctrl-C.\n"
            f"Anyone may pull library/*; {ADMIN!r} with the password"
            f" {ADMIN_PASSWORD!r} may do everything. The article's steps work:\n\n"
            f'  curl -u {ADMIN}:{ADMIN_PASSWORD} "{url}/auth/v2/token/'
            f'?service={host}&scope=repository:admin/java-hello-world:pull"\n'
            f"  {auditor} token {host}/library/alpine\n"
            f"  {auditor} inspect {host}/library/alpine:latest\n"
            f"  {auditor} audit '{host}/library/alpine:*'"
        )
        await anyio.sleep_forever()
    return ExitCode.OK
