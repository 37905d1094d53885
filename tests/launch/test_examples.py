"""examples/slurm: the scripts are what their values render, and SLURM takes them for a cluster of 64 nodes x 8 GPUs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from megatron_codex.errors import InputError
from megatron_codex.launch.queue import submit_script
from tests.launch.render_examples import FOLDER, STAGES, rendered_examples
from tests.slurm_cluster import missing_programs, running_cluster


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    return rendered_examples()


@pytest.fixture(scope="module")
def large_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Its controller, which knows 64 nodes of 96 cores and 8 GPUs; no GPU and no node is there."""
    if missing := missing_programs():
        pytest.skip(f"no SLURM here: {', '.join(missing)} missing (Debian: apt-get install slurm-wlm munge)")
    shape = {"num_nodes": 64, "cpus": 96, "memory_mb": 500_000, "gpus": 8}
    folder = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch, running_cluster(folder, **shape, starts_nodes=False):
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield


def test_every_example_is_rendered() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*STAGES, "cluster"}
    assert {path.stem for path in FOLDER.glob("*.sbatch")} == set(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_a_script_is_what_its_values_render(scripts: dict[str, str], name: str) -> None:
    written = (FOLDER / f"{name}.sbatch").read_text()
    assert written == scripts[name], "python -m tests.launch.render_examples writes them anew"


@pytest.mark.slurm
@pytest.mark.parametrize("name", STAGES)
def test_slurm_takes_the_script(large_cluster: None, scripts: dict[str, str], name: str) -> None:
    assert "to start at" in submit_script(scripts[name], test_only=True)


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("line", "changed"),
    [("--nodes=64", "--nodes=65"), ("--gres=gpu:8", "--gres=gpu:9"), ("--partition=gpu", "--partition=tpu")],
)
def test_slurm_refuses_what_the_cluster_has_not(
    large_cluster: None, scripts: dict[str, str], line: str, changed: str
) -> None:
    assert line in scripts["base"]
    with pytest.raises(InputError, match="SLURM refuses the job"):
        submit_script(scripts["base"].replace(line, changed), test_only=True)
