"""Platforms as texts, and which of them are the same.

Source: containerd/platforms, `database.go` (normalizeOS, normalizeArch): the names
that uname and Debian use, and the variants that are understood where none is said.
"""

from __future__ import annotations

from dataclasses import replace

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern

_PART = r"[A-Za-z0-9_.-]+"
_TEXT = LazyPattern(rf"({_PART})/({_PART})(?:/({_PART}))?")
_OS = {"macos": "darwin"}
_ARCHITECTURES: dict[str, tuple[str, str | None]] = {
    "i386": ("386", None),
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
# The variants that mean the same as none.
_PLAIN = frozenset({("amd64", "v1"), ("arm64", "v8")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The `platform` of a descriptor, or the same facts from an image config."""

    os: str | None
    architecture: str | None
    variant: str | None
    os_version: str | None

    @property
    def is_real(self) -> bool:
        """Whether it names a platform (`unknown/unknown` marks attestations)."""
        return (
            self.os not in {None, "", "unknown"}
            and self.architecture not in {None, "", "unknown"}
        )  # fmt: skip


def parse_platform(text: str) -> Platform:
    """`os/architecture[/variant]`, normalised, or `ProtocolError`."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ProtocolError(
            "a platform is os/architecture or os/architecture/variant",
            FailureKind.INVALID_REFERENCE,
        )
    return normalize(
        Platform(os=match[1], architecture=match[2], variant=match[3], os_version=None)
    )


def normalize(platform: Platform) -> Platform:
    """The same platform under the names and variants that all tools understand.

    `linux/aarch64` and `linux/arm64/v8` are `linux/arm64`, `linux/arm` is
    `linux/arm/v7`, `linux/amd64/v1` is `linux/amd64`.
    """
    os = (platform.os or "").lower()
    os = _OS.get(os, os)
    architecture = (platform.architecture or "").lower()
    variant = (platform.variant or "").lower() or None
    if architecture in _ARCHITECTURES:
        architecture, implied = _ARCHITECTURES[architecture]
        variant = implied or variant
    if variant is not None and variant.isdecimal():
        variant = f"v{variant}"
    if architecture == "arm":
        variant = variant or "v7"
    elif (architecture, variant) in _PLAIN or architecture == "386":
        variant = None
    return replace(
        platform, os=os or None, architecture=architecture or None, variant=variant
    )


def same_platform(platform: Platform, wanted: Platform) -> bool:
    """Whether a platform is the wanted one (normalised); versions of an OS do not
    count."""
    found = normalize(platform)
    return (found.os, found.architecture, found.variant) == (
        wanted.os,
        wanted.architecture,
        wanted.variant,
    )


def platform_name(
    os: str | None, architecture: str | None, variant: str | None
) -> str | None:
    """`os/architecture[/variant]` as reports print it; None without one of the two.

    A variant that means the same as none is left out: `linux/arm64/v8` is
    `linux/arm64`.
    """
    if not os or not architecture:
        return None
    if not variant or (architecture, variant) in _PLAIN:
        return f"{os}/{architecture}"
    return f"{os}/{architecture}/{variant}"
