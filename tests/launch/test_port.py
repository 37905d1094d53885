"""port.sh: ranks meet at a port that nobody uses; after a restart at another one; two jobs at once at two."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from megatron_codex.config.launch import LaunchConfig
from megatron_codex.launch.script import render
from tests.launch.fake_slurm import FakeSlurm

PORTS = range(10000, 30000)
STEP = 7919


@pytest.fixture
def slurm(tmp_path: Path) -> FakeSlurm:
    (tmp_path / "slurm").mkdir()
    return FakeSlurm(tmp_path / "slurm")


def script(tmp_path: Path, slurm: FakeSlurm) -> str:
    """A job whose rank says where it would meet the others."""
    slurm.rank('echo "port $MASTER_ADDR $MASTER_PORT"')
    python = str(slurm.folder / "rank")
    return render(LaunchConfig(command="train", run_dir=tmp_path / "run", python=python, preflight=False), work_key="k")


def port_of(job: subprocess.Popen[str]) -> int:
    output, _ = job.communicate(timeout=60)
    (line,) = (line for line in output.splitlines() if line.startswith("port "))
    _, address, port = line.split()
    assert address == "127.0.0.1"
    return int(port)


@contextmanager
def listening(address: str, port: int = 0) -> Iterator[int]:
    """Another program at a port of the range; 0: at the first that is free."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for wanted in [port] if port else PORTS:
        with socket.socket(family) as plant:
            try:
                plant.bind((address, wanted))
            except OSError:
                continue
            plant.listen()
            yield wanted
            return
    raise AssertionError("no port of the range is free")


def test_a_free_port_is_the_jobs_own_and_a_restart_has_another(tmp_path: Path, slurm: FakeSlurm) -> None:
    with listening("127.0.0.1") as port:
        pass
    text = script(tmp_path, slurm)
    assert port_of(slurm.start(text, job=20000 + port - 10000)) == port
    again = port_of(slurm.start(text, job=port - 10000, restarts=1))
    assert again != port and again in PORTS


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "127.0.1.77"])
def test_a_port_that_another_program_has_is_passed_over_and_so_is_the_next(
    tmp_path: Path, slurm: FakeSlurm, address: str
) -> None:
    with ExitStack() as plants:
        taken = plants.enter_context(listening(address))
        following = 10000 + (taken - 10000 + STEP) % 20000
        plants.enter_context(listening(address, following))
        chosen = port_of(slurm.start(script(tmp_path, slurm), job=taken - 10000))
        assert chosen in PORTS and chosen not in (taken, following)


def test_two_jobs_that_start_together_have_two_ports(tmp_path: Path, slurm: FakeSlurm) -> None:
    """Of two clusters, with the same number; neither listens yet when the other looks."""
    text = script(tmp_path, slurm)
    slurm.rank('echo "port $MASTER_ADDR $MASTER_PORT"; echo >>"$MCX_RUN_DIR/up"; sleep 1')
    jobs = [slurm.start(text, job=41) for _ in range(3)]
    ports = [port_of(job) for job in jobs]
    assert len((tmp_path / "run" / "up").read_text().splitlines()) == 3
    assert len(set(ports)) == 3


def test_a_job_that_has_ended_leaves_its_port(tmp_path: Path, slurm: FakeSlurm) -> None:
    with listening("127.0.0.1") as port:
        pass
    text = script(tmp_path, slurm)
    assert [port_of(slurm.start(text, job=port - 10000)) for _ in range(2)] == [port, port]
