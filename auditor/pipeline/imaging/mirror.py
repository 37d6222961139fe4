"""A registry's mirror is asked for an image before the registry itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from auditor.audit.assemble import StoppedError
from auditor.model import Warn, WarningCode
from auditor.oci.reference import Reference
from auditor.registry.registries import Registries

Value = TypeVar("Value")


async def at_mirror_first(
    registries: Registries,
    reference: Reference,
    look: Callable[[Reference], Awaitable[Value]],
) -> tuple[Value, tuple[Warn, ...]]:
    """What `look` finds at the registry's mirror, or else at the registry.

    As containers-registries.conf(5) has it: any failure of the mirror leads to the
    registry itself, and an image comes from one of the two as a whole. A warning says
    where it came from the registry; `StoppedError` says what both said.
    """
    mirrored = registries.at_mirror(reference)
    if mirrored is None:
        return await look(reference), ()
    try:
        return await look(mirrored), ()
    except StoppedError as stop:
        missed = f"the mirror {mirrored.registry}: {stop.failure.detail}"
    try:
        found = await look(reference)
    except StoppedError as stop:
        detail = f"{stop.failure.detail}; before that, {missed}"
        raise StoppedError(replace(stop.failure, detail=detail)) from None
    return found, (Warn(code=WarningCode.NOT_AT_MIRROR, detail=missed),)
