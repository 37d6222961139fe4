"""What a place holds around an image: it is of the repository, not of the digest."""

from __future__ import annotations

from auditor.audit.content_cache import SharedContent
from auditor.audit.image_attachments import Attached
from auditor.audit.image_metadata import Facts
from auditor.audit.resolve import Lookup
from auditor.config import AttachmentMode
from auditor.fast_dataclass import dataclass
from auditor.model import Attachment, Warn
from auditor.pipeline.imaging.answers import UNKNOWN, Answers
from auditor.pipeline.imaging.blob_check import BlobCheck
from auditor.pipeline.imaging.wanted import Wanted
from auditor.registry.client import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is attached to an image, what follows from it, and what is amiss."""

    attachments: tuple[Attachment, ...] = ()
    answers: Answers = UNKNOWN
    warnings: tuple[Warn, ...] = ()


NOTHING = Surroundings()


class Around:
    """Looks around images as far as is wanted; without options, asks nobody."""

    def __init__(self, content: SharedContent, wanted: Wanted, lookup: Lookup) -> None:
        self._everywhere = wanted.attachments is AttachmentMode.ALL
        self._attached = Attached(content, lookup)
        self.blobs = BlobCheck()

    async def image(
        self, registry: Registry, repository: str, facts: Facts
    ) -> Surroundings:
        """The surroundings of one image of a repository."""
        warnings: tuple[Warn, ...] = ()
        if facts.blobs:
            warnings = await self.blobs.warnings(registry, repository, facts.blobs)
        if self._everywhere:
            found = await self._attached.to(registry, repository, facts)
            return Surroundings(
                attachments=found.attachments,
                answers=found.answers,
                warnings=(*found.warnings, *warnings),
            )
        if not facts.attachments and not warnings:
            return NOTHING
        return Surroundings(
            attachments=facts.attachments, answers=facts.answers, warnings=warnings
        )
