"""Judges every attack at one level, as the user that runs it: `-m tests.sandbox.attacks.judge_attacks A|B DIR`.

In: an empty directory of this user's. Out, as a line of JSON: `uid`, `isolation`, `verdicts` (name -> verdict, detail,
CPU seconds), `open` (the verdict on an attack that does come through), `numpy` (on a program that uses it), and `left`,
what the attacks left behind or changed: files, processes, mounts.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import probe_kernel
from tests.sandbox.attacks.all import ATTACKS
from tests.sandbox.attacks.attack import Attack

TIMEOUT_S = 0.2
OPEN = Attack(source="def f():\n    return attempt(lambda: open(os.__file__).read(10))\n")
USES_NUMPY = Attack(source="import numpy\ndef f():\n    return 'held' if numpy.linalg.det(numpy.eye(3)) == 1 else ''\n")
SECRET = "a secret of the driver's environment"


def state_of(directory: Path) -> dict[str, object]:
    """What an attack could change: the files here, this user's view of the mounts, the processes started from here."""
    files = {path.name: (path.read_text(), path.stat()[:9]) for path in sorted(directory.iterdir())}
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {"files": files, "mounts": Path("/proc/self/mountinfo").read_text(), "children": children}


def main(level: str, directory: Path) -> None:
    own_file = directory / "own"
    own_file.write_text("own")
    os.environ["SECRET"] = SECRET
    os.chdir(directory)
    found = probe_kernel()
    before = state_of(directory)
    surroundings = (
        f"DRIVER, LEVEL, OWN_FILE, SECRET = {os.getpid()}, {level!r}, {str(own_file)!r}, 'secret of the ' + 'driver'\n"
        f"REPOSITORY = {str(Path(__file__).resolve().parents[3])!r}\n"
    )
    features = found if level == "A" else found.without_namespaces()
    with JudgePool(2, timeout_s=TIMEOUT_S, memory_bytes=512 << 20, allow_level_b=True, features=features) as pool:
        judged = dict(pool.judge(attack.program(surroundings) for attack in ATTACKS.values()))
    with JudgePool(1, allow_level_b=True, features=features) as pool:
        others = dict(pool.judge(attack.program(surroundings) for attack in (OPEN, USES_NUMPY)))
    after = state_of(directory)
    answer = {
        "uid": os.getuid(),
        "isolation": pool.isolation,
        "verdicts": {
            name: (judged[at].verdict, judged[at].detail, judged[at].cpu_s) for at, name in enumerate(ATTACKS)
        },
        "open": others[0].verdict,
        "numpy": others[1].verdict,
        "left": {name: (before[name], after[name]) for name in before if before[name] != after[name]},
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
