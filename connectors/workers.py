"""Processes that read, decode and hash images; the order of the inputs stays."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from threading import Thread
from typing import TypeVar

from connectors.base import ConnectorError

CHUNK = 64
"""Inputs that a worker process takes at once."""
IN_PROCESS = 500
"""Inputs that are worked on before worker processes are started."""
SECRET_NAME = re.compile("KEY|TOKEN|PASS|SECRET|CREDENTIAL", re.IGNORECASE)
"""Variables that decoders of other people's images need not know."""
SECRET_VALUE = re.compile(r"://[^/\s]*@")
"""An address that holds a password."""

In = TypeVar("In")
Out = TypeVar("Out")


def in_order(work: Callable[[In], Out], inputs: Iterable[In], workers: int) -> Iterator[Out]:
    """``map`` over ``workers`` processes (0: in this one), reading only a little ahead. The first
    ``IN_PROCESS`` are done in this process: for few, others would not start in time.

    Raises:
        ConnectorError: a worker process was killed.
    """
    rest = iter(inputs)
    yield from map(work, islice(rest, IN_PROCESS) if workers else rest)
    first = list(islice(rest, CHUNK))
    if not first:
        return
    rest = chain(first, rest)
    pool = _new_pool(workers)
    waiting: deque[Future[list[Out]]] = deque()
    try:
        while True:
            while len(waiting) < 4 * workers and (chunk := list(islice(rest, CHUNK))):
                with _without_secrets():  # a process is started when there is work for it
                    waiting.append(pool.submit(_each, work, chunk))
            if not waiting:
                return
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise ConnectorError(
            "a process that reads images was killed, maybe for want of memory; what was read "
            "before is kept. Type 'coreloop scan' to go on"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def one_ahead(work: Callable[[In], Out], inputs: Iterable[In]) -> Iterator[Out]:
    """``map``, with one result coming in a thread while the one before it is used."""
    with ThreadPoolExecutor(1) as ahead:
        coming: Future[Out] | None = None
        for each in inputs:
            following = ahead.submit(work, each)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()


def _new_pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")  # the parent may hold threads (torch, arrow)
    with _without_secrets():  # it starts the process that tracks its semaphores
        return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


@contextmanager
def _without_secrets() -> Iterator[None]:
    """Processes started in this block inherit an environment without secrets, ours or others'."""
    secrets = {
        name: value
        for name, value in os.environ.items()
        if SECRET_NAME.search(name) or SECRET_VALUE.search(value)
    }
    for name in secrets:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(secrets)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for ever for its next task."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


def _each(work: Callable[[In], Out], chunk: list[In]) -> list[Out]:
    return [work(item) for item in chunk]
