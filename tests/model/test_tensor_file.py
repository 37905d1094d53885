"""Tensor files: golden bytes, the safetensors library's word for it, and faults named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from megatron_codex.errors import InputError
from megatron_codex.model.tensor_file import TensorDescription, TensorFile, TensorFileWriter

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "empty": torch.zeros(0, 4),
    "scalar": torch.tensor(3.0, dtype=torch.float64),
}


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    described = [TensorDescription(name=n, shape=tuple(x.shape), dtype=x.dtype) for n, x in tensors.items()]
    with TensorFileWriter(path, described, metadata={"format": "pt"}) as file:
        for tensor in tensors.values():
            file.append(tensor)
    return path


def test_golden_bytes(tmp_path: Path) -> None:
    path = _write(tmp_path / "x", {"t": torch.tensor([[1.0, -2.0]])})
    header = b'{"__metadata__":{"format":"pt"},"t":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}'
    header += b" " * (120 - len(header))
    assert path.read_bytes() == (120).to_bytes(8, "little") + header + bytes.fromhex("0000803f000000c0")


def test_the_safetensors_library_reads_and_writes_the_same(tmp_path: Path) -> None:
    ours = load_file(_write(tmp_path / "ours", TENSORS))
    save_file(TENSORS, tmp_path / "theirs")
    theirs = TensorFile(tmp_path / "theirs")
    for name, tensor in TENSORS.items():
        assert torch.equal(ours[name], tensor) and ours[name].dtype == tensor.dtype
        assert torch.equal(theirs.read(name), tensor) and theirs.read(name).dtype == tensor.dtype


def test_rows_are_read_alone(tmp_path: Path) -> None:
    file = TensorFile(_write(tmp_path / "x", TENSORS))
    assert torch.equal(file.read("a", rows=(1, 2)), TENSORS["a"][1:2])
    assert torch.equal(file.read("b", rows=(1, 2)), TENSORS["b"][1:2])


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b[:5], lambda b: b"", lambda b: b[:8] + b"{" * (len(b) - 8), lambda b: b"\xff" * 64],
    ids=["data_cut", "header_cut", "empty", "no_json", "length"],
)
def test_damaged_files_are_named(tmp_path: Path, damage: object) -> None:
    path = _write(tmp_path / "x", TENSORS)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(InputError, match="not a whole safetensors file") as caught:
        TensorFile(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_file_that_is_cut_while_it_is_open_is_named(tmp_path: Path) -> None:
    file = TensorFile(_write(tmp_path / "x", TENSORS))
    file.path.write_bytes(file.path.read_bytes()[:-12])
    with pytest.raises(InputError, match="ends 8 bytes too early"):
        file.read("scalar")


def test_types_that_are_no_weights_are_listed_but_not_read(tmp_path: Path) -> None:
    save_file({"mask": torch.ones(3, dtype=torch.bool)}, tmp_path / "x")
    file = TensorFile(tmp_path / "x")
    assert file.entries["mask"].shape == (3,)
    with pytest.raises(InputError, match="mask must be of one of F64, F32, F16, BF16"):
        file.read("mask")
