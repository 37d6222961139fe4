"""The input of an audit, its digest, and the sources of its references.

If sources are recorded, the input is read twice: to its end before the audit, into a
`SourceTable`, and then by the audit. What cannot be read twice, such as standard input,
is copied to a temporary file. Without sources, it is read once, while it arrives.

An `InputDigest` tells whether two runs had the same input.
"""

from __future__ import annotations

import functools
import io
import logging
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from hashlib import blake2b
from typing import TYPE_CHECKING

from auditor.config import Settings, SourceMode
from auditor.errors import OutputError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.input.input_items import InputItem, InputSelector
from auditor.input.list_reader import ListReader, list_name
from auditor.input.lists import (
    SILENT_INPUT,
    OpenReader,
    input_items,
    is_regular_file,
    list_has_sources,
    listed_items,
    open_reader,
)
from auditor.util.tasks import call_in_thread

if TYPE_CHECKING:
    from auditor.input.source_table import SourceTable


class InputDigest:
    """Iterates over the items once; `value` is a digest of all of them, in order.

    All shards of an audit must have the same digest. The names of lists are not part of
    it: a copy of a list has the same digest. `with_origins`: what lists say about a
    reference is part of it, and so is its place in the list.
    """

    def __init__(
        self, items: Iterable[InputItem] = (), *, with_origins: bool = False
    ) -> None:
        self._items = items
        self._with_origins = with_origins
        self._digest = blake2b(digest_size=16)
        self._is_complete = False

    def __iter__(self) -> Iterator[InputItem]:
        for item in self._items:
            self.add(item)
            if item.origin is None or not item.origin.is_repeat:
                yield item
        self._is_complete = True

    def add(self, item: InputItem) -> None:
        """Add the next item; for those that are not read by iterating."""
        text = str(item.selector) if isinstance(item, InputSelector) else item.text
        if self._with_origins:
            text = f"{text}\0{_line(item.place)}"
            if (origin := item.origin) is not None:
                place = None if origin.place is None else _line(origin.place)
                said = (
                    place, origin.namespace, origin.workload, origin.container,
                    origin.labels, origin.labels_left_out, origin.sources,
                    origin.sources_left_out, origin.is_repeat,
                )  # fmt: skip
                text = f"{text}\0{said!r}"
        self._digest.update(text.encode("utf-8", "surrogatepass") + b"\n")

    @property
    def so_far(self) -> str:
        """The digest of the items that were added, in hexadecimal."""
        return self._digest.hexdigest()

    @property
    def value(self) -> str | None:
        """The digest; None if the input was not read to its end."""
        return self.so_far if self._is_complete else None


def _line(place: str) -> str:
    """A place without the name of its list."""
    return place.rpartition(":")[2]


log = logging.getLogger("auditor.input")


@dataclass(frozen=True, slots=True)
class AuditInput:
    """The items of an audit, to be read once.

    `sources` is None if they are not recorded. `digest` counts the items while they are
    read; None for an audit that needs none: it has no sources and no shard.
    """

    items: Iterator[InputItem]
    digest: InputDigest | None
    sources: SourceTable | None = None


@asynccontextmanager
async def open_input(
    settings: Settings,
    *,
    names: Mapping[str, str] | None = None,
    cluster: Iterable[InputItem] = (),
) -> AsyncIterator[AuditInput]:
    """The input of the settings and the images of a cluster.

    The parameters are those of `input_items`. Raises `UsageError` as it does, also for
    an input that has sources and has not ended at the deadline, and `OutputError` if
    there is no temporary space.
    """
    with ExitStack() as stack:
        cluster = tuple(cluster)
        first_line = threading.Event()
        opening = functools.partial(_open, settings, names, cluster, stack, first_line)
        try:
            opened = await call_in_thread(opening, timeout_s=settings.deadline_s)
        except TimeoutError:
            raise UsageError(
                "the input was not read to its end before the deadline; check the"
                " program that writes the list (with --sources never, an audit begins"
                " before the end)"
                if first_line.is_set()
                else SILENT_INPUT
            ) from None
        yield opened


def records_sources(settings: Settings, first_line: str | None = None) -> bool:
    """Whether records have sources. `first_line` is that of the list, if it is known.

    An input of one plain list says nothing that the list itself does not say.
    """
    if settings.sources is not SourceMode.AUTO:
        return settings.sources is SourceMode.ALWAYS
    if settings.cluster is not None or len(settings.lists) > 1:
        return True
    if not settings.lists:
        return False
    if first_line is None:
        (path,) = settings.lists
        with open_reader(path, list_name(path)) as reader:
            first_line = reader.first_line()
    return list_has_sources(first_line)


def digest_of_input(settings: Settings) -> str:
    """Read the input to its end and return its digest; all lists must be files."""
    digest = InputDigest(with_origins=records_sources(settings))
    with _without_messages():
        for _, item in listed_items(settings):
            digest.add(item)
    return digest.so_far


def _open(
    settings: Settings,
    names: Mapping[str, str] | None,
    cluster: tuple[InputItem, ...],
    stack: ExitStack,
    has_begun: threading.Event,
) -> AuditInput:
    """Read the input if it has sources; blocks. `has_begun`: a line was read.

    Streams are opened and closed by the thread that reads them: closing one waits for
    a read in another thread, which may never return.
    """
    begun: dict[int, OpenReader] = {}
    if _is_one_stream(settings):
        (path,) = settings.lists
        with ExitStack() as stream:
            reader = stream.enter_context(open_reader(path, _name(path, names)))
            has_sources = records_sources(settings, reader.first_line())
            has_begun.set()
            begun[0] = functools.partial(_continued, reader, stream.pop_all())
    else:
        has_sources = records_sources(settings)
    if not has_sources:
        items = input_items(settings, names=names, cluster=cluster, readers=begun)
        if settings.shard is None:
            return AuditInput(items, None)
        digest = InputDigest(items)
        return AuditInput(iter(digest), digest)
    readers = {
        position: _copy(
            begun[position]() if begun else open_reader(path, _name(path, names)), stack
        )
        for position, path in enumerate(settings.lists)
        if not is_regular_file(path)
    }
    # Many runs have no sources.
    from auditor.input.source_table import SourceTable  # noqa: PLC0415

    table = stack.enter_context(SourceTable(settings.shard))
    first = InputDigest(with_origins=True)
    with _without_messages():
        for name, item in listed_items(
            settings, names=names, cluster=cluster, readers=readers
        ):
            table.add(name, item)
            first.add(item)
            has_begun.set()
    table.finish()
    again = listed_items(settings, names=names, cluster=cluster, readers=readers)
    digest = InputDigest((item for _, item in again), with_origins=True)
    return AuditInput(_compared(digest, first.so_far), digest, table)


def _compared(digest: InputDigest, before: str) -> Iterator[InputItem]:
    yield from digest
    if digest.value != before:
        log.warning(
            "a list changed while it was read: sources and labels in the report are"
            " those of the first reading"
        )


def _is_one_stream(settings: Settings) -> bool:
    """Whether the first line of a pipe decides; others are opened one by one."""
    return (
        settings.sources is SourceMode.AUTO
        and settings.cluster is None
        and len(settings.lists) == 1
        and not is_regular_file(settings.lists[0])
    )


def _name(path: str, names: Mapping[str, str] | None) -> str:
    return (names or {}).get(path) or list_name(path)


@contextmanager
def _continued(reader: ListReader, stream: ExitStack) -> Iterator[ListReader]:
    """A reader whose first line was read."""
    with stream:
        yield reader


def _copy(opened: AbstractContextManager[ListReader], stack: ExitStack) -> OpenReader:
    """A function that opens a copy of a list; only one reader is used at a time."""
    import tempfile  # noqa: PLC0415

    with opened as reader:
        name = reader.name
        try:
            raw = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (as `copy`)
            copy = stack.enter_context(io.BufferedRandom(raw))
            copy.writelines(reader.blocks())
            copy.flush()
        except OSError as error:
            raise OutputError(
                f"{name}: cannot be copied to a temporary file:"
                f" {error.strerror or error}; set TMPDIR to a folder with free space,"
                " or audit with --sources never"
            ) from None

    def open_copy() -> AbstractContextManager[ListReader]:
        copy.seek(0)
        return nullcontext(ListReader(copy, name))

    return open_copy


@contextmanager
def _without_messages() -> Iterator[None]:
    """Readers name what they do not read, and the audit reads the lists again."""
    thread = threading.get_ident()

    def is_of_another_thread(record: logging.LogRecord) -> bool:
        return record.thread != thread

    log.addFilter(is_of_another_thread)
    try:
        yield
    finally:
        log.removeFilter(is_of_another_thread)
