"""One image for a person: a tree of platforms, layers and configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from auditor.protocol.image_config import ImageConfig
from auditor.protocol.media_types import essence
from auditor.records import AccessState, ImageRecord, Layer, Platform
from auditor.safe_text import safe_text

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def human_size(size: int | None) -> str:
    """Bytes in powers of 1,000, as registries and their web pages show them."""
    if size is None:
        return "size unknown"
    value = float(size)
    for unit in _UNITS:
        if value < 999.95 or unit == _UNITS[-1]:  # 1000.0 is the next unit's 1.0
            break
        value /= 1000
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


def image_tree(record: ImageRecord, configs: Mapping[str, ImageConfig]) -> Tree:
    """The tree of a record; `configs` by config digest, for those that were had.

    Every text that came from a registry is made safe for a terminal.
    """
    from rich.tree import Tree

    def node(parent: Tree, text: str, style: str = "") -> Tree:
        return parent.add(_line(text, style))

    tree = Tree(_line(record.reference, "bold"))
    node(tree, f"digest  {record.digest}")
    node(tree, f"type    {_type_name(record)}")
    node(tree, f"size    {human_size(record.size)} of distinct layers, compressed")
    node(tree, f"access  {_access(record)}")
    for key, value in sorted(record.annotations.items()):
        node(tree, f"{safe_text(key)} = {safe_text(value)}", "dim")
    for platform in record.platforms:
        branch = node(tree, _platform_line(platform), "bold")
        node(branch, f"digest  {platform.digest}")
        config = configs.get(platform.config_digest or "")
        if platform.config_digest:
            node(branch, f"config  {platform.config_digest}")
        if platform.created:
            node(branch, f"created {safe_text(platform.created)}")
        if config is not None:
            for line in _config_lines(config):
                node(branch, line)
        if platform.layers is None:
            node(branch, "the registry does not have this manifest", "red")
            continue
        layers = node(branch, f"{len(platform.layers)} layers, base first")
        for layer in platform.layers:
            node(layers, _layer_line(layer))
    for attachment in record.attachments:
        about = f" of {attachment.subject}" if attachment.subject else ""
        node(tree, f"{attachment.kind} {attachment.digest}{about}", "dim")
    for warning in record.warnings:
        node(tree, f"warning {warning.code}: {safe_text(warning.detail)}", "yellow")
    return tree


def _line(text: str, style: str) -> Text:
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ignore")


def _platform_line(platform: Platform) -> str:
    parts = (platform.os, platform.architecture, platform.variant)
    name = "/".join(safe_text(part) for part in parts if part) or "no platform"
    version = f" {safe_text(platform.os_version)}" if platform.os_version else ""
    return f"{name}{version}  {human_size(platform.size)}"


def _layer_line(layer: Layer) -> str:
    kind = f"  {_short_type(layer.media_type)}" if layer.media_type else ""
    return f"{layer.digest}  {human_size(layer.size)}{kind}"


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
        return "anyone: the registry asks for no credential"
    who = f" to {safe_text(access.subject)}" if access.subject else ""
    actions = ", ".join(safe_text(action) for action in access.actions)
    return f"{access.state}{who}" + (f": {actions}" if actions else "")


def _config_lines(config: ImageConfig) -> list[str]:
    facts = (
        ("entry  ", " ".join(config.entrypoint)),
        ("command", " ".join(config.command)),
        ("user   ", config.user),
        ("workdir", config.working_directory),
        ("ports  ", ", ".join(config.exposed_ports)),
        ("author ", config.author),
    )
    lines = [f"{name} {safe_text(value)}" for name, value in facts if value]
    lines += [
        f"label   {safe_text(key)} = {safe_text(value)}"
        for key, value in sorted(config.labels.items())
    ]
    if config.history_length:
        lines.append(f"history {config.history_length} steps")
    return lines
