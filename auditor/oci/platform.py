"""Platforms: their text `os/architecture[/variant]`, and their comparison.

There is one normalisation, for every text and comparison; `analysis/platform_sql.py`
is the same in SQL.

Sources: OCI image-spec v1.1 (image-index.md); containerd/platforms, `database.go`
(normalizeOS, normalizeArch) for the names of uname and Debian and default variants, and
`compare.go` (platformVector) for the variants that a client takes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern

_PART = r"[A-Za-z0-9_.-]+"
_TEXT = LazyPattern(rf"({_PART})/({_PART})(?:/({_PART}))?")
_VARIANT = LazyPattern(r"v([0-9]{1,2})(?:\.([0-9]{1,2}))?")
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
# Variants with two names.
VARIANT_NAMES = {
    ("arm64", "v8.0"): "v8",
    ("arm64", "9.0"): "v9",
    ("arm64", "v9.0"): "v9",
}
# The variant of an architecture without one.
IMPLIED_VARIANTS = {"arm": "v7"}
# Architectures that have no variants.
WITHOUT_VARIANTS = frozenset({"386"})
# Variants that are the default of their architecture, and not written.
DEFAULT_VARIANTS = frozenset({("amd64", "v1"), ("arm64", "v8")})


# The values of GOOS and GOARCH (go tool dist list) for which images exist, to find
# typing errors; others are allowed.
KNOWN_OS = frozenset(
    {
        "linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris",
        "illumos", "aix", "android", "plan9", "wasip1", "wasi", "js", "unknown",
    }
)  # fmt: skip
KNOWN_ARCHITECTURES = frozenset(
    {
        "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le",
        "mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "wasm", "unknown",
    }
)  # fmt: skip


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


def likely_platform(text: str) -> str | None:
    """The platform that is probably meant by one that does not exist, if there is one.

    `linux/arm46` is probably `linux/arm64`, and `arm64` is `linux/arm64`.
    """
    os, slash, rest = text.lower().partition("/")
    if not slash:
        known = os in KNOWN_ARCHITECTURES or os in ARCHITECTURE_NAMES
        return f"linux/{os}" if known else None
    architecture, slash, variant = rest.partition("/")
    os = _nearest(os, {*KNOWN_OS, *OS_NAMES})
    names = {*KNOWN_ARCHITECTURES, *ARCHITECTURE_NAMES}
    meant = f"{os}/{_nearest(architecture, names)}{slash}{variant}"
    return None if meant == text.lower() else meant


def _nearest(name: str, names: Collection[str]) -> str:
    if name in names:
        return name
    # For errors only.
    from difflib import get_close_matches  # noqa: PLC0415

    return next(iter(get_close_matches(name, sorted(names), 1)), name)


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
    variant = VARIANT_NAMES.get((architecture, variant), variant)
    variant = variant or IMPLIED_VARIANTS.get(architecture, "")
    if (architecture, variant) in DEFAULT_VARIANTS or architecture in WITHOUT_VARIANTS:
        variant = ""
    return os, architecture, variant


def accepted_platforms(platform: Platform) -> tuple[str, ...]:
    """The platforms of which a client of a normalised platform takes an image.

    These are its own variant and those below, as in containerd. The architectures that
    many of these clients can run, too, are others: 386 for amd64, arm for arm64.
    """
    os, architecture = platform.os, platform.architecture
    variants = _accepted_variants(architecture or "", platform.variant or "")
    texts = (platform_text(os, architecture, variant) for variant in variants)
    return tuple(dict.fromkeys(filter(None, texts)))


def _accepted_variants(architecture: str, variant: str) -> list[str]:
    match = _VARIANT.fullmatch(variant)
    major, minor = (int(match[1]), int(match[2] or 0)) if match else (0, 0)
    match architecture:
        case "amd64" | "arm" if match and not minor:
            oldest = 1 if architecture == "amd64" else 5
            return [variant, *(f"v{n}" for n in range(major - 1, oldest - 1, -1))]
        case "arm64" if match and major in {8, 9}:
            below = [f"v{major}.{n}" for n in range(minor, -1, -1)]
            # Arm v9.0 is an extension of v8.5, v9.1 of v8.6 and so on.
            more = range(minor + 5, -1, -1) if major == 9 else ()
            return [*below, *(f"v8.{n}" for n in more)]
        case _:
            return [variant]


def same_platform(platform: Platform, normalized: Platform) -> bool:
    """Whether a platform equals a normalised one; OS versions are ignored."""
    candidate = replace(normalize(platform), os_version=normalized.os_version)
    return candidate == normalized
