from __future__ import annotations

import atexit
import gc
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import tests.examples  # noqa: F401  (registers the profiles)

settings.load_profile("quick")  # or --hypothesis-profile

# Whoever started the tests may ignore signals: a shell does for what runs behind it,
# and `nohup` does. The programs that tests start would inherit that.
for _one in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_one) is signal.SIG_IGN:
        signal.signal(_one, signal.SIG_DFL)
# Reports that others may read have the mode that the usual mask leaves.
os.umask(0o022)


# Thousands of small files, each written durably, are slow on a disk. Folders of tests
# that passed are removed at once (tmp_path_retention_policy); `TMPDIR` chooses others.
_MEMORY, _ROOM_BYTES = Path("/dev/shm"), 2 * 1024**3  # noqa: S108 - pytest's is in it
if (
    "TMPDIR" not in os.environ
    and _MEMORY.is_dir()
    and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
):
    tempfile.tempdir = str(_MEMORY)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One process more than cores with `-n auto`, for the time in which tests wait."""
    cores = yield
    return cores + ("PYTEST_XDIST_AUTO_NUM_WORKERS" not in os.environ)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Do not look for garbage in thousands of tests, which is half of collecting them.

    Nor later: what is there now stays to the end.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        atexit.register(gc.unfreeze)  # extension modules look for leaks


def pytest_runtest_teardown() -> None:
    """A command that ran in this process has set the level of its messages."""
    log = logging.getLogger("auditor")
    if log.level != logging.NOTSET:
        log.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the digest cache of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def anyio_backend() -> str:
    """Coroutine tests run on asyncio: aiohttp, the product's client, needs it."""
    return "asyncio"
