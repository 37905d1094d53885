"""csrc/cpu under the sanitizers of the compiler, on inputs that check_cpu.cc makes: no fault, and all ways agree."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow
import pytest

from tests.native.fuzz_inputs import write_vocabulary

ROOT = Path(__file__).parents[2]
SECONDS = 10


def build(folder: Path, sanitizers: str) -> Path:
    """csrc/cpu and check_cpu.cc, instrumented."""
    compiler = shutil.which("g++")
    assert compiler is not None, "csrc/cpu is built where the tests run, so g++ is there"
    include = f"-I{pyarrow.get_include()}/arrow/vendored/xxhash"
    options = ["-std=c++17", "-O1", "-g", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", include]
    sources = [path for path in (ROOT / "csrc/cpu").rglob("*.cc") if path.parent.name != "bindings"]
    sources.append(ROOT / "tests/native/check_cpu.cc")

    def compile_one(source: Path) -> Path:
        target = folder / f"{source.parent.name}_{source.stem}.o"
        subprocess.run([compiler, "-c", *options, str(source), "-o", str(target)], check=True, capture_output=True)
        return target

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = list(pool.map(compile_one, sources))
    program = folder / "check_cpu"
    link = [compiler, f"-fsanitize={sanitizers}", *map(str, objects), "-lpthread", "-o", str(program)]
    subprocess.run(link, check=True, capture_output=True)
    return program


@pytest.mark.slow
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_the_library_is_clean(tmp_path: Path, sanitizers: str) -> None:
    program = build(tmp_path, sanitizers)
    vocabulary = tmp_path / "vocabulary.bin"
    write_vocabulary(vocabulary)
    done = subprocess.run([program, vocabulary, str(SECONDS), "1"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("inputs\n")
