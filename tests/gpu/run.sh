#!/usr/bin/env bash
# Everything that waits for a GPU, in one command: builds the CUDA library for this GPU, then parity, gradients and training
# (pytest -m gpu), compute-sanitizer, and a table of times beside torch, Transformer Engine, Apex, Liger and flash-attn,
# those that are installed.
#
#   bash tests/gpu/run.sh [OUTPUT_DIRECTORY]     default: runs/gpu
#
# Uses the active Python environment, with a CUDA build of torch >= 2.13, this project ([dev]) and nvcc. Never run where
# this was developed: docs/ops.md marks each of its results pending. Exit codes: 0 all passed; 1 something failed; 3 no
# GPU, or a tool is missing: nothing was run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
OUTPUT="${1:-runs/gpu}"
PYTHON="${PYTHON:-python3}"

missing() {
    echo "error: tests/gpu: $1; nothing was run, and every result stays pending" >&2
    exit 3
}

"$PYTHON" -c 'import torch' 2>/dev/null || missing "torch cannot be imported by $PYTHON"
"$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || missing "torch finds no CUDA device"
command -v nvcc >/dev/null || missing "nvcc is not on PATH"
SANITIZER="$(command -v compute-sanitizer || true)"

mkdir -p "$OUTPUT"
ARCH="$("$PYTHON" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')"
FAILED=0
step() {
    local name="$1"
    shift
    echo "== $name"
    if "$@" >"$OUTPUT/$name.log" 2>&1; then
        echo "   passed"
    else
        echo "   FAILED: $OUTPUT/$name.log"
        tail -n 20 "$OUTPUT/$name.log"
        FAILED=1
    fi
}

step build env MCX_BUILD_CUDA=1 MCX_CUDA_ARCHS="$ARCH" "$PYTHON" -m pip install --no-build-isolation --no-deps -e .
[ "$FAILED" = 0 ] || exit 1
"$PYTHON" -m megatron_codex.ops --kernels own | tee "$OUTPUT/active.txt"
step tests "$PYTHON" -m pytest -q -m gpu tests
if [ -n "$SANITIZER" ]; then
    for tool in memcheck racecheck synccheck initcheck; do
        step "sanitizer_$tool" "$SANITIZER" --tool "$tool" --error-exitcode 1 "$PYTHON" tests/gpu/every_kernel.py
    done
else
    echo "== compute-sanitizer: MISSING, not run (it comes with the CUDA toolkit)"
    FAILED=1
fi
step times "$PYTHON" tests/gpu/times.py --output "$OUTPUT/times.md"
[ ! -e "$OUTPUT/times.md" ] || cat "$OUTPUT/times.md"
exit "$FAILED"
