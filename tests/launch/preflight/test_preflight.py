"""Planted faults of one node of three are named, with exit code 76; what all nodes share is the job's, with 1."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_codex.exit_codes import ExitCode
from tests.parallel.jobs import base_job, write_data
from tests.parallel.ranks import ROOT

TIMEOUT_S = 240

_NVIDIA_SMI = """#!/bin/sh
echo "0, NVIDIA H100, {errors}, {used}, 81559"
"""


@dataclass
class Ended:
    """How the ranks of a preflight ended."""

    codes: list[int]
    errors: list[str]
    output: str
    bad_nodes: list[list[str]]


def _start(directory: Path, name: str, *, ranks: int = 3, **plants: Any) -> list[subprocess.Popen[str]]:
    """Ranks on nodes node0, node1, ...; environment<N> and command<N> are those of one of them."""
    job = base_job(directory, training={"output_dir": str(directory / name), "global_batch_size": 6 * ranks})
    job["preflight"] = {"timeout_s": 40, "disk_test_mb": 1, "link_test_mb": 0.5} | plants.get("preflight", {})
    (directory / f"{name}.yaml").write_text(yaml.safe_dump(job))
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    processes = []
    for rank in range(ranks):
        environment = os.environ | {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": "0"}
        environment |= {"SLURMD_NODENAME": f"node{rank}", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        environment |= {"PYTHONPATH": str(ROOT)} | plants.get(f"environment{rank}", {})
        command = [sys.executable, "-m", "tests.launch.preflight.rank", "--config", str(directory / f"{name}.yaml")]
        wrapped = [*plants.get(f"command{rank}", []), *command]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(wrapped, cwd=ROOT, env=environment, **pipes))
    return processes


def _fake_package(directory: Path) -> Path:
    """A folder which, on PYTHONPATH, makes numpy another version."""
    folder = directory / "other" / "numpy-9.9.9.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 9.9.9\n")
    return folder.parent


def _fake_gpu(directory: Path, name: str, *, errors: int, used: int) -> dict[str, str]:
    folder = directory / name
    folder.mkdir()
    (folder / "nvidia-smi").write_text(_NVIDIA_SMI.format(errors=errors, used=used))
    (folder / "nvidia-smi").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def _other_code(directory: Path) -> list[str]:
    """What a rank is started by that runs this package with one file more."""
    copy = directory / "changed"
    copy.mkdir()
    for part in ROOT.iterdir():
        if part.name in ("tools", "tests"):
            (copy / part.name).symlink_to(part)
    subprocess.run(["cp", "-rs", str(ROOT / "megatron_codex"), str(copy)], check=True)
    (copy / "megatron_codex" / "one_more.py").write_text("")
    return ["sh", "-c", f'cd {copy} && PYTHONPATH=. exec "$@"', "sh"]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """How each of many preflights ended. They go side by side: mostly they wait."""
    directory = tmp_path_factory.mktemp("preflight")
    write_data(directory)
    healthy = _fake_gpu(directory, "healthy", errors=0, used=500)
    full = f"mkdir -p {directory}/full/checkpoints && mount -t tmpfs -o size=500k tmpfs {directory}/full/checkpoints"
    started = {
        "good": _start(directory, "good", environment0=healthy, environment1=healthy, preflight={"timeout_s": 120}),
        "clock": _start(directory, "clock", environment2={"MCX_PLANT": "clock"}),
        "silent": _start(directory, "silent", environment1={"MCX_PLANT": "silent"}, preflight={"timeout_s": 15}),
        "blocked": _start(directory, "blocked", environment1={"MCX_PLANT": "blocked"}),
        "package": _start(directory, "package", environment1={"PYTHONPATH": f"{_fake_package(directory)}:{ROOT}"}),
        "code": _start(directory, "code", command2=_other_code(directory)),
        "gpu": _start(
            directory, "gpu", environment0=healthy, environment1=_fake_gpu(directory, "ill", errors=3, used=500)
        ),
        "small": _start(directory, "small", preflight={"min_disk_mb_s": 1e9}),
    }
    if os.geteuid() == 0:
        started["full"] = _start(
            directory, "full", command1=["unshare", "--mount", "sh", "-c", f'{full} && exec "$@"', "sh"]
        )
    found = {}
    try:
        for name, ranks in started.items():
            waited = [process for rank, process in enumerate(ranks) if (name, rank) != ("silent", 1)]
            said = [process.communicate(timeout=TIMEOUT_S) for process in waited]
            path = directory / name / "launch" / "bad_nodes.txt"
            rows = [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []
            codes = [process.returncode for process in waited]
            found[name] = Ended(codes, [error for _, error in said], said[0][0], rows)
    finally:
        for process in (process for ranks in started.values() for process in ranks):
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
    return found


@pytest.mark.parametrize(
    ("name", "node", "line"),
    [
        ("clock", "node2", "error: node2: clock: its clock is 30.0 s ahead of the others'"),
        ("silent", "(node of rank 1)", "error: (node of rank 1): answers: rank 1 of 3 did not answer within 15 s"),
        ("blocked", "node1", "error: node1: network: node0 cannot reach node1: 127.0.0.1 port"),
        ("package", "node1", "error: node1: packages: numpy 9.9.9, the others have "),
        ("code", "node2", "error: node2: code: its megatron_codex is "),
        ("gpu", "node1", "error: node1: gpu: GPU 0 has 3 uncorrected memory errors"),
        pytest.param(
            "full",
            "node1",
            "error: node1: disk: ",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root"),
        ),
    ],
)
def test_a_bad_node_is_named_and_all_ranks_end_with_76(
    ended: dict[str, Ended], name: str, node: str, line: str
) -> None:
    found = ended[name]
    assert set(found.codes) == {ExitCode.BAD_NODE}
    assert found.errors[0].startswith(line) and found.errors[0].count("\n") == 1
    assert set(found.errors[1:]) == {""}
    assert [row[0] for row in found.bad_nodes] == [node]
    assert len(found.bad_nodes[0]) == 3


def test_a_full_disk_says_so(ended: dict[str, Ended]) -> None:
    if "full" in ended:
        assert "No space left on device" in ended["full"].errors[0]


def test_good_nodes_pass_and_no_node_is_named(ended: dict[str, Ended]) -> None:
    found = ended["good"]
    assert found.codes == [0, 0, 0], found.errors
    assert found.output == "preflight: 3 ranks on 3 nodes are good\n"
    assert found.bad_nodes == []


def test_what_every_node_has_is_the_jobs_and_no_node_is_kept_out(ended: dict[str, Ended]) -> None:
    found = ended["small"]
    assert found.codes == [ExitCode.WORK_FAILED] * 3
    assert found.errors[0].startswith("error: every node: disk: ") and "min_disk_mb_s" in found.errors[0]
    assert found.bad_nodes == []
