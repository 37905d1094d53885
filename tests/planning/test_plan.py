"""Plans of the shipped configurations, the search, the page, and what a wrong command says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.execution import available_cores
from megatron_codex.config.load import load_config
from megatron_codex.config.planning import PlanConfig
from megatron_codex.config.presets import PRESET_NAMES
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.planning.dry_run import RankRecord, clean_processes, dry_run
from megatron_codex.planning.hardware_files import hardware_names, load_hardware
from megatron_codex.planning.picture import plan_page
from megatron_codex.planning.plan import Plan, make_plan
from megatron_codex.planning.probe import probe
from megatron_codex.planning.search import estimate, search, valid_layouts
from megatron_codex.planning.table import plan_to_dict, plan_to_text, search_to_text

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "examples" / "configs"
SMALL = ["model.preset=null", "model.num_layers=4", "model.hidden_size=256", "model.num_attention_heads=4"]
SMALL += ["model.seq_length=256", "training.global_batch_size=16", "training.micro_batch_size=1"]


def _small(*overrides: str) -> PlanConfig:
    return load_config(PlanConfig, CONFIGS / "codex_12m.yaml", [*SMALL, *overrides])


@pytest.fixture(scope="module")
def plan() -> Plan:
    layout = ["parallel.tensor_model_parallel_size=2", "parallel.sequence_parallel=true"]
    layout += ["parallel.pipeline_model_parallel_size=2", "world_size=8"]
    config = _small(*layout)
    return make_plan(config, load_hardware(config.hardware))


def test_a_plan_adds_up(plan: Plan) -> None:
    assert plan.time is not None and plan.flops is not None
    assert plan.flops.executed == plan.flops.model  # nothing is computed again
    # 128 rows of padding a tensor-parallel rank at most, against biases and norms, which do no product.
    assert plan.flops.model == pytest.approx(plan.flops.formula, rel=0.01)
    assert plan.tokens_per_s == pytest.approx(16 * 256 / plan.time.step_s)
    assert plan.device_hours == pytest.approx(plan.run_tokens / plan.tokens_per_s / 3600 * 8)
    assert plan.fits and not replace(plan, hardware=replace(plan.hardware, memory_gb=1e-3)).fits
    assert 0 < plan.time.bubble < 1 and 0 < plan.mfu < 1


def test_a_plan_as_text_json_and_page(plan: Plan) -> None:
    text = plan_to_text(plan)
    assert "pipeline 2" in text and "days" in text and "DOES NOT FIT" not in text
    found = json.loads(json.dumps(plan_to_dict(plan)))
    assert [rank["stage"] for rank in found["ranks"]] == [0, 1]
    assert found["peak_bytes"] == max(rank["peak_bytes"]["total"] for rank in found["ranks"])
    page = plan_page(plan)
    assert page.count("<svg") == 2 and "<script" not in page and "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.slow
def test_a_probe_is_near_a_dry_run(plan: Plan) -> None:
    assert plan.time is not None
    guess = estimate(plan.config, plan.hardware, probe(plan.config))
    # The probe adds logits to the layers' peak; here, in so small a model, they do not stand at the same time.
    assert guess.peak_bytes == pytest.approx(plan.peak_bytes, rel=0.15)
    assert guess.time.step_s == pytest.approx(plan.time.step_s, rel=0.15)


def test_the_search_finds_a_layout_that_fits() -> None:
    config = _small("world_size=2", "search=true", "training.global_batch_size=2", "memory_gb=0.5")
    hardware = load_hardware(config.hardware, memory_gb=config.memory_gb)
    found = search(config, hardware, num_dry_runs=1)
    assert found[0].plan is not None and found[0].plan.fits
    assert "dry run" in search_to_text(found, hardware)
    sizes = {(e.config.parallel.tensor_model_parallel_size, e.config.parallel.recompute) for e in found}
    assert sizes <= {(tp, r) for tp in (1, 2) for r in ("none", "selective", "full")}
    assert [e.time.step_s for e in found[1:]] == sorted(e.time.step_s for e in found[1:])


def test_a_search_without_a_layout_that_fits_says_what_the_least_takes() -> None:
    config = _small("world_size=1", "search=true", "training.global_batch_size=2")
    with pytest.raises(InputError, match=r"no layout fits: the least peak of 6 layouts is 0\.\d+ GB a device"):
        search(config, load_hardware("h100-80", memory_gb=0.01), num_dry_runs=1)


def test_every_layout_of_the_search_is_one_that_training_takes() -> None:
    config = _small("world_size=8", "search=true")
    layouts = list(valid_layouts(config, load_hardware("h100-80")))
    assert len(layouts) > 20
    for layout in layouts:
        layout.check_world_size(8)
        assert layout.training.global_batch_size == 16


@pytest.mark.parametrize("name", hardware_names())
def test_the_shipped_hardware_loads(name: str) -> None:
    hardware = load_hardware(name)
    assert hardware.source and hardware.fp32_tflops < hardware.bf16_tflops
    assert hardware.network_gb_per_s < hardware.node_gb_per_s < hardware.memory_gb_per_s


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["world_size=6"], "6 ranks cannot be shared by 8 x 4 = 32", id="ranks"),
        pytest.param(["world_size=512", "--hardware", "h1000"], "hardware: got 'h1000'", id="hardware"),
        pytest.param(["world_size=96"], "training.global_batch_size: got 1024; must be a multiple", id="batch"),
        pytest.param(["world_size=32", "rank=32"], "rank: got 32; must be in [0, world_size = 32)", id="rank"),
        pytest.param(["--hardware", "{yaml}", "world_size=32"], "bf16_tflops: got -1.0; must be positive", id="file"),
        pytest.param(["world_size=32", "--hardware", "none.yaml"], "none.yaml", id="no file"),
        pytest.param([], "world_size: is required", id="no ranks"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text((ROOT / "megatron_codex/planning/hardware/h200.yaml").read_text() + "bf16_tflops: -1\n")
    given = [argument.replace("{yaml}", str(file)) for argument in arguments]
    layout = ["parallel.tensor_model_parallel_size=8", "parallel.pipeline_model_parallel_size=4"]
    config = ["--config", str(CONFIGS / "codex_12b.yaml")]
    command = [sys.executable, "tools/plan.py", *config, *layout, "training.micro_batch_size=1", *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr and done.stderr.count("\n") == 1 and not done.stdout


def test_a_broken_yaml_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("name: x\nmemory_gb: [\n")
    with pytest.raises(InputError, match=r"broken\.yaml:\d+"):
        load_hardware(str(file))
    file.write_text("name: x\nmemory: 80\n")
    with pytest.raises(ConfigError, match=r"memory: .*is not a known key"):
        load_hardware(str(file))


LAYOUTS = sorted(path.stem for path in (CONFIGS / "layouts").glob("*.yaml"))


def test_every_size_has_layouts() -> None:
    on_one = [name for name in PRESET_NAMES if name != "codex_12b"]  # whose weights and states alone are 231 GB
    expected = [f"{name}_1" for name in on_one] + [f"{name}_{n}" for name in PRESET_NAMES for n in (8, 64)]
    assert sorted([*expected, "codex_12b_512"]) == LAYOUTS


def _layout_config(name: str) -> PlanConfig:
    size, _, count = name.rpartition("_")
    files = [str(CONFIGS / f"{size}.yaml"), str(CONFIGS / "layouts" / f"{name}.yaml")]
    return parse_command(PlanConfig, ["--config", files[0], "--config", files[1], "--world-size", count])


def _play_one_layer_a_chunk(name: str) -> RankRecord:
    config = _layout_config(name)
    chunks = config.parallel.pipeline_model_parallel_size * config.parallel.num_chunks
    config = replace(config, model=replace(config.model, preset=None, num_layers=chunks))
    return dry_run(config, rank=0, world_size=config.world_size)


@pytest.fixture(scope="module")
def layout_records() -> dict[str, RankRecord]:
    """Each layout at its full width, ranks and batch, but of one layer a chunk: twenty times as quick."""
    with clean_processes(available_cores()) as pool:
        return dict(zip(LAYOUTS, pool.map(_play_one_layer_a_chunk, LAYOUTS), strict=True))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_can_be_played(layout_records: dict[str, RankRecord], name: str) -> None:
    config, record = _layout_config(name), layout_records[name]
    copies = config.world_size // config.parallel.model_parallel_size
    assert record.num_microbatches * config.training.micro_batch_size * copies == config.training.global_batch_size
    assert record.peak_total_bytes < load_hardware("a100-80").usable_bytes
    groups = {collective.group: len(collective.ranks) for collective in record.collectives}
    assert groups.get("data", 1) == copies
    assert groups.get("tensor", 1) == config.parallel.tensor_model_parallel_size
