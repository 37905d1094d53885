"""model.kernels: what is active where and why, what `own` refuses, and what the table says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from megatron_codex.config.presets import PRESETS
from megatron_codex.errors import InputError
from megatron_codex.ops import __main__ as command
from megatron_codex.ops import choice, cuda_library, programs, reference_rows, rows, shared_prefix
from megatron_codex.ops.cross_entropy import REFERENCE, REGISTERED


def _programs(kernels: programs.Kernels, device: programs.Device) -> dict[str, str]:
    found = choice.active(kernels, device=device, optimizer_backend="flat_adam")
    found += programs.of_sampling(kernels, device=device)
    return {each.operation: each.program for each in found if each.operation != programs.LINEAR}


def test_reference_is_torch_for_every_operation() -> None:
    assert set(_programs("reference", "cuda").values()) == {"torch"}
    assert choice.operations("reference").cross_entropy is REFERENCE


@pytest.mark.parametrize("kernels", ["auto", "own"])
def test_on_a_cpu_own_is_cpp_where_there_is_a_twin(kernels: programs.Kernels) -> None:
    found = _programs(kernels, "cpu")
    in_cpp = {name for name, program in found.items() if program.startswith("CPU C++")}
    assert in_cpp == {"cross entropy", "GELU", "causal softmax", programs.DECODING, programs.DRAWING}
    assert {found[name] for name in found.keys() - in_cpp} == {"torch"}
    assert choice.operations(kernels).cross_entropy is REGISTERED


def test_own_without_the_cpp_library_is_refused_and_auto_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "fastest", lambda: None)
    with pytest.raises(InputError, match=r"model\.kernels: got 'own'; needs the C\+\+ library, which is not built"):
        choice.operations("own")
    assert choice.operations("auto").cross_entropy is REGISTERED
    assert set(_programs("auto", "cpu").values()) == {"torch"}
    assert programs.one(programs.GELU, "auto", device="cpu").why == "the C++ library is not built here"


def test_own_on_a_gpu_without_the_cuda_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(programs, "why_missing", lambda: "it was not built")
    with pytest.raises(InputError, match=r"model\.kernels: got 'own'; needs the CUDA library: it was not built"):
        choice.operations("own")
    programs.require_kernels("auto", device="cuda")
    assert set(_programs("auto", "cuda").values()) == {"torch"}
    assert "it was not built" in programs.one(programs.GELU, "auto", device="cuda").why


def test_with_the_cuda_library_every_operation_has_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "why_missing", lambda: None)
    found = _programs("own", "cuda")
    assert found.pop(programs.DRAWING) == "torch" and set(found.values()) == {"CUDA kernel"}
    assert programs.in_words(choice.active("own", device="cuda")).startswith("CUDA kernel: cross entropy, GELU")


def test_a_library_that_does_not_load_is_a_reason(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("library") / "_cuda.so"
    path.write_bytes(b"no library, but a file with " + cuda_library._mark().encode())
    cuda_library.why_missing.cache_clear()
    try:
        assert str(cuda_library.why_missing(path)).startswith("it does not load (")
        assert str(cuda_library.why_missing(path.with_name("absent.so"))).startswith("it was not built")
    finally:
        cuda_library.why_missing.cache_clear()


def test_a_library_of_other_sources_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    def not_loaded(path: Path) -> None:
        raise AssertionError("was loaded")

    request.addfinalizer(cuda_library.why_missing.cache_clear)
    monkeypatch.setattr(torch.ops, "load_library", not_loaded)
    path = tmp_path / "_cuda.so"
    path.write_bytes(b"of yesterday")
    assert str(cuda_library.why_missing(path)).startswith("it was built from other sources than csrc has: MCX_BUILD_")
    cuda_library.why_missing.cache_clear()
    monkeypatch.setattr(cuda_library, "BUILDER", tmp_path / "absent.py")  # installed from a wheel
    with pytest.raises(AssertionError, match="was loaded"):
        cuda_library.why_missing(path)


def test_the_command_prints_every_operation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ops", "--kernels", "reference", "--device", "cpu"])
    command.main()
    said = capsys.readouterr().out
    for name in (
        programs.CROSS_ENTROPY,
        programs.GELU,
        programs.SOFTMAX,
        programs.LAYER_NORM,
        programs.DECODING,
        programs.DRAWING,
    ):
        assert f"  {name:32} torch              model.kernels=reference" in said
    assert f"  {programs.ADAM:32} torch              optimizer.backend=torch" in said


def test_a_library_that_was_asked_for_is_named() -> None:
    """What it says, not what it does: neither library is here."""
    libraries = {"transformer_impl": "transformer_engine", "optimizer_backend": "apex"}
    found = {each.operation: each for each in choice.active("auto", device="cuda", **libraries)}
    assert found[programs.LAYER_NORM].program == found[programs.LINEAR].program == "Transformer Engine"
    assert (found[programs.ADAM].program, found[programs.ADAM].why) == ("Apex", "optimizer.backend=apex")
    assert choice.active("auto", layer_norm_backend="apex")[3].program == "Apex"


def test_sampling_calls_the_programs_that_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    own = choice.decoding_operations("own", device="cpu", head_size=24)
    assert (own.attention, own.block_statistics) == (shared_prefix.shared_prefix_attention, rows.block_statistics)
    plain = choice.decoding_operations("reference", device="cuda", head_size=64)
    assert plain.attention is shared_prefix.reference_shared_prefix_attention
    assert plain.block_statistics is reference_rows.block_statistics
    monkeypatch.setattr(programs, "why_missing", lambda: None)
    monkeypatch.setattr(choice, "why_missing", lambda: None)
    on_gpu = choice.decoding_operations("own", device="cuda", head_size=96)
    assert on_gpu.attention is shared_prefix.shared_prefix_attention


def test_heads_that_the_kernel_does_not_have_are_torchs_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "why_missing", lambda: None)
    monkeypatch.setattr(choice, "why_missing", lambda: None)
    line = r"kernels: got 'own'; cannot be: csrc/kernels/decode_suffix\.cu is for heads of 64, 80, .* not of 48"
    with pytest.raises(InputError, match=f"^{line}"):
        choice.decoding_operations("own", device="cuda", head_size=48, field="kernels")
    found = choice.decoding_operations("auto", device="cuda", head_size=48)
    assert found.attention is shared_prefix.reference_shared_prefix_attention
    decoding = programs.of_sampling("auto", device="cuda", head_size=48)[0]
    assert decoding.program == "torch" and "not of 48" in decoding.why
    assert programs.of_sampling("auto", device="cuda", head_size=80)[0].program == "CUDA kernel"


def test_every_size_of_the_paper_has_a_kernel() -> None:
    sizes = {preset.hidden_size // preset.num_attention_heads for preset in PRESETS.values()}
    assert sizes <= set(programs.HEAD_SIZES)
