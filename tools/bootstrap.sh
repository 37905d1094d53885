#!/usr/bin/env bash
# Make .venv once, and csrc/cpu anew when it changed: source it from the repository's root (`. tools/bootstrap.sh`).
# A moment when all is there.
#
# The versions that CI tests are installed; setup.py itself asks for ranges. torch comes as your package index gives it
# (a CUDA build on most). MCX_TORCH names another one, as one argument of pip: MCX_TORCH=torch==2.14.1, the path or address
# of a wheel, or, with PIP_EXTRA_INDEX_URL set to torch's index of CPU builds, MCX_TORCH=torch==2.13.0+cpu.
# MCX_BUILD_CUDA and MCX_CUDA_ARCHS, if set, reach setup.py, which says what they mean; a change builds anew.
set -euo pipefail
MCX_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
MCX_TORCH="${MCX_TORCH:-torch==2.13.0}"
MCX_STAMP="$MCX_ROOT/.venv/.bootstrapped"
MCX_LIBRARY_STAMP="$MCX_ROOT/megatron_codex/native/.built"

mcx_wanted() { { cat "$MCX_ROOT/setup.py" "$MCX_ROOT/tools/bootstrap.sh"; echo "$MCX_TORCH $MCX_ROOT"; } | sha256sum; }
mcx_library() {
    local sources="csrc/cpu"
    [ "${MCX_BUILD_CUDA:-auto}" = 0 ] || [ ! -e "$MCX_ROOT/megatron_codex/ops/_cuda.so" ] || sources="csrc"
    (cd "$MCX_ROOT" && echo "${MCX_BUILD_CUDA:-auto} ${MCX_CUDA_ARCHS:-}" \
        && find $sources -name __pycache__ -prune -o -type f -print0 | sort -z | xargs -0 cat) | sha256sum
}
mcx_pip() { "$MCX_ROOT/.venv/bin/pip" install --disable-pip-version-check "$@"; }

mcx_fail() {
    echo "error: set-up: $1" >&2
    exit 1
}

if [ "$(mcx_wanted)" != "$(cat "$MCX_STAMP" 2>/dev/null)" ]; then
    PYTHON="${PYTHON:-python3}"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        || mcx_fail "$PYTHON is older than 3.11; set PYTHON to a newer interpreter"
    echo "set-up: making .venv (once; log: .venv/bootstrap.log)" >&2
    MCX_START=$SECONDS
    # --clear: a .venv without the stamp is a set-up that was cut off.
    "$PYTHON" -m venv --clear "$MCX_ROOT/.venv" || mcx_fail "python -m venv failed (Debian: install python3-venv)"
    # What setup.py imports comes first: a build environment of its own would have it all once more.
    { mcx_pip "$MCX_TORCH" && mcx_pip "setuptools>=77" "pybind11>=2.13" "pyarrow>=15" \
        && mcx_pip --no-build-isolation -e "$MCX_ROOT[dev]"; } >"$MCX_ROOT/.venv/bootstrap.log" 2>&1 \
        || { tail -n 5 "$MCX_ROOT/.venv/bootstrap.log" >&2; mcx_fail "pip failed; see .venv/bootstrap.log"; }
    mcx_library >"$MCX_LIBRARY_STAMP"
    mcx_wanted >"$MCX_STAMP"
    echo "set-up: done in $((SECONDS - MCX_START)) s" >&2
elif [ "$(mcx_library)" != "$(cat "$MCX_LIBRARY_STAMP" 2>/dev/null)" ]; then
    echo "set-up: building the C++ library (log: .venv/bootstrap.log)" >&2
    mcx_pip --no-build-isolation --no-deps -e "$MCX_ROOT" >"$MCX_ROOT/.venv/bootstrap.log" 2>&1 \
        || { tail -n 5 "$MCX_ROOT/.venv/bootstrap.log" >&2; mcx_fail "pip failed; see .venv/bootstrap.log"; }
    mcx_library >"$MCX_LIBRARY_STAMP"
fi
export PATH="$MCX_ROOT/.venv/bin:$PATH"
