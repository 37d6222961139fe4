"""Platforms: their text `os/architecture[/variant]`, and their comparison.

There is one normalisation, for every text and comparison; `analysis/platform_sql.py`
is the same in SQL.

Sources: OCI image-spec v1.1 (image-index.md); containerd/platforms, `database.go`
(normalizeOS, normalizeArch) for the names of uname and Debian and default variants.
"""

from __future__ import annotations

from dataclasses import replace

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern

_PART = r"[A-Za-z0-9_.-]+"
_TEXT = LazyPattern(rf"({_PART})/({_PART})(?:/({_PART}))?")
OS_NAMES = {"macos": "darwin"}
# Architecture and implied variant.
ARCHITECTURE_NAMES: dict[str, tuple[str, str | None]] = {
    "i386": ("386", None),
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
# The variant of an architecture without one.
IMPLIED_VARIANTS = {"arm": "v7"}
# Architectures that have no variants.
WITHOUT_VARIANTS = frozenset({"386"})
# Variants that are the default of their architecture, and not written.
DEFAULT_VARIANTS = frozenset({("amd64", "v1"), ("arm64", "v8")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The `platform` of a descriptor, or the same fields of an image config."""

    os: str | None
    architecture: str | None
    variant: str | None
    os_version: str | None

    @property
    def is_real(self) -> bool:
        """Whether this is a real platform; `unknown/unknown` marks attestations."""
        return (
            self.os not in {None, "", "unknown"}
            and self.architecture not in {None, "", "unknown"}
        )  # fmt: skip


def platform_text(
    os: str | None, architecture: str | None, variant: str | None
) -> str | None:
    """The normalised `os/architecture[/variant]`; None without os or architecture.

    Registries mix `arm64`, `arm64/v8`, `arm64/8` and `aarch64`, which are the same
    platform.
    """
    if not os or not architecture:
        return None
    return "/".join(filter(None, _normalized(os, architecture, variant)))


def parse_platform(text: str) -> Platform:
    """Parse and normalise `os/architecture[/variant]`. Raises `ProtocolError`."""
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
    """The same platform under the names that Go uses, for comparison.

    `linux/aarch64` and `linux/arm64/v8` become `linux/arm64`, `linux/arm` becomes
    `linux/arm/v7`, `linux/amd64/v1` becomes `linux/amd64`.
    """
    os, architecture, variant = _normalized(
        platform.os or "", platform.architecture or "", platform.variant
    )
    return replace(
        platform,
        os=os or None,
        architecture=architecture or None,
        variant=variant or None,
    )


def _normalized(os: str, architecture: str, variant: str | None) -> tuple[str, ...]:
    """The normalised names; "" for a variant that is not written."""
    os = os.lower()
    os = OS_NAMES.get(os, os)
    architecture = architecture.lower()
    variant = (variant or "").lower()
    if architecture in ARCHITECTURE_NAMES:
        architecture, implied = ARCHITECTURE_NAMES[architecture]
        variant = implied or variant
    if variant.isascii() and variant.isdecimal():
        variant = f"v{variant}"
    variant = variant or IMPLIED_VARIANTS.get(architecture, "")
    if (architecture, variant) in DEFAULT_VARIANTS or architecture in WITHOUT_VARIANTS:
        variant = ""
    return os, architecture, variant


def same_platform(platform: Platform, normalized: Platform) -> bool:
    """Whether a platform equals a normalised one; OS versions are ignored."""
    candidate = replace(normalize(platform), os_version=normalized.os_version)
    return candidate == normalized
