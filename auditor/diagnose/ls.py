"""What a registry lists, without an audit of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

import anyio

from auditor.errors import Failure, unwrapped
from auditor.fast_dataclass import dataclass
from auditor.input.expand import expand
from auditor.input.listings import repositories_of
from auditor.input.lists import Listed
from auditor.input.steps import Asked, Expansion, Pattern, Refused
from auditor.input.tag_filter import Selection
from auditor.oci.reference_grammar import RepositoryPattern
from auditor.protocol.list_target import ListTarget
from auditor.registry.registries import Registries
from auditor.util.deadline import Deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository that a catalog names."""

    registry: str
    name: str


Line = Repository | Asked | Refused


async def list_target(
    target: ListTarget,
    *,
    registries: Registries,
    selection: Selection,
    put: Callable[[Line], bool],
) -> Expansion:
    """Give every line to `put` as it is read, until it says false.

    What the lists came to is in the answer.
    """
    seen = Expansion()
    pattern = target.pattern
    with unwrapped():
        if target.repositories_only:
            assert isinstance(pattern, RepositoryPattern)
            await _repositories(pattern, registries, selection, seen, put)
        else:
            await _tags(pattern, registries, selection, seen, put)
    return seen


async def _tags(
    pattern: Pattern,
    registries: Registries,
    selection: Selection,
    seen: Expansion,
    put: Callable[[Line], bool],
) -> None:
    async with anyio.create_task_group() as group:
        async for entry in expand(
            [Listed(selector=pattern, place="")],
            registries=registries,
            group=group,
            seen=seen,
            deadline=Deadline(),
            selection=selection,
        ):
            if not put(entry):
                break
        group.cancel_scope.cancel()


async def _repositories(
    pattern: RepositoryPattern,
    registries: Registries,
    selection: Selection,
    seen: Expansion,
    put: Callable[[Line], bool],
) -> None:
    found = repositories_of(
        pattern, registries=registries, selection=selection, listings=seen.listings
    )
    async with aclosing(found):
        async for one in found:
            if isinstance(one, Failure):
                put(Refused(text=str(pattern), place="", failure=one, pattern=pattern))
                continue
            seen.asked += 1
            if not put(Repository(registry=pattern.registry, name=one)):
                return
