"""Peak memory and time of conversions of random models of several sizes: the slope that says what 12B needs.

By hand: python -m tests.convert.measure_memory [--work DIR] [--presets codex_12m codex_85m ...]

Each conversion runs in a process of its own. Printed for each model: bytes of its weights (fp32), of its largest
tensor, of a layer, and the peak resident memory of `checkpoint -> huggingface` and `huggingface -> checkpoint`, over
that of a process that only imports.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from megatron_codex.config.load import config_to_dict
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.convert.checkpoint_output import write_checkpoint
from megatron_codex.convert.layout import FileLayout
from megatron_codex.convert.weights import Group, TensorSource, model_shapes
from tests.convert.conftest import Nothing
from tests.parallel.ranks import ROOT

_RUN = """
import resource, sys
from pathlib import Path
import megatron_codex.convert.run as run
from megatron_codex.config.convert import ConvertConfig
if len(sys.argv) > 1:
    run.convert(ConvertConfig(input=Path(sys.argv[1]), output=Path(sys.argv[2]), to=sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def main() -> None:
    """Convert each size there and back, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--presets", nargs="+", default=["codex_12m", "codex_85m", "codex_300m", "codex_679m"])
    parser.add_argument("--alternating", action="store_true", help="GPT-Neo, with a band of 256")
    arguments = parser.parse_args()
    base = _peak()
    print(f"a process that only imports: {base / 1e6:.0f} MB")
    for preset in arguments.presets:
        banded = {"attention_pattern": "alternating", "band_width": 256} if arguments.alternating else {}
        model = ModelConfig(preset=preset, **banded)
        with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
            directory = Path(temporary)
            sizes = _write(directory / "run", model)
            out = _peak(directory / "run", directory / "folder", "huggingface") - base
            back = _peak(directory / "folder", directory / "back", "checkpoint") - base
        layer = 4 * model.num_layer_parameters // model.num_layers
        print(
            f"{preset}: weights {sum(sizes) / 1e6:.0f} MB, largest tensor {max(sizes) / 1e6:.0f}, "
            f"layer {layer / 1e6:.0f}; peak to huggingface {out / 1e6:.0f}, to checkpoint {back / 1e6:.0f} MB",
            flush=True,
        )


def _write(run: Path, model: ModelConfig) -> list[int]:
    tokenizer = TokenizerConfig()
    generator = torch.Generator().manual_seed(1)

    def group(name: str, shape: tuple[int, ...]) -> Group:
        def make(source: TensorSource) -> Iterator[Tensor]:
            drawn = torch.randn(shape, generator=generator) * 0.02
            yield 1 + drawn if name.endswith("layernorm.weight") else drawn

        return Group(shapes={name: shape}, make=make)

    shapes = model_shapes(model, vocab_size=tokenizer.true_vocab_size)
    layout = FileLayout(model=model, tensor_model_parallel_size=2, pipeline_model_parallel_size=2, data_parallel_size=1)
    write_checkpoint(
        run,
        [group(name, shape) for name, shape in shapes.items()],
        Nothing(),
        layout=layout,
        config={"model": config_to_dict(model), "tokenizer": config_to_dict(tokenizer)},
        described={"step": 1, "num_updates": 1, "num_tokens": 1, "has_optimizer": False},
        inputs=[],
    )
    return [4 * prod(shape) for shape in shapes.values()]


def _peak(*arguments: Path | str) -> int:
    """Bytes of resident memory, at most, of a conversion in a process of its own."""
    command = [sys.executable, "-c", _RUN, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return int(done.stdout)


if __name__ == "__main__":
    main()
