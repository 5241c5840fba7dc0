"""Where independent pieces of work are done: in this process, in others of this machine, or as
tasks of a Ray cluster. The results are the same wherever that is: a piece carries its own seed.

Ray finds its cluster by ``RAY_ADDRESS`` (``host:6379``); without one it starts on this machine.
Only what a piece reads by itself (images, say) must be reachable from each node; the rest travels.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from loop.errors import ConfigError, NotReady
from loop.registry import Registry

REGISTRY = Registry(
    noun="engine", built_in={"local": "loop.engine:Local", "ray": "loop.engine:Ray"}
)
RETRIES = 5
"""How often Ray starts a piece again whose worker or node died."""
AHEAD = 4
"""Pieces per core that wait in Ray's queue; results that nobody has fetched take memory."""

Work = Callable[[Any, Any], Any]
"""(what all pieces share, a piece) -> result; a function at the top of a module."""


class Engine(Protocol):
    """A place to work."""

    def map(self, work: Work, shared: Any, pieces: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """(index of the piece, result) as they are done. ``shared`` travels once per process.

        Raises:
            NotReady: workers are lost, more often than they are replaced.
            Exception: what a piece raised.
        """
        ...


def get(name: str, workers: int = 1) -> Engine:
    """The engine of a name; ``workers`` are processes of the local one.

    Raises:
        ConfigError: unknown name, or Ray is not installed.
    """
    REGISTRY.check(name)
    if name == "local":
        return cast(Engine, REGISTRY.get(name, workers=workers))
    try:
        import ray  # noqa: F401
    except ImportError:
        raise ConfigError("--engine ray needs: pip install 'coreloop[ray]'") from None
    return cast(Engine, REGISTRY.get(name, address=os.environ.get("RAY_ADDRESS", "")))


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
        from multiprocessing import get_context

        pool = ProcessPoolExecutor(
            self.workers,
            mp_context=get_context("spawn"),
            initializer=_adopt,
            initargs=(shared, _gpus()),
        )
        try:
            waiting = {pool.submit(_with_shared, work, piece): i for i, piece in enumerate(pieces)}
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


LOCAL = Local()
"""One piece after the other, in this process."""


def in_order(results: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    """Results of ``map`` by the number of their piece, however they arrive."""
    waiting: dict[int, Any] = {}
    following = 0
    for number, result in results:
        waiting[number] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1


@dataclass(frozen=True)
class Ray:
    """The cluster at an address, one core per piece; pieces of dead workers are done again."""

    address: str = ""

    def map(self, work: Work, shared: Any, pieces: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        import logging

        import ray
        from ray.exceptions import RayError, RayTaskError

        if not ray.is_initialized():
            try:
                ray.init(
                    address=self.address or None, log_to_driver=False, logging_level=logging.ERROR
                )
            except ConnectionError as error:
                raise NotReady(f"no Ray cluster at {self.address}: {error}") from None
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_alone)
        common = ray.put(shared)
        rest = iter(enumerate(pieces))
        most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting: dict[Any, int] = {}
        while True:
            while len(waiting) < most and (following := next(rest, None)) is not None:
                waiting[task.remote(work, common, following[1])] = following[0]
            if not waiting:
                return
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            try:
                result = ray.get(done)
            except RayError as error:
                cause = getattr(error, "cause", error)
                if isinstance(error, RayTaskError) and not isinstance(cause, RayError):
                    raise cause from error  # the piece's own, as the local engine raises it
                raise NotReady(
                    f"the Ray cluster gave up on a piece of work ({type(cause).__name__}: see its "
                    "logs). What was finished is kept: repeat the command when the cluster is up, "
                    "with the same RAY_AUTH_MODE here and on all of its nodes"
                ) from error
            yield waiting.pop(done), result


_shared: Any = None
"""What a worker process of the local engine works on."""


def _gpus() -> list[str]:
    """Names of the GPUs that this process sees, as CUDA_VISIBLE_DEVICES takes them."""
    if "torch" not in sys.modules:  # then nothing here has to do with one
        return []
    from loop.device import gpus

    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named or [str(i) for i in range(gpus())]


def _adopt(shared: Any, gpus: list[str]) -> None:
    """Begins a worker process: one thread for libraries, one GPU where there are several, and an
    end when its parent ends."""
    import multiprocessing
    from threading import Thread

    if len(gpus) > 1:
        number = multiprocessing.current_process()._identity[-1] - 1
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()
    global _shared
    _shared = shared
    _one_thread()


def _with_shared(work: Work, piece: Any) -> Any:
    return work(_shared, piece)


def _alone(work: Work, shared: Any, piece: Any) -> Any:
    """A Ray task."""
    _one_thread()
    return work(shared, piece)


def _one_thread() -> None:
    """Keeps libraries, loaded or not yet, from taking every core in each of several processes."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    for name, variable in (("torch", "OMP_NUM_THREADS"), ("numba", "NUMBA_NUM_THREADS")):
        if name in sys.modules:
            sys.modules[name].set_num_threads(1)
        else:  # loading torch to tell it takes two seconds
            os.environ[variable] = "1"
