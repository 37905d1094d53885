#!/usr/bin/env bash
# Fuzz the entry points of csrc/cpu: libFuzzer with the address and undefined-behaviour sanitizers over check_cpu.cc, then
# the tokens of every input that it kept against tiktoken's. Needs clang++ with libFuzzer (Debian: clang libclang-rt-14-dev).
#
#   bash tests/native/fuzz.sh [MINUTES, 10]
#
# Inputs stay in .cache/fuzz/corpus, so the next run goes on from them. A fault leaves .cache/fuzz/crash-* and exit code 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
MINUTES="${1:-10}"
. tools/bootstrap.sh
command -v clang++ >/dev/null || { echo "error: clang++: not found; install clang with libFuzzer" >&2; exit 2; }
mkdir -p .cache/fuzz/{corpus,objects}

export VOCABULARY=.cache/fuzz/vocabulary.bin
python tests/native/fuzz_inputs.py prepare "$VOCABULARY" .cache/fuzz/corpus
INCLUDE="$(python -c 'import pyarrow; print(pyarrow.get_include())')/arrow/vendored/xxhash"
OPTIONS=(-std=c++17 -O1 -g -DFUZZER -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all "-I$INCLUDE")
find csrc/cpu -name '*.cc' ! -path '*/bindings/*' -print0 \
    | { cat; printf 'tests/native/check_cpu.cc\0'; } \
    | xargs -0 -P "$(nproc)" -I{} bash -c 'target=".cache/fuzz/objects/$(tr / _ <<<"$0").o"; clang++ -c "${@}" "$0" -o "$target"' {} "${OPTIONS[@]}"
clang++ -fsanitize=fuzzer,address,undefined .cache/fuzz/objects/*.o -lpthread -o .cache/fuzz/fuzz

.cache/fuzz/fuzz .cache/fuzz/corpus -artifact_prefix=.cache/fuzz/ -max_len=4096 -timeout=60 -rss_limit_mb=8192 \
    -max_total_time=$((MINUTES * 60)) -print_final_stats=1
python tests/native/fuzz_inputs.py compare .cache/fuzz/corpus
