"""`auditor inspect`"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import click

from auditor.cli.command_support import (
    invalid_argument,
    json_option,
    run_async,
    settings_from,
    settings_options,
)
from auditor.cli.main import print_message
from auditor.cli.output import json_text
from auditor.config import ImageConfigMode, OptionGroup, Settings
from auditor.errors import ExitCode, UsageError
from auditor.oci.reference import parse_reference
from auditor.util.text import safe_text

# Wider than every line: a digest must not be cut at the edge of the terminal.
TREE_WIDTH = 300


@click.command("inspect")
@click.argument("reference", metavar="REFERENCE")
@json_option
@click.option("--raw", is_flag=True, help="Print the manifest's exact bytes.")
@settings_options(OptionGroup.IMAGE, OptionGroup.CREDENTIALS, OptionGroup.NETWORK)
def command(*, reference: str, as_json: bool, raw: bool, **flags: Any) -> int:
    """Show one image: its platforms, layers and configuration as a tree.

    json is the record as in a report.
    """
    if as_json and raw:
        raise UsageError("--format json and --raw exclude each other")
    settings = settings_from(flags)
    return run_async(_inspect, settings, reference, as_json, raw)


async def _inspect(settings: Settings, text: str, as_json: bool, raw: bool) -> int:
    from auditor.audit.image import ImageAuditor
    from auditor.audit.image_metadata import ImageOptions
    from auditor.cache.digest_cache import open_cache
    from auditor.model import FailureRecord
    from auditor.registry.registries import open_registries
    from auditor.util.clock import SystemClock

    with invalid_argument():
        reference = parse_reference(text)
    clock = SystemClock()
    async with (
        open_registries(settings, clock=clock) as registries,
        # Show the image as it is now.
        open_cache(replace(settings, no_cache=True), now=clock.epoch) as cache,
    ):
        options = replace(
            ImageOptions.of(settings), image_config=ImageConfigMode.ALWAYS
        )
        images = ImageAuditor(
            registries, options=options, clock=clock, cache=cache, recheck_s=0
        )
        if raw:
            return await _raw(images, reference)
        record = await images.audit(reference)
        if as_json:
            click.echo(json_text(record))
        elif isinstance(record, FailureRecord):
            print_message(
                f"{safe_text(record.reference)}: {record.failure}: {record.detail}"
            )
        else:
            configs = await images.configs_of(record)
            from rich.console import Console

            from auditor.cli.image_tree import image_tree

            console = Console(width=TREE_WIDTH)
            # rich ends the program itself when the reader of stdout is gone.
            with console.capture() as shown:
                console.print(image_tree(record, configs))
            click.echo(shown.get(), nl=False)
    return ExitCode.FAILED if isinstance(record, FailureRecord) else ExitCode.OK


async def _raw(images: Any, reference: Any) -> int:
    from auditor.errors import Failure

    manifest = await images.raw_manifest(reference)
    if isinstance(manifest, Failure):
        name = safe_text(str(reference))
        print_message(f"{name}: {manifest.kind}: {manifest.detail}")
        return ExitCode.FAILED
    sys.stdout.buffer.write(manifest)
    sys.stdout.buffer.flush()
    return ExitCode.OK
