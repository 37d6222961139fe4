"""The tree of `auditor inspect`: what it says about the layers of a platform."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.tree import Tree

from auditor.cli.inspect_command import _add_platform
from auditor.model import Layer, PlatformRecord

DIGEST = f"sha256:{'a' * 64}"


def _shown(config_digest: str | None, layers: tuple[Layer, ...] | None) -> str:
    platform = PlatformRecord(
        os="linux",
        architecture="amd64",
        variant=None,
        os_version=None,
        digest=DIGEST,
        media_type=None,
        config_digest=config_digest,
        layers=layers,
    )
    tree = Tree("image")
    _add_platform(tree, platform, None)
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(tree)
    return capture.get()


@pytest.mark.parametrize(
    ("config_digest", "layers", "sentence"),
    [
        # A sparse index: the registry has only the index.
        (None, None, "this manifest is missing in the registry"),
        # More than 2 MiB of layers: docs/guide/report.md, `parts_left_out`.
        (DIGEST, None, "its layers are too long for a record (see the warnings)"),
        (DIGEST, (), "0 layers, base first"),
    ],
    ids=["missing", "left out", "present"],
)
def test_layers_that_are_left_out_are_not_missing(
    config_digest: str | None, layers: tuple[Layer, ...] | None, sentence: str
) -> None:
    shown = _shown(config_digest, layers)
    assert sentence in shown
    assert ("missing" in shown) == (config_digest is None)
