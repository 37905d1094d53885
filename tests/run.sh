#!/usr/bin/env bash
# The README's test command: sets itself up, then ruff, mypy, import-linter and pytest. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/bootstrap.sh

# One thread a process: several gloo ranks share the cores, and two OpenMP threads collapse beside another busy process.
export OMP_NUM_THREADS=1

ruff check .
ruff format --check .
mypy
lint-imports
# A test process that crashes ends the run: with another one in its place pytest-xdist can wait for ever.
exec python -m pytest -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder --max-worker-restart 0 "$@"
