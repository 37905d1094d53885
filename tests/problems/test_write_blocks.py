from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.config.building_blocks import BuildingBlocksConfig
from megatron_codex.config.load import build_config
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.jsonl import read_jsonl
from megatron_codex.manifest import read_manifest
from megatron_codex.problems.building_blocks.write import write_building_blocks
from megatron_codex.problems.readers import read_problems


def test_the_folder_holds_what_was_asked_for(tmp_path: Path) -> None:
    config = BuildingBlocksConfig(
        output=tmp_path / "blocks",
        num_train=6,
        num_valid=0,
        num_held_out=4,
        num_mis_specified=2,
        module_bytes=2000,
        chain_lengths=(1, 2),
        measured_chain_lengths=(3,),
    )
    counts = write_building_blocks(config)
    assert {key: counts[key] for key in ("train", "held_out", "mis_specified")} == {
        "train": 6,
        "held_out": 4,
        "mis_specified": 2,
    }
    assert not (config.output / "valid.jsonl").exists()
    lengths = {
        split: [problem.provenance["chain_length"] for problem in read_problems(config.output / f"{split}.jsonl")]
        for split in ("train", "held_out", "mis_specified")
    }
    assert lengths == {"train": [1, 2] * 3, "held_out": [3] * 4, "mis_specified": [1, 2]}
    assert all(row["content"] for row in read_jsonl(config.output / "modules.jsonl"))
    assert read_manifest(config.output)["counts"] == counts


def test_a_request_that_cannot_be_met_leaves_nothing(tmp_path: Path) -> None:
    config = BuildingBlocksConfig(
        output=tmp_path / "blocks", num_train=5, num_valid=0, num_held_out=100_000, chain_lengths=(1,)
    )
    with pytest.raises(InputError, match="num_problems"):
        write_building_blocks(config)
    assert list(tmp_path.iterdir()) == []


def test_faulty_counts_and_lengths_are_named_together() -> None:
    with pytest.raises(ConfigError) as caught:
        build_config(BuildingBlocksConfig, {"output": "x", "num_train": -1, "measured_chain_lengths": [0]})
    assert {fault.field for fault in caught.value.faults} == {"num_train", "measured_chain_lengths"}
