"""Python reads this at its start where PYTHONPATH names this folder: plants what MCX_PLANT says into a job's processes.

package: on node2 numpy has another version. clock: node2's clock is 100 s ahead. bad_gradient: rank 1 meets a NaN once,
in step 60. raises: rank 1 meets an error of the program in step 60.
"""

import os
import sys
import time
from pathlib import Path

PLANT = os.environ.get("MCX_PLANT")
_STEP = 60

if os.environ.get("SLURMD_NODENAME") == "node2":
    if PLANT == "package":
        sys.path.insert(0, str(Path(__file__).parent / "other_numpy"))
    if PLANT == "clock":
        _time = time.time
        time.time = lambda: _time() + 100.0
in_training = b"tools/train.py" in Path("/proc/self/cmdline").read_bytes()
if PLANT in ("bad_gradient", "raises") and os.environ.get("RANK") == "1" and in_training:
    from tests.training.planted import FAULTS

    planted = FAULTS[PLANT]({"steps": [_STEP], "once": True})  # a name that lasts: a fault ends with its object
    planted.__enter__()
