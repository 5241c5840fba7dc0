"""Engines: independent pieces of work run in this process, in other processes of this machine, or
as tasks of a Ray cluster. The results are the same on each: a piece carries its own seed.

Ray finds its cluster by ``RAY_ADDRESS`` (``host:6379``); without one it starts on this machine.
Files that a piece reads by itself, such as images, must be reachable from each node; everything
else is sent along.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from loop.errors import ConfigError, NotReady
from loop.files import private_files
from loop.registry import Registry
from loop.secrets import without_secrets

REGISTRY = Registry(
    noun="engine", built_in={"local": "loop.engine:Local", "ray": "loop.engine:Ray"}
)
RETRIES = 5
"""How often Ray repeats a piece whose worker or node died."""
AHEAD = 4
"""Pieces per core that wait in Ray's queue; results that are not fetched yet take memory."""

Work = Callable[[Any, Any], Any]
"""(what all pieces share, a piece) -> result; a function at the top of a module."""


class Engine(Protocol):
    """Maps a function over independent pieces of work."""

    def map(self, work: Work, shared: Any, pieces: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """(index of the piece, result) in the order of completion.

        Args:
            work: called as ``work(shared, piece)``; a function at the top of a module.
            shared: what all pieces need; sent once per process.
            pieces: what each call works on.

        Raises:
            NotReady: workers died more often than ``RETRIES``.
            Exception: what a piece raised.
        """
        ...


def get(name: str, workers: int = 1) -> Engine:
    """The engine of this name; ``workers``: number of processes of the local engine.

    Raises:
        ConfigError: unknown name, or Ray is not installed.
    """
    REGISTRY.check(name)
    if name == "local":
        return cast(Engine, REGISTRY.get(name, workers=workers))
    address = os.environ.get("RAY_ADDRESS", "")
    if not address:  # read as Ray is imported; on Linux it listens on every address without it
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray  # noqa: F401
    except ImportError:
        raise ConfigError("--engine ray needs: pip install 'coreloop[ray]'") from None
    return cast(Engine, REGISTRY.get(name, address=address))


@dataclass(frozen=True)
class Local:
    """This process, or ``workers`` > 1 processes of one thread each."""

    workers: int = 1

    def map(self, work: Work, shared: Any, pieces: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        if self.workers <= 1:
            for number, piece in enumerate(pieces):
                yield number, work(shared, piece)
            return
        from concurrent.futures import ProcessPoolExecutor, as_completed
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        with without_secrets():  # it starts the process that tracks its semaphores
            pool = ProcessPoolExecutor(
                self.workers,
                mp_context=get_context("spawn"),
                initializer=_begin_worker,
                initargs=(shared, _gpus()),
            )
        try:
            with without_secrets():  # each piece may start a process
                numbers = {
                    pool.submit(_with_shared, work, piece): number
                    for number, piece in enumerate(pieces)
                }
            for future in as_completed(numbers):
                yield numbers[future], future.result()
        except BrokenProcessPool:
            raise NotReady(
                "a worker process was killed, maybe for want of memory; what was finished is "
                "kept. Repeat the command, with fewer --workers if it happens again"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


LOCAL = Local()
"""One piece after another, in this process."""


def in_order(results: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    """Results of ``map`` in the order of the pieces, whatever the order of completion."""
    waiting: dict[int, Any] = {}
    following = 0
    for number, result in results:
        waiting[number] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1


@dataclass(frozen=True)
class Ray:
    """The cluster at an address, one core per piece; pieces of dead workers are repeated."""

    address: str = ""

    def map(self, work: Work, shared: Any, pieces: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        import ray

        self._connect()
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_ray_task)
        shared_reference = ray.put(shared)
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        unsent = list(enumerate(pieces))[::-1]
        running: dict[Any, int] = {}
        while unsent or running:
            while unsent and len(running) < AHEAD * cores:
                number, piece = unsent.pop()
                running[task.remote(work, shared_reference, piece)] = number
            (finished, *_), _ = ray.wait(list(running), num_returns=1)
            yield running.pop(finished), _result(finished)

    def _connect(self) -> None:
        """Joins the cluster, unless this process has done so. One that starts here listens on
        loopback alone, and its processes get neither our secrets nor files that others may read.

        Raises:
            NotReady: nothing answers at the address.
        """
        import logging

        import ray

        if ray.is_initialized():
            return
        options: dict[str, Any] = {"address": self.address}
        if not self.address:
            options = {"address": "local", "include_dashboard": False}  # never somebody else's
        try:
            with without_secrets(), private_files():
                ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            raise NotReady(f"no Ray cluster at {self.address}: {error}") from None


def _result(reference: Any) -> Any:
    """The result of a finished Ray task.

    Raises:
        NotReady: its workers died.
        Exception: what the piece raised, as on the local engine.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayError as error:
        cause = getattr(error, "cause", error)
        if isinstance(error, RayTaskError) and not isinstance(cause, RayError):
            raise cause from error
        raise NotReady(
            f"the Ray cluster gave up on a piece of work ({type(cause).__name__}: see its "
            "logs). What was finished is kept: repeat the command when the cluster is up, "
            "with the same RAY_AUTH_MODE here and on all of its nodes"
        ) from error


_shared: Any = None
"""What the pieces of a local worker process share."""


def _gpus() -> list[str]:
    """Names of the GPUs that this process sees, as CUDA_VISIBLE_DEVICES takes them."""
    if "torch" not in sys.modules:  # nothing has asked for a device, and loading torch is slow
        return []
    from loop.device import gpus

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return [name for name in visible if name] or [str(number) for number in range(gpus())]


def _begin_worker(shared: Any, gpus: list[str]) -> None:
    """Sets up a worker process: one thread for libraries, one GPU where there are several, and an
    end when its parent ends."""
    import multiprocessing
    from threading import Thread

    if len(gpus) > 1:
        number = multiprocessing.current_process()._identity[-1] - 1
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    Thread(target=_exit_with_parent, daemon=True).start()
    global _shared
    _shared = shared
    _use_one_thread()


def _exit_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _with_shared(work: Work, piece: Any) -> Any:
    """A piece in a worker process of the local engine."""
    return work(_shared, piece)


def _ray_task(work: Work, shared: Any, piece: Any) -> Any:
    """A piece in a worker process of Ray."""
    _use_one_thread()
    return work(shared, piece)


def _use_one_thread() -> None:
    """Keeps libraries, loaded or not yet, from using every core in each of several processes."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    for name, variable in (("torch", "OMP_NUM_THREADS"), ("numba", "NUMBA_NUM_THREADS")):
        if name in sys.modules:
            sys.modules[name].set_num_threads(1)
        else:  # loading torch only to limit it takes two seconds
            os.environ[variable] = "1"
