"""Signed, has an SBOM, has provenance: asked of what is attached. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from auditor.fast_dataclass import dataclass
from auditor.model import Attachment
from auditor.oci.attachments import Claim, claims_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """True or false where it is known; null where it was not looked everywhere."""

    signed: bool | None = None
    has_sbom: bool | None = None
    has_provenance: bool | None = None


UNKNOWN = Answers()


def at_mirror(answers: Answers) -> Answers:
    """The answers where the image came from a mirror: what is there, is there.

    A cache holds what was pulled through it, and many have no referrers: what is not
    there may well be at the registry.
    """
    return Answers(
        signed=answers.signed or None,
        has_sbom=answers.has_sbom or None,
        has_provenance=answers.has_provenance or None,
    )


def answers_of(
    digest: str,
    platforms: Collection[str],
    attachments: Sequence[Attachment],
    *,
    everywhere: bool,
) -> Answers:
    """The answers for the image `digest` with the platforms of these digests.

    An image has what is attached to itself, or to each of its platforms: cosign and
    notation sign what a tag names, BuildKit attests each platform. `everywhere`: all
    that is attached is among `attachments`.
    """
    if not attachments and not everywhere:
        return UNKNOWN
    sure: dict[Claim, set[str]] = {claim: set() for claim in Claim}
    possible: dict[Claim, set[str]] = {claim: set() for claim in Claim}
    for attachment in attachments:
        # What an index holds without saying of what is about all of it.
        subject = attachment.subject or digest
        claims = claims_of(attachment)
        for claim in claims.sure:
            sure[claim].add(subject)
        for claim in claims.possible:
            possible[claim].add(subject)

    def answer(claim: Claim) -> bool | None:
        if _covers(sure[claim], digest, platforms):
            return True
        if not everywhere or _covers(sure[claim] | possible[claim], digest, platforms):
            return None
        return False

    return Answers(
        signed=answer(Claim.SIGNATURE),
        has_sbom=answer(Claim.SBOM),
        has_provenance=answer(Claim.PROVENANCE),
    )


def _covers(subjects: set[str], digest: str, platforms: Collection[str]) -> bool:
    return digest in subjects or (bool(platforms) and subjects.issuperset(platforms))
