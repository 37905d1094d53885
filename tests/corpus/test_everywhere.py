"""Both commands on processes, on MPI ranks and on a real SLURM's arrays: the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
AS_ROOT = {f"{name}_ALLOW_RUN_AS_ROOT{confirm}": "1" for name in ("OMPI", "PRTE") for confirm in ("", "_CONFIRM")}
MPIRUN = [str(Path(sys.executable).with_name("mpirun")), "--oversubscribe", "-n", "3"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four archives, so four tasks; of equal files in two of them one stays."""
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(4):
        with zipfile.ZipFile(folder / f"{number}.zip", "w") as archive:
            for file in range(20):
                lines = "".join(f"name_{number}_{file}_{line} = {line}\n" for line in range(100))
                archive.writestr(f"{file}.py", lines if file else "same = 1\n")
    return folder


def run(folder: Path, inputs: Path, *, before: tuple[str, ...] = (), after: tuple[str, ...] = ()) -> dict[str, bytes]:
    """What both commands write, one after the other."""
    corpus, tokens = folder / "corpus", folder / "tokens" / "p"
    for tool, *arguments in (
        ("build_corpus.py", "--input", inputs, "--output", corpus, "--shard-bytes", 50_000),
        ("preprocess_data.py", "--input", corpus, "--output-prefix", tokens, "tokenizer.vocab_size=1000"),
    ):
        command = [*before, sys.executable, str(TOOLS / tool), *map(str, arguments), *after]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=120, env={**os.environ, **AS_ROOT}, check=False
        )
        assert done.returncode == 0, done.stderr
    files = [*sorted(corpus.glob("shard-*.parquet")), tokens.with_suffix(".bin"), tokens.with_suffix(".idx")]
    assert not list(folder.rglob("*.partial"))
    return {path.name: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def on_one_process(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    written = run(tmp_path_factory.mktemp("one"), inputs, after=("--workers", "1"))
    assert len(written) > 4, "several shards, so several tasks of every stage"
    return written


def test_mpi_ranks_write_the_bytes_of_one_process(
    tmp_path: Path, inputs: Path, on_one_process: dict[str, bytes]
) -> None:
    assert run(tmp_path, inputs, before=tuple(MPIRUN), after=("--executor", "mpi")) == on_one_process


@pytest.mark.slurm
def test_a_slurm_array_writes_the_bytes_of_one_process(
    tmp_path: Path, inputs: Path, on_one_process: dict[str, bytes], slurm_cluster: object
) -> None:
    before = _jobs()
    assert run(tmp_path, inputs, after=("--executor", "slurm", "--workers", "2")) == on_one_process
    jobs = _jobs() - before
    assert len({job.split()[0].partition("_")[0] for job in jobs}) >= 3, "reading, writing shards, tokenising"
    assert {job.split()[1] for job in jobs} == {"COMPLETED"}


def _jobs() -> set[str]:
    asked = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T"]
    return set(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines())
