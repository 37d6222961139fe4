"""What a run wants to know of each image: the options, ready for use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate

from auditor.config import AttachmentMode, ImageConfigMode, Settings
from auditor.fast_dataclass import dataclass
from auditor.oci.platform import PlatformSpec, is_same, read_platform

# Of one platform. A label is a line of text; what holds more is a file in disguise.
# Kubernetes gives all annotations of an object four times as much.
MAX_LABELS_BYTES = 64 * 1024


class LabelPatterns:
    """Labels whose name matches a pattern: `*`, `?`, `[a-z]`, case counts."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        self._wanted = re.compile("|".join(map(translate, patterns)))

    def of(self, labels: Mapping[str, str]) -> tuple[dict[str, str], int]:
        """The wanted labels by name, and how many of them do not fit."""
        chosen: dict[str, str] = {}
        left_bytes, left_out = MAX_LABELS_BYTES, 0
        for name in sorted(filter(self._wanted.match, labels)):
            size = len(name.encode()) + len(labels[name].encode())
            if size > left_bytes:
                left_out += 1
                continue
            left_bytes -= size
            chosen[name] = labels[name]
        return chosen, left_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is wanted of an image. `platforms` are normalised; none means all.

    `labels` is null where none are wanted.
    """

    image_config: ImageConfigMode = ImageConfigMode.AUTO
    platforms: tuple[PlatformSpec, ...] = ()
    labels: LabelPatterns | None = None
    attachments: AttachmentMode = AttachmentMode.INDEX
    verify_blobs: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Wanted:
        """What the settings say. The time of every image decides with `since`."""
        return cls(
            image_config=ImageConfigMode.ALWAYS
            if settings.since is not None
            else settings.image_config,
            platforms=tuple(map(read_platform, settings.platforms)),
            labels=LabelPatterns(settings.labels) if settings.labels else None,
            attachments=settings.attachments,
            verify_blobs=settings.verify_blobs,
        )

    def platform(self, platform: PlatformSpec) -> bool:
        """Whether a platform is wanted."""
        return not self.platforms or any(
            is_same(platform, wanted) for wanted in self.platforms
        )
