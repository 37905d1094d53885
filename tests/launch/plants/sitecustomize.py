"""Python reads this at its start where PYTHONPATH names this folder: plants what MCX_PLANT says into a job's ranks.

package: on node2 numpy has another version. bad_gradient: rank 1 meets a NaN once, in step 60.
"""

import os
import sys
from pathlib import Path

_plant = os.environ.get("MCX_PLANT")
if _plant == "package" and os.environ.get("SLURMD_NODENAME") == "node2":
    sys.path.insert(0, str(Path(__file__).parent / "other_numpy"))
if (
    _plant == "bad_gradient"
    and os.environ.get("RANK") == "1"
    and b"tools/train.py" in Path("/proc/self/cmdline").read_bytes()
):
    from tests.training.planted import _bad_gradient

    _bad_gradient({"steps": [60], "once": True}).__enter__()
