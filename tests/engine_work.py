"""Work for engines to do; worker processes import it by name."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from contextlib import suppress
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


def die_alone(piece):
    """Dies in a worker process, returns the piece in the first one."""
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return piece


def secrets_seen(shared, piece):
    """Names of the environment's variables that hold a secret."""
    return [name for name, value in os.environ.items() if "secret" in value]


def secrets_begun_with():
    """Names of variables that hold a secret in the environments that the processes below this one
    were begun with; in their own words, and as the kernel shows them to their user."""
    lines = [
        line
        for process in descendants(os.getpid()) - {os.getpid()}
        for line in Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    ]
    assert lines, "no process was begun"
    return [line.partition(b"=")[0].decode() for line in lines if b"secret" in line]


def look_at_workers(kind):
    """Prints what worker processes of a kind, and what they need beside them, know of secrets."""
    from connectors import workers
    from loop.engine import Local

    workers.IN_PROCESS = 0
    if kind == "scan":
        results = workers.in_order(secrets_of_a_process, range(2), workers=1)
    else:
        results = (seen for _, seen in Local(2).map(secrets_seen, None, [0, 1]))
    first = next(results)
    below = secrets_begun_with()
    rest = list(results)
    print(json.dumps({"seen": [first, *rest], "below": below, "held": secrets_seen(None, None)}))


def count_secrets(replica):
    """The work of a training process."""
    import numpy as np

    return {"seen": np.array(len(secrets_seen(None, None)))}


def secrets_of_a_process(piece):
    return secrets_seen(None, piece)


def descendants(process):
    """Ids of a process and of all that it started, directly or not."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
    family, before = {process}, set()
    while family != before:
        before = set(family)
        family |= {child for child, parent in parents.items() if parent in family}
    return family


def listening(processes):
    """Local addresses, as the kernel writes them in hex, that these processes listen on."""
    sockets = set()
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").glob("*"):
            with suppress(OSError):
                sockets.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and line[9] in sockets}


def look_at_a_cluster_of_its_own():
    """Prints what a Ray cluster shows of us to others on this machine."""
    from loop.engine import get

    seen = dict(get("ray").map(secrets_seen, None, [0]))[0]
    files = [path for path in Path.home().rglob("*") if path.is_file()]
    readable = [path.name for path in files if path.stat().st_mode & 0o77]
    held = secrets_seen(None, None)
    addresses = sorted(listening(descendants(os.getpid())))
    print(json.dumps({"seen": seen, "held": held, "files": readable, "addresses": addresses}))
