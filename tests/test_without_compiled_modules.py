"""An installation without a compiler: every command can be asked for help, and isolation is refused in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMPILED = ("sandbox._jail", "problems.tracing._tracer", "native._cpu")

_PROGRAM = """
import runpy, sys
from pathlib import Path

for name in sys.argv[2:]:
    sys.modules[f"megatron_codex.{name}"] = None  # as if it were not there
for tool in sorted(Path(sys.argv[1]).glob("*.py")):
    runpy.run_path(str(tool), run_name="imported")

from megatron_codex.errors import WorkError
from megatron_codex.sandbox.probe import choose_sandbox
try:
    choose_sandbox("judge")
except WorkError as error:
    print(error)
"""


def test_commands_import_without_them_and_isolation_is_refused() -> None:
    command = [sys.executable, "-c", _PROGRAM, str(ROOT / "tools"), *COMPILED]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "its C module was not built: install with a C compiler" in done.stdout and done.stdout.count("\n") == 1
