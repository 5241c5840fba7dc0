"""Where a test may end the process as a power cut would: the named points of each write.

``CORELOOP_KILL_AT=before-train coreloop run`` dies by SIGKILL before the transaction ``train`` is
stored, ``after-train:2`` after the second one, ``any:9`` at the ninth point, whichever that is.
Nothing happens where the variable is not set.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

VARIABLE = "CORELOOP_KILL_AT"

_times: Counter[str] = Counter()


def reached(point: str) -> None:
    """Kills this process if ``VARIABLE`` names this point, the n-th time it is reached."""
    wanted, _, nth = os.environ.get(VARIABLE, "").partition(":")
    if wanted not in (point, "any"):
        return
    _times[wanted] += 1
    if _times[wanted] == int(nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)
