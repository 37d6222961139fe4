"""`auditor inspect`: one image as a tree of platforms, layers and configuration."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import click

from auditor.cli.command_support import (
    invalid_argument,
    json_option,
    run_async,
    settings_from,
    settings_options,
)
from auditor.cli.help_text import complete_files, complete_references, help_command
from auditor.cli.output import (
    json_text,
    print_error,
    print_failure,
    print_message,
)
from auditor.config import ImageConfigMode, OptionGroup, Settings
from auditor.errors import ExitCode, Failure, UsageError
from auditor.model import (
    AccessState,
    Attachment,
    BaseCheck,
    FailureRecord,
    ImageRecord,
    Layer,
    PlatformRecord,
    Record,
    Source,
)
from auditor.oci.descriptor import essence
from auditor.oci.image_config import ImageConfig
from auditor.oci.platform import platform_text
from auditor.oci.reference import Reference, parse_reference
from auditor.util.text import format_count, format_size, safe_text

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from auditor.audit.image import ImageAuditor
    from auditor.input.source_table import RecordedSources

# Wider than every line: a digest must not be cut at the edge of the terminal.
TREE_WIDTH = 300
_DIGEST = re.compile(r"\bsha(?:256|384|512):[0-9a-f]{64,128}\b")


@help_command("inspect")
@click.argument("reference", metavar="REFERENCE", shell_complete=complete_references)
@json_option
@click.option("--raw", is_flag=True, help="Print the manifest's exact bytes.")
@click.option(
    "-f",
    "--list",
    "lists",
    multiple=True,
    metavar="LIST",
    shell_complete=complete_files,
    help="Show where this list names the image, and its labels: a list as for audit,"
    " such as kubectl's JSON or a CSV file; can be repeated.",
)
@settings_options(OptionGroup.IMAGE, OptionGroup.CREDENTIALS, OptionGroup.NETWORK)
def command(
    *, reference: str, as_json: bool, raw: bool, lists: tuple[str, ...], **flags: Any
) -> int:
    """Show one image: its platforms, layers and configuration as a tree.

    json is the record as in a report.
    """
    if as_json and raw:
        raise UsageError("--format json and --raw exclude each other")
    if raw and lists:
        raise UsageError("--raw prints the manifest alone; remove --list")
    settings = settings_from(flags)
    with invalid_argument():
        parsed = parse_reference(reference, stores=True)
    sources = _sources(parsed, lists) if lists else None
    return run_async(_inspect, settings, parsed, as_json, raw, sources)


def _sources(reference: Reference, lists: tuple[str, ...]) -> RecordedSources:
    """Where lists name the reference; raises `UsageError` for an unreadable list."""
    from auditor.input.lists import listed_items
    from auditor.input.source_table import SourceTable

    with SourceTable() as table:
        for name, item in listed_items(Settings(lists=lists)):
            table.add(name, item)
        table.finish()
        return table.of_reference(reference)


async def _inspect(
    settings: Settings,
    reference: Reference,
    as_json: bool,
    raw: bool,
    sources: RecordedSources | None,
) -> int:
    from auditor.audit.image import ImageAuditor
    from auditor.audit.image_metadata import ImageOptions
    from auditor.cache.digest_cache import open_cache
    from auditor.cli.silent_hosts import open_watched_registries
    from auditor.util.clock import SystemClock

    clock = SystemClock()
    async with (
        open_watched_registries(settings, clock=clock) as registries,
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
        if settings.check_bases and isinstance(record, ImageRecord):
            from auditor.audit.base_checks import BaseChecker

            bases = BaseChecker(registries, images.content, images.resolver)
            record = await bases.check(record)
        if sources is not None:
            record = _with_sources(record, sources)
        if as_json:
            click.echo(json_text(record))
        elif isinstance(record, FailureRecord):
            print_error(
                f"{safe_text(record.reference)}: {record.failure}: {record.detail}"
            )
            print_message(f"what to do: auditor explain {record.failure}")
        else:
            configs = await images.configs_of(record)
            from auditor.util.terminal import rendered, screen_of

            screen = screen_of(sys.stdout)
            tree = _image_tree(record, configs)
            if screen.width is not None:
                _fit_screen(tree)
            lines = rendered(tree, screen, width=screen.width or TREE_WIDTH)
            click.echo("\n".join(lines), color=True)
        if images.unnamed_images():
            print_message(
                "no signature was verified: the signature policy does not name this"
                " repository"
            )
    return ExitCode.FAILED if isinstance(record, FailureRecord) else ExitCode.OK


def _with_sources(record: Record, found: RecordedSources) -> Record:
    return replace(
        record,
        sources=found.sources,
        sources_left_out=found.sources_left_out,
        input_labels=found.input_labels,
        input_labels_left_out=found.input_labels_left_out,
    )


async def _raw(images: ImageAuditor, reference: Reference) -> int:
    manifest = await images.raw_manifest(reference)
    if isinstance(manifest, Failure):
        print_failure(safe_text(str(reference)), manifest)
        return ExitCode.FAILED
    sys.stdout.buffer.write(manifest)
    sys.stdout.buffer.flush()
    return ExitCode.OK


# -- the tree -------------------------------------------------------------------


def _image_tree(record: ImageRecord, configs: Mapping[str, ImageConfig]) -> Tree:
    """The tree of a record. `configs` has image configs by digest.

    Every text from a registry is made safe for a terminal.
    """
    from rich.tree import Tree

    tree = Tree(_line(record.reference, "bold"))
    _node(tree, f"digest  {record.digest}")
    _node(tree, f"type    {_type_name(record)}")
    size = "unknown"
    if record.size is not None:
        size = f"{format_size(record.size)} of distinct layers, compressed"
    _node(tree, f"size    {size}")
    _node(tree, f"access  {_access(record)}")
    for line in _supply_chain_lines(record):
        _node(tree, line)
    for check in record.bases or ():
        _node(tree, _base_line(check), "red" if check.is_stale else "")
    if record.bases_left_out:
        _node(tree, f"base    {record.bases_left_out:,} more, not asked for")
    for line in _use_lines(record):
        _node(tree, line)
    for key, value in sorted(record.annotations.items()):
        _node(tree, f"{safe_text(key)} = {safe_text(value)}", "dim")
    for platform in record.platforms:
        _add_platform(tree, platform, configs.get(platform.config_digest or ""))
    if record.platforms_left_out:
        _node(
            tree,
            f"{format_count(record.platforms_left_out, 'more platform')} not selected",
            "dim",
        )
    for attachment in record.attachments:
        _node(tree, _attachment_line(attachment), "dim")
    for warning in record.warnings:
        _node(tree, f"warning {warning.code}: {safe_text(warning.detail)}", "yellow")
    return tree


def _fit_screen(tree: Tree) -> None:
    """Continue long lines below their beginning, and shorten digests.

    The reference and the digest of the image stay whole, to be copied.
    """
    from auditor.util.terminal import short_digests

    labels = list(_labels(tree))
    found = (match[0] for label in labels for match in _DIGEST.finditer(label.plain))
    short = short_digests(found)
    for number, label in enumerate(labels):
        label.no_wrap, label.overflow = False, "fold"
        if number > 1:
            label.plain = _DIGEST.sub(
                lambda match: short.get(match[0], match[0]), label.plain
            )


def _labels(tree: Tree) -> Iterator[Text]:
    yield cast("Text", tree.label)
    for child in tree.children:
        yield from _labels(child)


def _add_platform(
    tree: Tree, platform: PlatformRecord, config: ImageConfig | None
) -> None:
    branch = _node(tree, _platform_line(platform), "bold")
    _node(branch, f"digest  {platform.digest}")
    if platform.config_digest:
        _node(branch, f"config  {platform.config_digest}")
    if platform.created:
        _node(branch, f"created {safe_text(platform.created)}")
    for line in _config_lines(config) if config is not None else ():
        _node(branch, line)
    if platform.base is not None:
        base = filter(None, (platform.base.name, platform.base.digest))
        _node(branch, f"base    {' '.join(map(safe_text, base))}")
    if not platform.is_present:
        _node(branch, "this manifest is missing in the registry", "red")
        return
    if platform.layers is None:
        _node(branch, "its layers are too long for a record (see the warnings)")
        return
    traits = f" ({', '.join(platform.layer_traits)})" if platform.layer_traits else ""
    layers = _node(
        branch, f"{format_count(len(platform.layers), 'layer')}, base first{traits}"
    )
    for layer in platform.layers:
        _node(layers, _layer_line(layer))
    for other in platform.alternatives:
        compression = ", ".join(other.layer_traits) or "gzip"
        _node(branch, f"also    {other.digest} ({compression})")


def _node(parent: Tree, text: str, style: str = "") -> Tree:
    return parent.add(_line(text, style))


def _line(text: str, style: str) -> Text:
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ignore")


def _platform_line(platform: PlatformRecord) -> str:
    name = safe_text(
        platform_text(platform.os, platform.architecture, platform.variant)
        or platform.os
        or platform.architecture
        or "no platform"
    )
    version = f" {safe_text(platform.os_version)}" if platform.os_version else ""
    return f"{name}{version}  {format_size(platform.size)}"


def _layer_line(layer: Layer) -> str:
    kind = f"  {_short_type(layer.media_type)}" if layer.media_type else ""
    return f"{layer.digest}  {format_size(layer.size)}{kind}"


def _short_type(media_type: str) -> str:
    text = essence(media_type) or ""
    return safe_text(text.removeprefix("application/"))


def _type_name(record: ImageRecord) -> str:
    kind = safe_text(record.media_type or "unknown")
    if record.artifact_type and record.artifact_type != record.media_type:
        kind += f", artifact {safe_text(record.artifact_type)}"
    return kind


def _access(record: ImageRecord) -> str:
    access = record.access
    if access.state is AccessState.ANONYMOUS:
        unused = "; the configured login was not used" if access.login_unused else ""
        return f"anyone: the registry needs no login{unused}"
    subject = f" to {safe_text(access.subject)}" if access.subject else ""
    actions = ", ".join(safe_text(action) for action in access.actions)
    return f"{access.state}{subject}" + (f": {actions}" if actions else "")


def _supply_chain_lines(record: ImageRecord) -> list[str]:
    """Whether there are a signature, an SBOM and provenance, if this was checked."""
    states = {
        "signed ": record.signed,
        "sbom   ": record.has_sbom,
        "provenance": record.has_provenance,
    }
    lines = [
        f"{name} {'yes, not verified' if state else 'no'}"
        for name, state in states.items()
        if state is not None
    ]
    if record.verified_by is None:
        return lines
    if record.signed:
        lines[0] = "signed  yes"
    return lines + _verification_lines(record)


def _verification_lines(record: ImageRecord) -> list[str]:
    """By which keys the image is verified, and why each other signature is not."""
    lines = []
    if record.verified_by:
        lines.append(f"verified by {', '.join(record.verified_by)}")
    if record.not_verified_by:
        lines.append(f"not verified by {', '.join(record.not_verified_by)}")
    for one in record.signatures or ():
        text = f"signature {one.format} {one.state}"
        if one.keys:
            text += f" by {', '.join(one.keys)}"
        if one.signed_at:
            text += f", signed {one.signed_at}"
        if one.identity:
            text += f", {safe_text(one.identity)}"
        lines.append(f"{text}: {safe_text(one.reason)}" if one.reason else text)
    return lines


def _base_line(check: BaseCheck) -> str:
    """Whether a base image has moved, by `--check-bases`."""
    name = safe_text(check.reference or check.name or check.digest or "")
    if check.is_stale is None:
        verdict = f"not known whether it has moved: {safe_text(check.detail or '')}"
    elif check.is_stale:
        verdict = f"has moved, is now {safe_text(check.current_digest or '')}"
    else:
        verdict = "current"
    return f"base    {name} {verdict}"


def _use_lines(record: ImageRecord) -> list[str]:
    """Where lists name the image, and what they say about it."""
    if record.sources is None:
        return []
    lines = [f"used by {_source_text(source)}" for source in record.sources]
    if not lines:
        lines = ["used by nothing in the list names this reference"]
    if record.sources_left_out:
        lines.append(f"used by {record.sources_left_out:,} more")
    lines += [
        f"input   {safe_text(name)}: {safe_text(', '.join(values))}"
        for name, values in (record.input_labels or {}).items()
    ]
    if record.input_labels_left_out:
        lines.append(f"input   {record.input_labels_left_out:,} more")
    return lines


def _source_text(source: Source) -> str:
    """`prod/Deployment/web, container app (cluster.json: ...)`, or the place alone."""
    if source.workload is None:
        return safe_text(source.place)
    owner = "/".join(filter(None, (source.namespace, source.workload)))
    container = f", container {source.container}" if source.container else ""
    return safe_text(f"{owner}{container} ({source.place})")


def _attachment_line(attachment: Attachment) -> str:
    subject = f" of {attachment.subject}" if attachment.subject else ""
    types = (attachment.artifact_type, *(attachment.predicates or ()))
    names = ", ".join(_short_type(name) for name in types if name)
    return f"{attachment.kind} {attachment.digest}{subject}" + (
        f"  {names}" if names else ""
    )


def _config_lines(config: ImageConfig) -> list[str]:
    fields = (
        ("entry  ", " ".join(config.entrypoint)),
        ("command", " ".join(config.command)),
        ("user   ", config.user),
        ("workdir", config.working_directory),
        ("ports  ", ", ".join(config.exposed_ports)),
        ("author ", config.author),
    )
    lines = [f"{name} {safe_text(value)}" for name, value in fields if value]
    lines += [
        f"label   {safe_text(key)} = {safe_text(value)}"
        for key, value in sorted(config.labels.items())
    ]
    if config.history_length:
        lines.append(f"history {format_count(config.history_length, 'step')}")
    return lines
