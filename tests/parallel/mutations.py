"""Faults put into a copy of the package, one at a time: does verification catch each of them, and name a tensor?

    python -m tests.parallel.mutations DIRECTORY

Each is an edit of one file, on the layout where it shows. Edits with nothing to replace are added at the file's end:
they put the fault into megatron-core's own part. DIRECTORY/<name>.json has the report, DIRECTORY/<name>.log what the
ranks said. torch and megatron-core are imported once, and every rank of every fault is forked from there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.parallel.verify_ranks import verify_job

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 200

TP2, PP2 = {"tensor_model_parallel_size": 2}, {"pipeline_model_parallel_size": 2}
DROPOUT = {"check_dropout": True}
PACKED = {"task": "codex_s", "data": {"layout": "packed"}}
BANDED = {"attention_pattern": "alternating", "band_width": 5}


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A fault, and the layout on two ranks in which it shows."""

    name: str
    file: str
    """Below megatron_codex/."""
    old: str = ""
    new: str
    job: dict[str, Any] = field(default_factory=dict)


MUTATIONS = (
    Mutation(
        name="tensor_parallel_reduction_dropped",
        file="model/layers.py",
        new="import megatron.core.tensor_parallel.layers as _m\n"
        "_m.reduce_from_tensor_model_parallel_region = lambda x, *args, **kwargs: x\n",
        job={"parallel": TP2},
    ),
    Mutation(
        name="data_parallel_reduction_dropped",
        file="training/loss.py",
        old="        finalize(chunks, None, **kwargs)",
        new="        pass",
    ),
    Mutation(
        name="labels_shifted",
        file="training/loss.py",
        old="labels=batch.labels, **masks)",
        new="labels=batch.labels.roll(1, dims=1), **masks)",
        job={"parallel": TP2},
    ),
    Mutation(
        name="labels_shifted_in_the_data",
        file="data/prompted.py",
        old="= example.tokens[1:]",
        new="= example.tokens[:-1]",
        job=PACKED,
    ),
    Mutation(
        name="mean_of_micro_batch_means",
        file="training/loss.py",
        old="return total / num_tokens,",
        new="return total / loss_mask_BS.sum().clamp(min=1),",
        job={"parallel": PP2},
    ),
    Mutation(
        name="tokens_of_one_data_parallel_rank",
        file="training/step.py",
        old="        dist.all_reduce(counts, group=layout.dp_group)",
        new="        counts *= layout.dp_size",
    ),
    Mutation(
        name="mask_after_the_mean",
        file="training/loss.py",
        old="torch.sum(losses_BS.float() * loss_mask_BS)",
        new="torch.sum(losses_BS.float().mean() * loss_mask_BS)",
        job=PACKED | {"parallel": TP2},
    ),
    Mutation(
        name="tied_embedding_reduction_removed",
        file="platform/megatron_core.py",
        new="import sys as _s\n"
        "_m = _s.modules['megatron.core.distributed.finalize_model_grads']\n"
        "_m._allreduce_word_embedding_grads = lambda *args, **kwargs: None\n",
        job={"parallel": PP2},
    ),
    Mutation(
        name="sequence_parallel_gather_missing",
        file="model/layers.py",
        new="import megatron.core.tensor_parallel.layers as _m\n"
        "def _own_twice(full, own, **kwargs):\n"
        "    full.view(2, -1).copy_(own.reshape(1, -1))\n"
        "    return type('Done', (), {'wait': lambda self: None})()\n"
        "_m.dist_all_gather_func = _own_twice\n",
        job={"parallel": TP2 | {"sequence_parallel": True}},
    ),
    Mutation(
        name="sequence_parallel_norms_not_summed",
        file="model/layer_norm.py",
        old="= config.sequence_parallel ",
        new="= False ",
        job={"parallel": TP2 | {"sequence_parallel": True}},
    ),
    Mutation(
        name="last_micro_batch_only",
        file="platform/megatron_core.py",
        new="import inspect as _i, sys as _s\n"
        "_m = _s.modules['megatron.core.distributed.distributed_data_parallel']\n"
        "_source = _i.getsource(_m)\n"
        "assert 'param.main_grad.add_(' in _source\n"
        "exec(_source.replace('param.main_grad.add_(', 'param.main_grad.copy_('), _m.__dict__)\n"
        "DistributedDataParallel = _m.DistributedDataParallel\n",
        job={"parallel": PP2},
    ),
    Mutation(
        name="positions_not_restarted",
        file="data/prompted.py",
        old="= np.arange(length)",
        new="= np.arange(column, column + length)",
        job=PACKED | {"parallel": TP2, "training": {"global_batch_size": 8}},
    ),
    Mutation(
        name="padded_vocabulary_in_the_softmax",
        file="model/head.py",
        old="true_columns=min(columns, max(0, true_vocab_size - columns * tp_group.rank())),",
        new="true_columns=columns,",
        job={"parallel": TP2},
    ),
    Mutation(
        name="documents_see_each_other",
        file="model/attention.py",
        old="    begins_BS[:, 1:] = document_ids_BS[:, 1:] != document_ids_BS[:, :-1]",
        new="    begins_BS[:, 1:] = False",
        job=PACKED | {"parallel": PP2},
    ),
    Mutation(
        name="band_one_too_wide",
        file="model/attention.py",
        old=".triu_(1 - band_width)",
        new=".triu_(-band_width)",
        job={"model": BANDED, "parallel": PP2},
    ),
    Mutation(
        name="bands_by_layer_of_the_stage",
        file="model/attention.py",
        old="config.window_attn_skip_freq, layer_number)",
        new="config.window_attn_skip_freq, (layer_number - 1) % 3 + 1)",
        job={"model": BANDED | {"num_layers": 6}, "parallel": PP2},
    ),
    Mutation(
        name="biases_decay",
        file="training/engine.py",
        old=' * group["wd_mult"]',
        new="",
        job={"optimizer": {"weight_decay": 0.3}, "steps": 2},
    ),
    Mutation(
        name="stale_random_numbers_in_the_next_step",
        file="training/loop.py",
        old="seed_step(config.training.seed, step, ",
        new="seed_step(config.training.seed, 0, ",
        job=DROPOUT,
    ),
    Mutation(
        name="stale_random_numbers_in_recompute",
        file="model/attention.py",
        old="forked = dropout > 0.0 and not self.config.sequence_parallel",
        new="forked = dropout > 0.0",
        job=DROPOUT | {"parallel": TP2 | {"sequence_parallel": True, "recompute": "full"}},
    ),
    Mutation(
        name="random_numbers_of_another_data_parallel_rank",
        file="training/randomness.py",
        old="{layout.pp_rank} {layout.dp_rank}",
        new="{layout.pp_rank}",
        job=DROPOUT,
    ),
)
"""Two ranks are data-parallel where the job names no layout."""

IN_THE_TEST_COMMAND = (
    "tensor_parallel_reduction_dropped",
    "labels_shifted",
    "mean_of_micro_batch_means",
    "mask_after_the_mean",
    "tied_embedding_reduction_removed",
    "sequence_parallel_gather_missing",
    "last_micro_batch_only",
    "positions_not_restarted",
    "padded_vocabulary_in_the_softmax",
    "stale_random_numbers_in_recompute",
)
"""One of each kind: a fault takes some seconds."""

SOUND = Mutation(name="sound", file="training/loss.py", new="", job=DROPOUT | {"parallel": TP2})
"""No fault: verification must find none."""


def main() -> None:
    """Run the faults named on the command line after the directory, or all."""
    directory = Path(sys.argv[1]).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    _import_libraries()
    named = sys.argv[2:] or [mutation.name for mutation in (SOUND, *MUTATIONS)]
    for mutation in (SOUND, *MUTATIONS):
        if mutation.name not in named:
            continue
        report = _run(mutation, directory)
        (directory / f"{mutation.name}.json").write_text(json.dumps(report))
        print(f"{mutation.name}: {report.get('first') or report.get('error') or 'no difference found'}", flush=True)


def _import_libraries() -> None:
    """What takes seconds, once. Without torch.compile, as platform/cpu.py imports it where there is no CUDA."""
    import torch

    compile_function = torch.compile
    torch.compile = lambda function=None, **kwargs: function or (lambda wrapped: wrapped)  # type: ignore[assignment]
    for name in ("models.gpt", "optimizer", "pipeline_parallel", "dist_checkpointing", "distributed"):
        import_module(f"megatron.core.{name}")

    torch.compile = compile_function
    torch.set_num_threads(1)
    assert not any(name.split(".")[0] == "megatron_codex" for name in sys.modules), "each copy is to be imported anew"


def mutated_copy(mutation: Mutation, directory: Path) -> Path:
    """A directory with a copy of the package that has the fault."""
    copy = directory / mutation.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "megatron_codex", copy / "megatron_codex", ignore=shutil.ignore_patterns("__pycache__"))
    path = copy / "megatron_codex" / mutation.file
    text = path.read_text()
    assert text.count(mutation.old) == 1 or not mutation.old, f"{mutation.name}: the text is not once in {path.name}"
    path.write_text(text.replace(mutation.old, mutation.new) if mutation.old else f"{text}\n{mutation.new}")
    return copy


def _run(mutation: Mutation, directory: Path) -> dict[str, Any]:
    copy = mutated_copy(mutation, directory)
    report = copy / "report.json"
    ranks = [os.fork() or _be_rank(rank, mutation, copy, report) for rank in range(2)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks]
    if codes != [0, 0] or not report.exists():
        return {"error": f"ranks ended with {codes}: {(copy / 'rank0.log').read_text()[-2000:]}"}
    found: dict[str, Any] = json.loads(report.read_text())
    shutil.rmtree(copy)
    return found


def _be_rank(rank: int, mutation: Mutation, copy: Path, report: Path) -> int:
    """One rank of the copy; does not return."""
    code = 1
    log = os.open(copy / f"rank{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.alarm(TIMEOUT_S)
    try:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
        sys.path.insert(0, str(copy))
        import torch.distributed as dist

        from megatron_codex import config
        from megatron_codex.config.load import build_config
        from megatron_codex.config.verify import VerifyConfig
        from megatron_codex.training.verify import verify

        assert str(copy) in str(config.__file__)
        dist.init_process_group("gloo", init_method=f"file://{copy}/store", rank=rank, world_size=2)
        made = verify(build_config(VerifyConfig, verify_job(**{"steps": 1} | mutation.job)))
        if rank == 0:
            first = None if made.first is None else str(made.first)
            report.write_text(json.dumps({"first": first, "layout": made.layout}))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
