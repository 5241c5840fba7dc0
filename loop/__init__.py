"""The method: numbers in, numbers out, and the steps that drive a labelling project."""

import os

# numba goes by a variable of its own, and its threads become torch's too: more of them than
# OMP_NUM_THREADS allows made trainings on busy cores several times slower
if (_threads := os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]).isdigit():
    os.environ.setdefault("NUMBA_NUM_THREADS", str(max(1, int(_threads))))
