"""examples/slurm/*.sbatch, as its stages render: `python -m tests.launch.render_examples` writes them.

The keys of the work are left out of the files: they are of every default of every command's configuration.
"""

from __future__ import annotations

import re
from pathlib import Path

from megatron_codex.config.launch import ChainConfig
from megatron_codex.launch.chain import chain_stages
from megatron_codex.launch.script import render

FOLDER = Path(__file__).parents[2] / "examples" / "slurm"
STAGES = ("preprocess", "base", "codex_s", "codex_d", "sample", "evaluate")
RUN = Path("/shared/runs/codex_12b")


def rendered_examples() -> dict[str, str]:
    """The scripts, by name."""
    files = tuple(FOLDER / f"{name}.yaml" for name in STAGES)
    stages = chain_stages(ChainConfig(stages=files, shared=(FOLDER / "cluster.yaml",), run_dir=RUN))
    scripts = {stage.name: render(stage.work.config, work_key=stage.work.key) for stage in stages}
    return {name: re.sub(r"\.done/[0-9a-f]+\"", '.done/example"', text) for name, text in scripts.items()}


if __name__ == "__main__":
    for name, text in rendered_examples().items():
        (FOLDER / f"{name}.sbatch").write_text(text)
