"""Parts of a project that are made before its suite runs, by its own build system, in the sandbox."""

from __future__ import annotations

import shutil
import sysconfig
import zipfile
from pathlib import Path

import pytest

from megatron_codex.problems.project import BrokenProjectError, Project, open_project
from megatron_codex.problems.projects.build import add_wheel, build_project, why_build
from megatron_codex.problems.projects.environment import bare_environment
from megatron_codex.problems.projects.interpreter import find_interpreter

from .conftest import write_files

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend:hooks"
backend-path = ["tools"]
[project]
name = "x"
version = "3.1"
[tool.setuptools_scm]
version_file = "src/x/_version.py"
"""
# A build system of the project's own: writes the version, and compiles a module where it is told to.
BACKEND = """
import os, subprocess, sysconfig, zipfile
class hooks:
    @staticmethod
    def build_wheel(directory, settings):
        files = {"x/_version.py": "VERSION = %r\\n" % os.environ["SETUPTOOLS_SCM_PRETEND_VERSION"]}
        files |= {"x/__init__.py": "another\\n", "x-3.1.dist-info/METADATA": "Name: x\\n", "new/sub/mod.py": "A = 1\\n"}
        if os.path.exists("src/x/fast.c"):
            include, suffix = sysconfig.get_path("include"), sysconfig.get_config_var("EXT_SUFFIX")
            subprocess.check_call(["cc", "-shared", "-fPIC", "-I", include, "src/x/fast.c", "-o", "fast.so"])
            files["x/fast" + suffix] = open("fast.so", "rb").read()
        name = "x-3.1-py3-none-any.whl"
        with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
        return name
"""
SETTINGS = {"timeout_s": 60.0, "memory_bytes": 1 << 30}


def _open(tmp_path: Path, files: dict[str, str]) -> Project:
    return open_project(write_files(tmp_path / "x", {"tests/test_x.py": "", **files}), tmp_path / "work")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"x/__init__.py": "from . import a\nfrom .b import c\n", "x/b.py": ""}, ""),
        ({"x/__init__.py": "from ._version import v\n"}, "x/_version.py"),
        ({"x/__init__.py": "try:\n    from ._version import v\nexcept ImportError:\n    v = 0\n"}, ""),
        ({"src/x/__init__.py": "", "pyproject.toml": PYPROJECT}, "src/x/_version.py"),
        ({"src/x/_version.py": "", "pyproject.toml": PYPROJECT}, ""),
        ({"setup.py": "setup(ext_modules=[Extension('x._fast', ['x/_fast.c'])])"}, "compiled modules"),
        ({"pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "maturin"\n'}, "compiled modules"),
        ({"setup.py": "setup(use_scm_version={'write_to': 'x/version.py'})"}, "x/version.py"),
    ],
    ids=["plain", "missing", "optional", "scm", "scm, in the sdist", "extension", "maturin", "setup.py"],
)
def test_what_has_to_be_built(tmp_path: Path, files: dict[str, str], why: str) -> None:
    assert why_build(_open(tmp_path, files)) == why


@pytest.mark.usefixtures("isolation")
def test_what_the_build_makes_is_added_and_nothing_replaced(tmp_path: Path) -> None:
    files = {"pyproject.toml": PYPROJECT, "tools/backend.py": BACKEND, "src/x/__init__.py": "mine\n"}
    has_compiler = shutil.which("cc") is not None and Path(sysconfig.get_path("include"), "Python.h").exists()
    if has_compiler:
        files["src/x/fast.c"] = (
            '#include <Python.h>\nstatic struct PyModuleDef fast = {PyModuleDef_HEAD_INIT, "fast"};\n'
            "PyMODINIT_FUNC PyInit_fast(void) { return PyModule_Create(&fast); }\n"
        )
    project = _open(tmp_path, files)
    build_project(project, bare_environment(find_interpreter(None), {}), tmp_path / "built", **SETTINGS)
    assert (project.root / "src/x/_version.py").read_text() == "VERSION = '3.1'\n"
    assert (project.root / "src/x/__init__.py").read_text() == "mine\n"
    assert (project.root / "src/new/sub/mod.py").read_text() == "A = 1\n"
    assert bool(list((project.root / "src/x").glob("fast.*.so"))) == has_compiler
    assert why_build(project) == ""


@pytest.mark.usefixtures("isolation")
@pytest.mark.parametrize(
    ("backend", "detail"),
    [
        ("class hooks:\n    def build_wheel(*_):\n        raise ValueError('no headers')\n", "ValueError: no headers"),
        ("class hooks:\n    def build_wheel(*_):\n        return 'x.whl'\n", "the build left no wheel"),
        ("import no_such_backend\n", "ModuleNotFoundError: No module named 'no_such_backend'"),
        (
            "class hooks:\n    def build_wheel(folder, _):\n        open(folder + '/x.whl', 'w').write('damage')\n",
            "x.whl: File is not a zip file",
        ),
        ("import os\nos.kill(os.getpid(), 9)\n", "exit code 137"),
    ],
    ids=["raises", "no wheel", "not installed", "no zip", "killed"],
)
def test_a_build_that_fails_says_why(tmp_path: Path, backend: str, detail: str) -> None:
    project = _open(tmp_path, {"pyproject.toml": PYPROJECT, "tools/backend.py": backend})
    with pytest.raises(BrokenProjectError) as raised:
        build_project(project, bare_environment(find_interpreter(None), {}), tmp_path / "built", **SETTINGS)
    assert raised.value.detail.endswith(detail)


def test_a_wheel_cannot_write_outside(tmp_path: Path) -> None:
    project = _open(tmp_path, {"x.py": ""})
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr("../../out.py", "")
    with pytest.raises(BrokenProjectError, match="leads outside"):
        add_wheel(tmp_path / "x.whl", project.root, project.import_roots)
    assert not list(tmp_path.rglob("out.py"))


def test_a_wheel_without_tests_is_joined_with_its_sdist(tmp_path: Path) -> None:
    from megatron_codex.config.problems import TraceConfig
    from megatron_codex.problems.projects.prepare import fetch_project
    from megatron_codex.problems.projects.sources import ProjectSource

    from .conftest import write_sdist

    wheel = tmp_path / "my_pkg-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("my_pkg/__init__.py", "built\n")
        archive.writestr("my_pkg/made.py", "MADE = 1\n")
    config = TraceConfig(project=(str(wheel),), output=tmp_path / "out", install=False)
    source = ProjectSource(path=wheel)
    with pytest.raises(BrokenProjectError, match=r"none in the wheel, and no sdist of my-pkg 1\.0 lies beside"):
        fetch_project(source, tmp_path / "1", config)
    files = {"my_pkg-1.0/my_pkg/__init__.py": "source\n", "my_pkg-1.0/tests/test_x.py": ""}
    write_sdist(tmp_path / "my_pkg-1.0.tar.gz", files)
    project = fetch_project(source, tmp_path / "2", config)
    assert (project.root / "my_pkg/__init__.py").read_text() == "source\n"
    assert (project.root / "my_pkg/made.py").read_text() == "MADE = 1\n"
    assert project.tests == ("tests",)
