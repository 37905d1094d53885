"""Builds the CUDA library of csrc/kernels and csrc/bindings, ahead of time: for setup.py and for the tests of the
build.

In: nvcc, g++ and torch's headers; architectures. Out: one shared library, and what ptxas reported of each kernel.
Kernels know nothing of torch and bindings nothing of CUDA: nvcc compiles the ones, g++ the others, against any build of
torch from 2.13 on. The CUDA runtime is linked statically, so that the library loads where there is no CUDA at all.

No import of torch here: setup.py asks before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

CSRC = Path(__file__).parent
DEFAULT_ARCHS = "80;90;100"
TORCH_TARGET = "0x020d000000000000"
"""torch 2.13: the first whose stable ABI gives a stream's native handle."""

REGISTERS = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)' for 'sm_(?P<arch>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers",
    re.DOTALL,
)


class BuildError(Exception):
    """The library cannot be built: one line."""


@dataclass(frozen=True)
class Usage:
    """What ptxas reported of one kernel on one architecture."""

    kernel: str
    """Its mangled name."""
    arch: str
    registers: int
    spilled_bytes: int
    """Stored and loaded, beyond registers."""


@dataclass(frozen=True)
class Tools:
    """What a build needs."""

    nvcc: str
    torch: Path
    """The folder of the installed package."""


def decide(environment: dict[str, str] | None = None) -> Tools | None:
    """The tools to build with, or None where the library is not wanted: MCX_BUILD_CUDA = auto (default), 0 or 1.

    auto builds where nvcc is and torch is a CUDA build. Raises: BuildError for 1 where something is missing.
    """
    environment = dict(os.environ) if environment is None else environment
    wanted = environment.get("MCX_BUILD_CUDA") or "auto"
    if wanted not in ("auto", "0", "1"):
        raise BuildError(f"MCX_BUILD_CUDA: got {wanted!r}; must be auto, 0 or 1; leave it out for auto")
    if wanted == "0":
        return None
    nvcc, torch = find_nvcc(environment), find_torch()
    if nvcc is not None and torch is not None and (wanted == "1" or cuda_of(torch) is not None):
        architectures(environment)
        return Tools(nvcc, torch)
    if wanted == "auto":
        return None
    missing = "nvcc is not found: put it on PATH, or set CUDA_HOME"
    if nvcc is not None:
        missing = "torch is not installed here: install it first, and give pip --no-build-isolation"
    raise BuildError(f"MCX_BUILD_CUDA: got '1'; {missing}; or give 0")


def find_nvcc(environment: dict[str, str]) -> str | None:
    """nvcc of PATH, of CUDA_HOME or of /usr/local/cuda."""
    homes = [Path(home) / "bin/nvcc" for home in (environment.get("CUDA_HOME"), "/usr/local/cuda") if home]
    found = shutil.which("nvcc", path=environment.get("PATH"))
    return found or next((str(path) for path in homes if os.access(path, os.X_OK)), None)


def find_torch() -> Path | None:
    """The folder of the installed torch, not imported."""
    spec = find_spec("torch")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def cuda_of(torch: Path) -> str | None:
    """The CUDA version that torch was built for; None: a CPU build."""
    found = re.search(r"^cuda\b[^=\n]*= '([\d.]+)'", (torch / "version.py").read_text(), re.MULTILINE)
    return None if found is None else found.group(1)


def architectures(environment: dict[str, str] | None = None) -> tuple[str, ...]:
    """MCX_CUDA_ARCHS, such as 80;90;100, without doubles."""
    given = (os.environ if environment is None else environment).get("MCX_CUDA_ARCHS") or DEFAULT_ARCHS
    archs = tuple(dict.fromkeys(arch for arch in re.split(r"[;,\s]+", given) if arch))
    if not archs or not all(re.fullmatch(r"\d{2,3}[af]?", arch) for arch in archs):
        rule = "must be compute capabilities without points, semicolons between them"
        raise BuildError(f"MCX_CUDA_ARCHS: got {given!r}; {rule}; for example {DEFAULT_ARCHS}")
    return archs


def kernel_sources() -> list[Path]:
    """What nvcc compiles."""
    return sorted((CSRC / "kernels").glob("*.cu"))


def binding_sources() -> list[Path]:
    """What g++ compiles."""
    return sorted((CSRC / "bindings").glob("*.cc"))


def headers() -> list[Path]:
    """What both include, and this file: whatever a rebuild depends on."""
    folders = (CSRC / "common", CSRC / "kernels", CSRC / "bindings")
    return [*sorted(path for folder in folders for path in folder.rglob("*.h")), Path(__file__)]


def mark() -> str:
    """What a library of these sources has in it, so that one of others is known before it is loaded."""
    found = hashlib.sha256()
    for path in (*kernel_sources(), *binding_sources(), *headers()):
        found.update(f"{path.relative_to(CSRC)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return f"megatron_codex kernels of sources {found.hexdigest()}"


def build(
    library: Path, tools: Tools, *, workspace: Path, archs: Sequence[str], jobs: int | None = None
) -> list[Usage]:
    """Write the library; what ptxas reported. Raises: BuildError with the compiler's first error."""
    workspace.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        kernels = [pool.submit(compile_kernel, path, tools.nvcc, workspace, archs) for path in kernel_sources()]
        bindings = [pool.submit(compile_binding, path, tools.torch, workspace) for path in binding_sources()]
        compiled = [future.result() for future in kernels]
        objects = [path for path, _ in compiled] + [future.result() for future in bindings]
    objects.append(compile_mark(workspace))
    link(library, objects, tools)
    return [usage for _, usages in compiled for usage in usages]


def compile_kernel(source: Path, nvcc: str, workspace: Path, archs: Sequence[str]) -> tuple[Path, list[Usage]]:
    """The object of one .cu for all architectures, with PTX of the last for later ones; and its kernels' usage."""
    target = workspace / f"{source.stem}.cu.o"
    codes = [f"arch=compute_{arch},code=sm_{arch}" for arch in archs]
    codes.append(f"arch=compute_{archs[-1]},code=compute_{archs[-1]}")
    command = [nvcc, "-std=c++17", "-O3", "-Xptxas", "-v", "-Xcompiler", "-fPIC,-fvisibility=hidden"]
    command += [word for code in codes for word in ("-gencode", code)]
    said = _run([*command, "-c", str(source), "-o", str(target)], source)
    return target, usages(said)


def usages(said: str) -> list[Usage]:
    """What ptxas -v says, as records."""
    return [
        Usage(
            kernel=found["kernel"],
            arch=found["arch"],
            registers=int(found["registers"]),
            spilled_bytes=int(found["stores"]) + int(found["loads"]),
        )
        for found in REGISTERS.finditer(said)
    ]


def compile_binding(source: Path, torch: Path, workspace: Path, options: Sequence[str] = ()) -> Path:
    """The object of one .cc of csrc/bindings."""
    target = workspace / f"{source.stem}.o"
    command = [os.environ.get("CXX", "g++"), "-std=c++17", "-O2", "-Wall", "-Wextra", "-fPIC", "-fvisibility=hidden"]
    command += [f"-DTORCH_TARGET_VERSION={TORCH_TARGET}", "-isystem", str(torch / "include"), *options]
    _run([*command, "-c", str(source), "-o", str(target)], source)
    return target


def compile_mark(workspace: Path) -> Path:
    """The object that holds mark()."""
    source, target = workspace / "mark.c", workspace / "mark.o"
    source.write_text(f'__attribute__((used)) const char codex_mark[] = "{mark()}";\n')
    _run([os.environ.get("CC", "gcc"), "-fPIC", "-c", str(source), "-o", str(target)], source)
    return target


def link(library: Path, objects: Sequence[Path], tools: Tools) -> None:
    """Link with the static CUDA runtime; torch's symbols are those of the process that loads the library."""
    library.parent.mkdir(parents=True, exist_ok=True)
    unfinished = library.with_name(f"{library.name}.unfinished")
    command = [tools.nvcc, "-shared", "-cudart", "static", *map(str, objects), "-o", str(unfinished)]
    _run([*command, "-L", str(tools.torch / "lib"), "-ltorch_cpu"], library)
    unfinished.replace(library)


def _run(command: list[str], what: Path) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{what.name}: {command[0]} does not start ({error.strerror})") from error
    said = done.stdout + done.stderr
    if done.returncode:
        lines = [line for line in said.splitlines() if "error" in line.lower()] or said.splitlines()[-1:]
        raise BuildError(f"{what.name}: {Path(command[0]).name} failed: {lines[0] if lines else done.returncode}")
    return said
