"""The CUDA library: when it is built, what ptxas says of every kernel, and that it loads beside any build of torch."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.ops.examples import EXAMPLES

ROOT = Path(__file__).resolve().parents[2]
COMPOSED = {"ce_at_once_", "cross_entropy", "cross_entropy_gradient", "shared_prefix_attention"}
"""Operations that call others and have no kernel of their own."""


def _build_cuda() -> ModuleType:
    spec = util.spec_from_file_location("build_cuda", ROOT / "csrc/build_cuda.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules["build_cuda"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


build_cuda = _build_cuda()


def _torch(directory: Path, cuda: str | None) -> Path:
    (directory / "version.py").write_text(f"__version__ = '2.13.0'\ncuda: Optional[str] = {cuda!r}\nhip = None\n")
    return directory


@pytest.mark.parametrize(
    ("wanted", "has_nvcc", "cuda", "built"),
    [
        (None, True, "13.0", True),
        ("auto", True, "13.0", True),
        ("auto", True, None, False),
        ("auto", False, "13.0", False),
        ("0", True, "13.0", False),
        ("1", True, None, True),
    ],
    ids=["default", "auto", "auto_cpu_torch", "auto_no_nvcc", "0", "1_cpu_torch"],
)
def test_when_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str | None, has_nvcc: bool, cuda: str | None, built: bool
) -> None:
    monkeypatch.setattr(build_cuda, "find_nvcc", lambda environment: "nvcc" if has_nvcc else None)
    monkeypatch.setattr(build_cuda, "find_torch", lambda: _torch(tmp_path, cuda))
    environment = {} if wanted is None else {"MCX_BUILD_CUDA": wanted}
    assert (build_cuda.decide(environment) is not None) == built


@pytest.mark.parametrize(
    ("environment", "nvcc", "line"),
    [
        ({"MCX_BUILD_CUDA": "yes"}, "nvcc", "MCX_BUILD_CUDA: got 'yes'; must be auto, 0 or 1"),
        ({"MCX_BUILD_CUDA": "1"}, None, "MCX_BUILD_CUDA: got '1'; nvcc is not found"),
        ({"MCX_BUILD_CUDA": "1", "MCX_CUDA_ARCHS": "80;9.0"}, "nvcc", "MCX_CUDA_ARCHS: got '80;9.0'; must be compute"),
        ({"MCX_BUILD_CUDA": "1", "MCX_CUDA_ARCHS": ";"}, "nvcc", "MCX_CUDA_ARCHS: got ';'; must be compute"),
    ],
    ids=["value", "no_nvcc", "arch", "no_arch"],
)
def test_what_cannot_be_built_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], nvcc: str | None, line: str
) -> None:
    monkeypatch.setattr(build_cuda, "find_nvcc", lambda environment: nvcc)
    monkeypatch.setattr(build_cuda, "find_torch", lambda: _torch(tmp_path, None))
    with pytest.raises(build_cuda.BuildError, match=f"^{re.escape(line)}") as caught:
        build_cuda.decide(environment)
    assert "\n" not in str(caught.value)


def test_a_compilers_error_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.cc"
    broken.write_text("#error not this one\n")
    with pytest.raises(build_cuda.BuildError, match=r"^broken\.cc: .* failed: .*not this one"):
        build_cuda.compile_binding(broken, Path(torch.__file__).parent, tmp_path)


def test_the_mark_is_of_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = build_cuda.mark()
    shutil.copytree(build_cuda.CSRC, tmp_path / "csrc", ignore=shutil.ignore_patterns("cpu", "sandbox", "tracing"))
    monkeypatch.setattr(build_cuda, "CSRC", tmp_path / "csrc")
    monkeypatch.setattr(build_cuda, "__file__", str(tmp_path / "csrc/build_cuda.py"))
    assert build_cuda.mark() == before
    seen = {before}
    for name in (
        "kernels/flat_adam.cu",
        "kernels/flat_adam.h",
        "bindings/checked.h",
        "common/reduce.h",
        "build_cuda.py",
    ):
        with (tmp_path / "csrc" / name).open("a") as handle:
            handle.write("\n")
        seen.add(build_cuda.mark())
    assert len(seen) == 1 + 5
    assert build_cuda.mark().encode() in build_cuda.compile_mark(tmp_path).read_bytes()


def test_architectures_are_kept_in_order() -> None:
    assert build_cuda.architectures({}) == ("80", "90", "100")
    assert build_cuda.architectures({"MCX_CUDA_ARCHS": "90a, 80;90a"}) == ("90a", "80")


def test_spills_are_read_from_ptxas() -> None:
    said = (
        "ptxas info    : Compiling entry function '_ZN5codex4slowEv' for 'sm_80'\n"
        "ptxas info    : Function properties for _ZN5codex4slowEv\n"
        "    32 bytes stack frame, 24 bytes spill stores, 40 bytes spill loads\n"
        "ptxas info    : Used 255 registers, used 1 barriers, 352 bytes cmem[0]\n"
    )
    (usage,) = build_cuda.usages(said)
    assert (usage.kernel, usage.arch, usage.registers, usage.spilled_bytes) == ("_ZN5codex4slowEv", "80", 255, 64)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[object]]]:
    """The library for all three architectures, and what ptxas said. Most of these tests' time."""
    nvcc = build_cuda.find_nvcc({"PATH": os.environ["PATH"]})
    if nvcc is None:
        pytest.skip("nvcc is missing: no kernel was compiled for a GPU; install a CUDA toolkit")
    directory = tmp_path_factory.mktemp("cuda")
    tools = build_cuda.Tools(nvcc, Path(torch.__file__).parent)
    library = directory / "_cuda.so"
    yield library, build_cuda.build(library, tools, workspace=directory / "objects", archs=("80", "90", "100"))


def _name(mangled: str) -> str:
    found = re.match(r"_ZN5codex(\d+)(\w+)", mangled)
    assert found is not None, mangled
    return found[2][: int(found[1])]


@pytest.mark.slow
def test_no_kernel_spills_and_each_keeps_to_its_registers(built: tuple[Path, list[object]]) -> None:
    budgets: dict[str, int] = json.loads((ROOT / "csrc/kernels/budgets.json").read_text())
    used: set[str] = set()
    archs_of: dict[str, set[str]] = {}
    for usage in built[1]:
        name = _name(usage.kernel)
        prefixes = [prefix for prefix in budgets if name.startswith(prefix)]
        assert prefixes, f"{name} has no budget in csrc/kernels/budgets.json"
        used.add(max(prefixes, key=len))
        archs_of.setdefault(usage.kernel, set()).add(usage.arch)
        assert usage.spilled_bytes == 0, f"{usage.kernel} spills {usage.spilled_bytes} bytes on sm_{usage.arch}"
        budget = budgets[max(prefixes, key=len)]
        assert usage.registers <= budget, f"{usage.kernel} takes {usage.registers} of {budget} registers"
    assert used == set(budgets), "a budget of no kernel"
    assert archs_of and all(archs == {"80", "90", "100"} for archs in archs_of.values())


@pytest.mark.slow
def test_it_loads_beside_this_torch_and_has_every_kernel(built: tuple[Path, list[object]]) -> None:
    """In a process of its own: what is loaded stays."""
    program = (
        "import sys; from pathlib import Path; import torch; from megatron_codex.ops import choice, cuda_library\n"
        "import megatron_codex.ops.shared_prefix, megatron_codex.ops.softmax, megatron_codex.ops.flat_adam\n"
        "from megatron_codex.ops.registered import SCHEMAS\n"
        "assert cuda_library.why_missing(Path(sys.argv[1])) is None\n"
        "has = torch._C._dispatch_has_kernel_for_dispatch_key\n"
        "print(*(name for name in SCHEMAS if has(f'megatron_codex::{name}', 'CUDA')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(built[0])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == set(EXAMPLES) - COMPOSED


@pytest.mark.slow
def test_it_needs_torchs_stable_symbols_only(built: tuple[Path, list[object]]) -> None:
    """So it loads beside later builds of torch: what it takes from outside is the C shim, the C library and C++'s."""
    listed = subprocess.run(["nm", "-D", "--undefined-only", str(built[0])], capture_output=True, text=True, check=True)
    foreign = []
    for line in listed.stdout.splitlines():
        kind, name = line.split()[-2:]
        stable = name.startswith(("aoti_torch_", "torch_")) and "@" not in name
        of_the_system = re.search(r"@(GLIBC|GLIBCXX|CXXABI|GCC)_", name) is not None
        if not stable and not of_the_system and kind != "w":
            foreign.append(name)
    assert not foreign
    needed = subprocess.run(["readelf", "-d", str(built[0])], capture_output=True, text=True, check=True).stdout
    libraries = set(re.findall(r"\[(lib[^.\]]+)\.so", needed))
    assert libraries - {"libstdc++", "libgcc_s", "libc", "libm", "libdl", "librt", "libpthread"} == {"libtorch_cpu"}


def test_every_schema_is_known_to_the_bindings() -> None:
    bound = set()
    for source in build_cuda.binding_sources():
        bound.update(re.findall(r'm\.impl\("(\w+)"', source.read_text()))
    assert bound == set(EXAMPLES) - COMPOSED
