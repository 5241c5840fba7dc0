"""Work for engines to do; worker processes import it by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def square(shared, piece):
    return shared * piece**2


def where_am_i(shared, piece):
    import ray

    time.sleep(0.2)
    return ray.get_runtime_context().get_node_id()


def die_once(shared, piece):
    """The first to come here takes its process with it."""
    if piece == 3:
        try:
            (Path(shared) / "died").mkdir()
            os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
    return piece + 100


def sleep_a_little(shared, piece):
    time.sleep(1)
    return piece


def refuse(shared, piece):
    from loop.errors import DataError

    raise DataError(f"piece {piece} of {shared}")


def die(shared, piece):
    os._exit(1)


def threads(shared, piece):
    import numba
    import torch

    return torch.get_num_threads(), numba.get_num_threads()
