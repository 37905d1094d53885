"""run.sh on a machine without a GPU: it says so, runs nothing, writes nothing, and does not end as if it had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

RUN = Path(__file__).with_name("run.sh")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
@pytest.mark.parametrize(
    ("python", "line"),
    [(sys.executable, "torch finds no CUDA device"), ("/bin/false", "torch cannot be imported by /bin/false")],
    ids=["no_device", "no_torch"],
)
def test_without_a_gpu_nothing_is_run(tmp_path: Path, python: str, line: str) -> None:
    output = tmp_path / "results"
    done = subprocess.run(
        ["bash", str(RUN), str(output)],
        env=os.environ | {"PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr == f"error: tests/gpu: {line}; nothing was run, and every result stays pending\n"
    assert not done.stdout and not output.exists()
