"""Compiles csrc/kernels for the CPU: a .cu file and compiler options come in, a shared library for ctypes goes out."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[3] / "csrc"
KERNELS = CSRC / "kernels"

SANITIZERS = {
    "": ["-O1"],
    "unoptimised": ["-O0"],
    "address": ["-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-O1", "-g1", "-fsanitize=thread"],
}
"""-O0 is the fastest in all, where a case is small. But it passes small structs through memory, which ThreadSanitizer
takes for shared: -O1 there."""


@cache
def cuda_headers() -> Path | None:
    """The folder of cuda_bf16.h: NVIDIA's types do the kernels' roundings on a CPU as well."""
    compiler = shutil.which("nvcc")
    homes = [os.environ.get("CUDA_HOME", ""), str(Path(compiler).resolve().parents[1]) if compiler else ""]
    homes += ["/usr/local/cuda", *map(str, sorted(Path("/usr/local").glob("cuda-*"), reverse=True))]
    packages = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    folders = [Path(home) / "include" for home in homes if home]
    folders += [*packages.glob("cu*/include"), *packages.glob("cuda_runtime/include")]
    return next((folder for folder in folders if (folder / "cuda_bf16.h").is_file()), None)


def need_compiler() -> None:
    """Skips where kernels cannot be compiled for the CPU."""
    if os.uname().machine != "x86_64":
        pytest.skip(f"csrc/common/on_cpu runs on x86-64, not on {os.uname().machine}")
    if shutil.which("g++") is None:
        pytest.skip("g++ is missing")
    if cuda_headers() is None:
        pytest.skip("NVIDIA's headers (cuda_bf16.h) are missing: install a CUDA toolkit, or set CUDA_HOME")


@cache
def folder() -> Path:
    """Where this process's libraries are, until it ends: loaded ones must outlive every test."""
    made = Path(tempfile.mkdtemp(prefix="kernels-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def compile_for_cpu(source: Path, *, sanitizer: str = "", name: str | None = None, faulty: bool = False) -> Path:
    """The library of one .cu file.

    faulty: what an injected fault leaves unused is no error.

    Raises: AssertionError with the compiler's words, where it has any: warnings are errors.
    """
    need_compiler()
    library = folder() / f"{name or source.stem}{'-' if sanitizer else ''}{sanitizer}.so"
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]  # g++ does not know CUDA's `#pragma unroll`
    command = ["g++", "-std=c++17", *SANITIZERS[sanitizer], *(["-w"] if faulty else warnings)]
    command += ["-DCODEX_ON_CPU", "-fPIC", "-shared", "-pthread"]
    command += ["-isystem", str(cuda_headers()), "-x", "c++", str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


@cache
def kernel(name: str, *, sanitizer: str = "") -> Path:
    """The library of csrc/kernels/<name>.cu."""
    return compile_for_cpu(KERNELS / f"{name}.cu", sanitizer=sanitizer)
