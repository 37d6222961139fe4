"""`auditor inspect`"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import click

from auditor.cli.click_options import settings_from, settings_options
from auditor.cli.main import say
from auditor.config import ImageConfigMode, OptionGroup, Settings
from auditor.errors import ExitCode, UsageError
from auditor.util.text import safe_text

# A tree is as wide as its lines: a digest cut at the terminal's edge is no digest.
TREE_CHARS = 300


@click.command("inspect")
@click.argument("reference", metavar="REFERENCE")
@click.option("--json", "as_json", is_flag=True, help="Print the record of the report.")
@click.option("--raw", is_flag=True, help="Print the manifest's exact bytes.")
@settings_options(OptionGroup.IMAGE, OptionGroup.CREDENTIALS, OptionGroup.NETWORK)
def command(*, reference: str, as_json: bool, raw: bool, **flags: Any) -> int:
    """Show one image: its platforms, layers and configuration as a tree."""
    if as_json and raw:
        raise UsageError("--json and --raw exclude each other")
    settings = settings_from(flags)
    from auditor.cli.run_async import run_async

    return run_async(_inspect, settings, reference, as_json, raw)


async def _inspect(settings: Settings, text: str, as_json: bool, raw: bool) -> int:
    from auditor.audit.image import ImageAuditor
    from auditor.audit.image_metadata import ImageOptions
    from auditor.cache.digest_cache import open_cache
    from auditor.cli.click_options import reference_argument
    from auditor.model import FailureRecord
    from auditor.registry.registries import open_registries
    from auditor.util.clock import SystemClock

    reference = reference_argument(text)
    clock = SystemClock()
    async with (
        open_registries(settings, clock=clock) as registries,
        # A person who looks at one image wants to see what is there now.
        open_cache(replace(settings, no_cache=True), now=clock.epoch) as cache,
    ):
        # A person looks at everything that one image says.
        wanted = replace(ImageOptions.of(settings), image_config=ImageConfigMode.ALWAYS)
        images = ImageAuditor(
            registries, wanted=wanted, clock=clock, cache=cache, recheck_s=0
        )
        if raw:
            return await _raw(images, reference)
        record = await images.audit(reference)
        if as_json:
            import orjson

            click.echo(orjson.dumps(record).decode())
        elif isinstance(record, FailureRecord):
            say(f"{safe_text(record.reference)}: {record.failure}: {record.detail}")
        else:
            configs = await images.configs_of(record)
            from rich.console import Console

            from auditor.cli.image_tree import image_tree

            console = Console(width=TREE_CHARS)
            # rich ends the program itself when nobody reads what it writes.
            with console.capture() as shown:
                console.print(image_tree(record, configs))
            click.echo(shown.get(), nl=False)
    return ExitCode.FAILED if isinstance(record, FailureRecord) else ExitCode.OK


async def _raw(images: Any, reference: Any) -> int:
    from auditor.errors import Failure

    found = await images.raw_manifest(reference)
    if isinstance(found, Failure):
        say(f"{safe_text(str(reference))}: {found.kind}: {found.detail}")
        return ExitCode.FAILED
    sys.stdout.buffer.write(found)
    sys.stdout.buffer.flush()
    return ExitCode.OK
