"""`auditor doctor`"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.options import settings_from, settings_options
from auditor.cli.output import print_line
from auditor.config import Group, Settings
from auditor.errors import ExitCode, ProtocolError, UsageError

if TYPE_CHECKING:
    from auditor.oci.reference import Reference


@click.command("doctor")
@click.argument("target", metavar="HOST|[HOST/]REPOSITORY[:TAG]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options(Group.CREDENTIALS, Group.NETWORK)
def command(*, target: str, as_json: bool, **flags: Any) -> int:
    """Tell step by step what works at a registry, and what to try where it does not.

    The name, TCP, TLS and its certificate, the ping, how the registry wants to be
    asked, where the credential stands, token and grant, manifest, lists, and what is
    left of an allowance: the way of an audit, each step once and with the time it took.
    A host alone is examined as far as that goes without a repository. Exits with 0 if
    an audit would work and with 1 if not.
    """
    settings = settings_from(flags)
    registry, reference, tag_named = _meant(target)
    from auditor.cli.run_async import run_async

    return run_async(_doctor, settings, registry, reference, tag_named, as_json)


def _meant(text: str) -> tuple[str, Reference | None, bool]:
    from auditor.diagnose.ls import host_alone
    from auditor.oci.reference import parse_reference

    try:
        if (registry := host_alone(text)) is not None:
            return registry, None, False
        reference = parse_reference(text)
    except ProtocolError as error:
        raise UsageError(error.detail) from None
    tag_named = reference.digest is not None or text.endswith(f":{reference.tag}")
    return reference.registry, reference, tag_named


async def _doctor(
    settings: Settings,
    name: str,
    reference: Reference | None,
    tag_named: bool,
    as_json: bool,
) -> int:
    from auditor.cli.doctor_words import step_lines, to_json, verdict
    from auditor.diagnose.doctor import examine, opened, works
    from auditor.diagnose.doctor_step import Step
    from auditor.util.clock import SystemClock

    colours = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if colours else None
    colours = colours and not os.environ.get("NO_COLOR")
    steps: list[Step] = []
    is_read = True
    async with opened(
        settings, name, reference, tag_named=tag_named, clock=SystemClock()
    ) as case:
        async for step in examine(case):
            steps.append(step)
            if as_json:
                continue
            for line in step_lines(step, width=width, colours=colours):
                is_read = is_read and print_line(line)
    if as_json:
        import orjson

        print_line(orjson.dumps(to_json(steps, case)).decode())
    elif is_read:
        print_line("")
        print_line(verdict(steps, case))
    return ExitCode.OK if works(steps) else ExitCode.FAILED
