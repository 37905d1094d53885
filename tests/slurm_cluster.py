"""A real SLURM of several nodes on this machine, for tests: munged, slurmctld and a slurmd for each node, on loopback.

In: nothing but a folder. Out: SLURM_CONF in the environment, so that sbatch, srun, squeue and scancel speak to it.
The daemons are ordinary child processes, of this user, and end with pytest; no file outside the folder is written. Jobs
run as this user on this machine, whatever node they are told. There is no accounting (sacct knows nothing).
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo", "setpriv")
_START_S = 60.0
_END_S = 20.0
_MOST_JOBS = 20_000
"""Jobs that have ports of their own (launch/script.py). The clusters of a machine share its ports, so each begins to
count elsewhere."""
_FOUND_IN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


@dataclass(frozen=True)
class SlurmCluster:
    """A cluster that is up."""

    folder: Path
    """Its configuration, and log/ of its daemons."""
    addresses: dict[str, str]
    """Loopback address of each node, by name: no name service knows these names."""
    daemons: dict[str, subprocess.Popen[bytes]]
    """munged, slurmctld, and a slurmd by its node's name."""


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """Two nodes of two cores; SLURM_CONF names them while the session lasts. Skips, loudly, where there is no SLURM."""
    if missing := missing_programs():
        pytest.skip(f"no SLURM here: {', '.join(missing)} missing (Debian: apt-get install slurm-wlm munge)")
    with pytest.MonkeyPatch.context() as patch, running_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        patch.setenv("SLURM_CONF", str(cluster.folder / "slurm.conf"))
        yield cluster


def missing_programs() -> list[str]:
    """Those of SLURM's programs that are not on this machine."""
    return [program for program in PROGRAMS if shutil.which(program, path=_FOUND_IN) is None]


@contextmanager
def running_cluster(
    folder: Path, *, num_nodes: int = 2, cpus: int = 2, memory_mb: int = 4000, gpus: int = 0, starts_nodes: bool = True
) -> Iterator[SlurmCluster]:
    """Start the daemons, wait until every node is idle, and end them all at last.

    starts_nodes: without, there is only the controller, which can say of any job whether such nodes could run it
    (sbatch --test-only). gpus: of each node, by name only.
    """
    addresses = {f"node{number}": f"127.0.1.{number}" for number in range(1, num_nodes + 1)}
    for name in ("log", "state", "spool"):
        (folder / name).mkdir()
    conf = folder / "slurm.conf"
    conf.write_text(_configuration(folder, addresses, cpus=cpus, memory_mb=memory_mb, gpus=gpus))
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    daemons: dict[str, subprocess.Popen[bytes]] = {}
    cluster = SlurmCluster(folder, addresses, daemons)
    try:
        daemons["munged"] = _start(cluster, "munged", "--foreground", "--force", *_munge_files(folder))
        _wait_for(cluster, (folder / "munge.socket").exists)
        daemons["slurmctld"] = _start(cluster, "slurmctld", "-D", "-f", str(conf))
        if starts_nodes:
            for name in addresses:
                daemons[name] = start_node(cluster, name)
        else:
            _wait_for(cluster, lambda: _nodes_in_state(conf, "all") == num_nodes)
            for state in ("DOWN", "IDLE"):  # as if an operator had mended them
                asked = ["scontrol", "update", f"NodeName={','.join(addresses)}", f"State={state}", "Reason=tests"]
                subprocess.run(asked, env=_environment(conf), check=True, timeout=30)
        _wait_for(cluster, lambda: _nodes_in_state(conf, "idle") == num_nodes)
        yield cluster
    finally:
        _end_jobs(conf)
        for daemon in reversed(daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _end_jobs(conf: Path) -> None:
    """Cancel all jobs and see them end: what a daemon no longer watches would run on."""
    environment, user = _environment(conf), f"--user={os.getuid()}"
    subprocess.run(["scancel", user], env=environment, check=False, timeout=30)
    deadline = time.monotonic() + _END_S
    while time.monotonic() < deadline:
        asked = ["squeue", "--noheader", user]
        left = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False, timeout=30)
        if left.returncode or not left.stdout.strip():
            return
        time.sleep(0.2)


def start_node(cluster: SlurmCluster, name: str) -> subprocess.Popen[bytes]:
    """Start a node's slurmd (again, after a test has killed it: the caller puts it into cluster.daemons)."""
    return _start(cluster, "slurmd", "-D", "-N", name, "-f", str(cluster.folder / "slurm.conf"), log=name)


def _start(cluster: SlurmCluster, program: str, *arguments: str, log: str = "") -> subprocess.Popen[bytes]:
    # With setpriv they end with pytest, however it ends.
    path = shutil.which(program, path=_FOUND_IN)
    assert path is not None, program
    with (cluster.folder / "log" / f"{log or program}.log").open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(cluster.folder / "slurm.conf"),
            cwd=cluster.folder,
        )


def _environment(conf: Path) -> dict[str, str]:
    # Jobs get what sbatch has, not what slurmd has; a slurmd of a job's own SLURM_* variables would be confused.
    others = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    return {**others, "SLURM_CONF": str(conf)}


def _munge_files(folder: Path) -> list[str]:
    names = {"key": "munge.key", "socket": "munge.socket", "pid": "munge.pid", "log": "log/munge.log"}
    files = {f"{kind}-file" if kind != "socket" else kind: folder / name for kind, name in names.items()}
    return [f"--{option}={path}" for option, path in {**files, "seed-file": folder / "munge.seed"}.items()]


def _wait_for(cluster: SlurmCluster, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while not condition():
        dead = [name for name, daemon in cluster.daemons.items() if daemon.poll() is not None]
        if dead or time.monotonic() > deadline:
            logs = "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in cluster.folder.glob("log/*.log"))
            raise RuntimeError(f"SLURM did not come up (ended: {dead or 'none'})\n{logs}")
        time.sleep(0.1)


def _nodes_in_state(conf: Path, state: str) -> int:
    asked = ["sinfo", "--noheader", "--Node", f"--states={state}", "--format=%N"]
    found = subprocess.run(asked, env=_environment(conf), capture_output=True, text=True, check=False, timeout=30)
    return len(set(found.stdout.split()))  # a line for each of its partitions


def _configuration(folder: Path, addresses: dict[str, str], *, cpus: int, memory_mb: int, gpus: int) -> str:
    user = pwd.getpwuid(os.getuid()).pw_name
    controller, *ports = _free_ports(1 + len(addresses))
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr={address} Port={port} CPUs={cpus} "
        f"RealMemory={memory_mb} State=UNKNOWN" + (f" Gres=gpu:{gpus}" if gpus else "")
        for (name, address), port in zip(addresses.items(), ports, strict=True)
    )
    return f"""
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
FirstJobId={random.randrange(1, _MOST_JOBS)}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
PropagateResourceLimitsExcept=ALL
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=15
KillWait=5
JobRequeue=1
{"GresTypes=gpu" if gpus else ""}
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=1 State=UP
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP
PartitionName=cpu Nodes=ALL MaxTime=INFINITE State=UP
"""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
