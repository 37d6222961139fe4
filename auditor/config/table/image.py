"""What is said about an image."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.settings import AttachmentMode
from auditor.config.values import choice, several, switch
from auditor.config.values.texts import LABEL, PLATFORM

IMAGE: tuple[Option, ...] = (
    Option(
        name="platforms",
        value=several(PLATFORM),
        help="Only this platform of each image; others are not fetched.",
        where=Where.TOP,
        group=Group.IMAGE,
        flags=("--platform",),
    ),
    Option(
        name="labels",
        value=several(LABEL),
        help="Record the labels of this name or pattern; fetches every image config.",
        where=Where.TOP,
        group=Group.IMAGE,
        flags=("--label",),
    ),
    Option(
        name="attachments",
        value=choice(AttachmentMode),
        help="Where to look for signatures and SBOMs; all: costs requests per image.",
        where=Where.TOP,
        group=Group.IMAGE,
        flags=("--attachments",),
    ),
    Option(
        name="verify_blobs",
        value=switch(),
        help="Ask for every layer and config by HEAD; report those that are missing.",
        where=Where.TOP,
        group=Group.IMAGE,
        flags=("--verify-blobs",),
    ),
)
