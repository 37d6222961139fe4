"""A run shared out over a Dask cluster.

Dask does again what a lost worker had begun. A share that was finished is found in its
part, so that only what was not finished is asked of the registry again.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from itertools import islice

import anyio.to_thread
from distributed import Client, Future, as_completed

from auditor.engines.dask_part import PartOrder, audit_part
from auditor.engines.plan import Plan
from auditor.engines.share import Share
from auditor.errors import ExitCode, UsageError
from auditor.util.shard import Shard

_Outcome = tuple[int, tuple[str, ...]]

# How long a scheduler may take to answer: it is there or it is not.
_CONNECT_S = 30
# A share that fails by a bug or an accident of its worker is tried by another one.
_RETRIES = 2


class Cluster:
    """The workers of a Dask scheduler: an `Engine`. Use it as a context manager."""

    def __init__(self, scheduler: str) -> None:
        try:
            self._client = Client(
                scheduler, timeout=_CONNECT_S, set_as_default=False, name="auditor"
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(
                f"--scheduler: no Dask scheduler answers at {scheduler}"
                f" ({type(error).__name__})"
            ) from None
        self.order: PartOrder | None = None
        self._stopped = False
        self._running: as_completed | None = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def workers(self) -> int:
        """How many shares the cluster can audit at the same time."""
        return sum(self._client.nthreads().values())

    async def run(self, plan: Plan, ended: Callable[[Share], None]) -> None:
        """Audit the shares of a plan; `ended` is told of each as it ends."""
        await anyio.to_thread.run_sync(self._run, plan, ended)

    def stop(self, number: signal.Signals) -> None:
        """End early. What a worker has begun it finishes, and its part can be used; who
        says it twice does not wait for that."""
        del number
        if self._stopped and self._running is not None:
            self._running.clear()
        self._stopped = True

    def _run(self, plan: Plan, ended: Callable[[Share], None]) -> None:
        todo = iter(plan.shards)
        under_way: dict[object, Shard] = {}

        def submit(count: int) -> list[Future[_Outcome]]:
            futures = []
            for shard in islice(todo, count):
                future = self._client.submit(
                    audit_part,
                    self.order,
                    shard.number,
                    shard.of,
                    retries=_RETRIES,
                    pure=False,
                )
                under_way[future.key] = shard
                futures.append(future)
            return futures

        with self._client.as_current():
            # Never more than the plan allows, however many workers come.
            running = self._running = as_completed(submit(plan.at_once))
            for future in running:
                ended(_share(future, under_way.pop(future.key)))
                if not self._stopped:
                    running.update(submit(1))


def _share(future: Future[_Outcome], shard: Shard) -> Share:
    if future.status == "finished":
        code, last_words = future.result()
        return Share(shard=shard, code=code, last_words=last_words)
    # Lost with more workers than Dask allows for, or a bug on the worker.
    error = future.exception()
    last_words = (f"{type(error).__name__}: {error}",)
    return Share(shard=shard, code=ExitCode.BUG, last_words=last_words)
