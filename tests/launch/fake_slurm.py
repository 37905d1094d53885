"""Programs that stand for SLURM's in a job's script, so that each end of a job can be had at will and in no time.

srun starts one rank here and now; scontrol and scancel write down what they were called with, and scancel signals the
rank. What SLURM itself does is tested on a real one (test_chain.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = {
    "srun": """
while [[ $1 == --* ]]; do shift; done
export SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_STEP_NUM_TASKS=1 SLURMD_NODENAME=node7
"$@"
code=$?
exit "${SRUN_CODE:-$code}"
""",
    "scontrol": """
echo "scontrol $*" >>"$CALLS"
case "$1 $2" in
    "show hostnames") echo node7 ;;
    "show job") echo "JobId=41 JobName=run $(cat "$CALLS.state") BatchFlag=1" ;;
    "requeue 41")
        [ ! -e "$CALLS.state" ] || exit 1 ;;
    "show node") echo "NodeName=node7 NodeAddr=127.0.0.1 NodeHostName=x" ;;
esac
""",
    "cut": """
! grep -q "scontrol requeue" "$CALLS" || kill -TERM $$  # as SLURM does to a script's programs
exec /usr/bin/cut "$@"
""",
    "scancel": """
echo "scancel $*" >>"$CALLS"
kill -s "${1#--signal=}" "$(cat "$RANK_PID")"
""",
}


@dataclass(frozen=True)
class FakeJob:
    """How a script ended."""

    code: int
    output: str
    calls: list[str]
    """What scontrol and scancel were called with, but for questions."""


class FakeSlurm:
    """A folder with the programs, and a rank that is a few lines of bash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in _PROGRAMS.items():
            self._program(folder / name, text)

    def refuse_requeue(self, state: str) -> None:
        """Let `scontrol requeue` fail from now on, and `scontrol show job` say this."""
        (self.folder / "calls.state").write_text(state)

    def rank(self, text: str) -> Path:
        """A program to give as `python`: what each rank does."""
        watchdog = '[ "$1" != -m ] || exit 0'  # it is a Python module
        self._program(self.folder / "rank", f'{watchdog}\necho $$ >"$RANK_PID"\n{text}')
        return self.folder / "rank"

    def start(
        self, script: str, *, restarts: int = 0, srun_code: int | None = None, job: int = 41
    ) -> subprocess.Popen[str]:
        """The script as a job of SLURM's."""
        (self.folder / "calls").write_text("")
        others = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        environment = others | {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "CALLS": str(self.folder / "calls"),
            "RANK_PID": str(self.folder / "rank.pid"),
            "SLURM_JOB_ID": str(job),
            "SLURM_JOB_NODELIST": "node7",
        }
        if srun_code is not None:
            environment["SRUN_CODE"] = str(srun_code)
        if restarts:
            environment["SLURM_RESTART_COUNT"] = str(restarts)
        return subprocess.Popen(
            ["bash", "-c", script],
            env=environment,
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(
        self,
        script: str,
        *,
        restarts: int = 0,
        signals: Sequence[signal.Signals] = (),
        srun_code: int | None = None,
    ) -> FakeJob:
        """Run it to its end. signals: sent to the script once its rank has started, as SLURM does.

        srun_code: srun's exit code, when it is not the rank's.
        """
        pid = self.folder / "rank.pid"
        pid.unlink(missing_ok=True)
        job = self.start(script, restarts=restarts, srun_code=srun_code)
        for number in signals:
            deadline = time.monotonic() + 30
            while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
                time.sleep(0.01)
            os.kill(job.pid, number)
        output, _ = job.communicate(timeout=60)
        calls = (self.folder / "calls").read_text().splitlines()
        return FakeJob(job.returncode, output, [call for call in calls if " show " not in call])

    @staticmethod
    def _program(path: Path, text: str) -> None:
        path.write_text("#!/bin/bash\n" + text.lstrip("\n"))
        path.chmod(0o755)
