"""`auditor nightly`"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli import early_signals
from auditor.cli.command_support import (
    absolute_program,
    json_option,
    name_file,
    name_files,
    run_async,
    settings_from,
)
from auditor.cli.help_text import help_group
from auditor.cli.output import json_text, print_lines, print_message
from auditor.config import (
    EngineName,
    NightlySettings,
    Settings,
    load_settings,
    load_valid_nightly,
    read_toml,
)
from auditor.errors import (
    AuditorError,
    ExitCode,
    LockedError,
    OutputError,
    UsageError,
)

if TYPE_CHECKING:
    from auditor.nightly.night_folder import NightFolder
    from auditor.nightly.notifications import Announcer

_SIGNAL_CODES = {ExitCode.HANGUP, ExitCode.INTERRUPTED, ExitCode.TERMINATED}

_EPILOG = """
The configuration is that of auditor audit with a table [nightly]. Nothing is printed
when there is nothing to act on, so that cron sends no mail.
"""

_config_option = click.option(
    "-c", "--config", metavar="FILE", help="The configuration file."
)


@help_group("nightly", invoke_without_command=True, epilog=_EPILOG)
@_config_option
@click.pass_context
def command(context: click.Context, config: str | None) -> int | None:
    """Do the whole night: audit, compare, check, publish, notify, clean up.

    A night that was killed is continued by the next run. Exit code 1: references
    failed, or the policy is violated.
    """
    context.obj = config
    if context.invoked_subcommand is not None:
        return None
    return _run_night(config)


def _run_night(config: str | None) -> int:
    from auditor.nightly.night_folder import open_night_folder
    from auditor.nightly.night_run import NightRun

    try:
        settings, nightly = _settings(config)
        settings = name_files(settings)
    except AuditorError as error:
        _announce_broken_config(config, error)
        raise
    announcer = _announcer(nightly, settings.metrics)
    with ExitStack() as stack:
        with _announced(announcer):
            folder = stack.enter_context(open_night_folder(nightly.folder))
        run = NightRun(folder, nightly, audit=settings, announcer=announcer, now=_now)
        announcer.started()
        with _announced(announcer, folder):
            night = run.begin()
            if run.earlier is not None:
                print_lines(run.earlier.lines)
            code = _audit({"config": config, **run.audit_options()})
            if code in _SIGNAL_CODES:
                print_message("the next auditor nightly continues this night")
                _announce(announcer, code, "interrupted", folder)
                return code
            early_signals.install("after the audit; the next run finishes this night")
            summary = folder.read_summary()
            if summary is None:
                raise OutputError(f"{nightly.folder}: the audit left no report")
            result = run.finish(night, summary)
    print_lines(result.lines)
    return max(result.exit_code, run.earlier.exit_code if run.earlier else ExitCode.OK)


def _now() -> float:
    from auditor.util.clock import SystemClock

    return SystemClock().epoch()


def _announcer(nightly: NightlySettings, metrics: str | None) -> Announcer:
    from auditor.nightly.notifications import Announcer

    return Announcer(nightly, metrics=metrics, environment=os.environ, now=_now)


@contextmanager
def _announced(
    announcer: Announcer, folder: NightFolder | None = None
) -> Iterator[None]:
    """Announce an error that ends the night, and record it in its folder."""
    try:
        yield
    except LockedError:  # the other night announces its own end
        raise
    except AuditorError as error:
        _announce(announcer, error.exit_code, str(error), folder)
        raise
    except Exception:
        _announce(announcer, ExitCode.BUG, "a bug in auditor", folder)
        raise


def _announce(
    announcer: Announcer, code: int, sentence: str, folder: NightFolder | None
) -> None:
    for warning in announcer.failed(code, sentence, folder):
        print_message(warning)


def _announce_broken_config(config: str | None, error: AuditorError) -> None:
    """Announce an error of the configuration, as far as it says how.

    It is recorded if the folder exists; it may be a part of the error.
    """
    from auditor.nightly.night_folder import open_night_folder

    nightly, metrics = load_valid_nightly(os.environ, config)
    if nightly is None:
        return
    with ExitStack() as stack:
        folder = None
        if nightly.folder and Path(nightly.folder).is_dir():
            with suppress(AuditorError):
                folder = stack.enter_context(open_night_folder(nightly.folder))
        if metrics is not None:
            metrics = name_file("metrics", metrics)
        announcer = _announcer(nightly, metrics)
        _announce(announcer, error.exit_code, str(error), folder)


def _audit(flags: dict[str, Any]) -> int:
    settings = name_files(settings_from(flags))
    settings = replace(settings, metrics=None, quiet=True)
    if settings.processes > 1 or settings.engine is not EngineName.LOCAL:
        from auditor.cli.sharded_audit import audit_sharded

        return run_async(audit_sharded, settings, flags)
    from auditor.cli.audit_command import audit

    return run_async(audit, settings)


def _settings(config: str | None) -> tuple[Settings, NightlySettings]:
    """The settings of the configuration; raises `UsageError` if no night can be run."""
    return _checked(load_settings(environment=os.environ, flags={"config": config}))


def _settings_without_logins(
    config: str | None,
) -> tuple[Settings, NightlySettings, list[str]]:
    """The settings, and the environment variables that the configuration names.

    These and the password files are there where the night runs, not always here.
    """
    given = config or os.environ.get("AUDITOR_CONFIG")
    named = sorted(_variables(read_toml(given).document)) if given else []
    settings = load_settings(
        environment={**dict.fromkeys(named, "-"), **os.environ},
        flags={"config": config},
        read_file=lambda _: "-",
    )
    return *_checked(settings), named


def _checked(settings: Settings) -> tuple[Settings, NightlySettings]:
    if settings.nightly is None:
        raise UsageError(
            "a night needs a configuration (-c FILE) with a table [nightly];"
            " start from: auditor config example nightly > nightly.toml"
        )
    if settings.output != "-":
        raise UsageError(
            "output: auditor nightly keeps the reports in its folder; remove it from"
            " the configuration"
        )
    if settings.summary is not None:
        raise UsageError(
            "summary: auditor nightly has the summary of a night in its folder; remove"
            " it from the configuration"
        )
    if settings.shard is not None or settings.dry_run:
        raise UsageError("auditor nightly audits everything: remove shard and dry_run")
    if not settings.has_input:
        raise UsageError(
            "nothing to audit: the configuration has neither reference, list nor"
            " [cluster]"
        )
    return settings, settings.nightly


def _variables(table: object) -> Iterator[str]:
    """The environment variables that a configuration names: `password_env`, ..."""
    return _texts(table, "_env")


def _texts(table: object, suffix: str) -> Iterator[str]:
    """The texts in a document whose keys end in this."""
    if isinstance(table, dict):
        for key, value in table.items():
            if key.endswith(suffix) and isinstance(value, str):
                yield value
            else:
                yield from _texts(value, suffix)


@command.command("status")
@_config_option
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    default=14,
    show_default=True,
    help="Show the last N nights.",
)
@json_option
@click.pass_obj
def status_command(
    parent_config: str | None, *, config: str | None, limit: int, as_json: bool
) -> int:
    """Show the last nights: when, how long, what failed and changed."""
    from auditor.nightly.night_folder import read_nights
    from auditor.nightly.night_text import status_lines

    _, nightly, _ = _settings_without_logins(config or parent_config)
    nights = read_nights(nightly.folder, _print_left_out)[-limit:]
    if as_json:
        print_lines(json_text(night) for night in nights)
    else:
        from auditor.util.terminal import screen_of

        screen = screen_of(sys.stdout)
        print_lines(status_lines(nights, nightly.folder, screen))
    return ExitCode.OK


@command.command("prune")
@_config_option
@click.option(
    "--dry-run", is_flag=True, help="Only print the nights that would be removed."
)
@click.pass_obj
def prune_command(
    parent_config: str | None, *, config: str | None, dry_run: bool
) -> int:
    """Remove the nights that the rules in `keep` do not keep."""
    from auditor.nightly.night_folder import open_night_folder, read_nights
    from auditor.nightly.retention import expired_nights

    _, nightly, _ = _settings_without_logins(config or parent_config)
    if nightly.keep is None:
        raise UsageError(
            "[nightly] has no keep: every night is kept; add for example"
            " keep = { daily = 30, weekly = 12, monthly = 12 }"
        )
    if dry_run:  # changes nothing: not even the lock
        nights = read_nights(nightly.folder, _print_left_out)
        expired = expired_nights(nights, nightly.keep)
        print_lines(f"would remove {night.name}" for night in expired)
    else:
        read_nights(nightly.folder)  # makes no folder, unlike the next line
        with open_night_folder(nightly.folder) as folder:
            expired = expired_nights(folder.nights(), nightly.keep)
            for sentence in folder.damaged:
                _print_left_out(sentence)
            for night in expired:
                folder.remove(night)
                click.echo(f"removed {night.name}")
    if not expired:
        click.echo("no night to remove")
    return ExitCode.OK


def _print_left_out(sentence: str) -> None:
    print_message(f"warning: left out: {sentence}")


def _folders(*files: str | None) -> list[str]:
    """The absolute folders of these files."""
    return sorted({str(Path(file).absolute().parent) for file in files if file})


def _password_files(config: str) -> list[str]:
    """The absolute paths of the password files, which are relative to the file."""
    document = read_toml(config).document
    folder = Path(config).parent
    return sorted({str(folder / one) for one in _texts(document, "password_file")})


@command.command("install")
@click.argument("scheduler", type=click.Choice(("systemd", "cron", "kubernetes")))
@_config_option
@click.pass_obj
def install_command(
    parent_config: str | None, *, scheduler: str, config: str | None
) -> int:
    """Print the files that run this configuration every night; nothing is written."""
    from auditor.nightly.install_files import INSTALL_TEXTS, InstallPlan

    given = config or parent_config or os.environ.get("AUDITOR_CONFIG")
    given = str(Path(given).absolute()) if given else None
    settings, nightly, variables = _settings_without_logins(given)
    policy = [nightly.policy] if nightly.policy else []
    plan = InstallPlan(
        program=absolute_program(),
        config=given or "",
        settings=nightly,
        variables=variables,
        files=[*(one for one in settings.lists if one != "-"), *policy],
        password_files=_password_files(given) if given else [],
        writable=_folders(settings.metrics, settings.cache, settings.sbom),
    )
    click.echo(INSTALL_TEXTS[scheduler](plan), nl=False)
    return ExitCode.OK
