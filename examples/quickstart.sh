#!/usr/bin/env bash
# From raw Python files to a measured Codex, Codex-S and Codex-D on two CPU cores, and one HTML report.
#
#   bash examples/quickstart.sh [--run-dir runs/quickstart] [--seed 1]
#
# A second run reuses the finished stages; a stage whose command, config or predecessor changed runs again. A training
# stage that was killed continues from its last checkpoint. Logs lie in RUN_DIR/logs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

RUN=runs/quickstart
SEED=1
while [ $# -gt 0 ]; do
    case "$1" in
        --run-dir) RUN="${2:?--run-dir needs a folder}"; shift 2 ;;
        --seed) SEED="${2:?--seed needs a number}"; shift 2 ;;
        -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "error: $1: unknown argument; see --help" >&2; exit 2 ;;
    esac
done
[[ "$SEED" =~ ^[0-9]{1,9}$ ]] || { echo "error: --seed: got '$SEED'; must be a whole number; for example 1" >&2; exit 2; }

. tools/bootstrap.sh
. examples/stages.sh
SDIST="$(fetch_sdist inflection 0.5.1 .cache/sdists)"

# One thread a process: two single-thread ranks are steadier than one rank with two threads on a shared machine.
export OMP_NUM_THREADS=1
CONFIGS=examples/configs
STDLIB="$(python -c 'import sysconfig; print(sysconfig.get_paths()["stdlib"])')"
TOKENIZER=tokenizer.vocab_size=2073 # as in the training configs

fine_tune() { # fine_tune NAME CONFIG OVERRIDE...: from the base model, one rank, beside the others
    local name="$1" config="$2"
    shift 2
    beside "$name" python tools/train.py --config "$CONFIGS/$config" training.init_from="$RUN/base" \
        training.seed="$SEED" training.output_dir="$RUN/$name" "$@"
}

measure() { # measure MODEL TEMPERATURE: samples of the held-out problems, judged
    stage "samples_$1_t$2" python tools/sample.py --checkpoint "$RUN/$1" --problems "$RUN/blocks/held_out.jsonl" \
        --output "$RUN/samples_$1_t$2/samples.jsonl" --num-samples 10 --temperature "$2" --top-p 0.95 \
        --seed "$SEED" --max-new-tokens 120 --workers 2
    stage "results_$1_t$2" python tools/evaluate.py --samples "$RUN/samples_$1_t$2/samples.jsonl" \
        --problems "$RUN/blocks/held_out.jsonl" --output "$RUN/results_$1_t$2/results.jsonl" --k 1,10
}

echo "# corpus: raw Python files and generated modules -> unique, filtered documents -> tokens"
stage blocks python tools/generate_blocks.py --output "$RUN/blocks" --num-train 5000 --chain-lengths 1 2 3 \
    --num-valid 96 --num-held-out 100 --measured-chain-lengths 1 2 3 4 5 --module-bytes 3000000 --seed "$SEED"
stage corpus_stdlib python tools/build_corpus.py --input "$STDLIB" --output "$RUN/corpus_stdlib" \
    --exclude test tests idlelib lib2to3 site-packages dist-packages
stage corpus_modules python tools/build_corpus.py --input "$RUN/blocks/modules.jsonl" --output "$RUN/corpus_modules"
for name in stdlib modules; do
    stage "tokens_$name" python tools/preprocess_data.py --input "$RUN/corpus_$name" \
        --output-prefix "$RUN/tokens_$name/tokens" "$TOKENIZER"
done
DATA="data.data_prefix=[$RUN/tokens_modules/tokens,$RUN/tokens_stdlib/tokens]"

echo "# base Codex, on two ranks that share each layer's matrices (tensor parallelism)"
resumable base torchrun --standalone --nproc-per-node 2 tools/train.py --config "$CONFIGS/quickstart_base.yaml" \
    parallel.tensor_model_parallel_size=2 training.seed="$SEED" training.output_dir="$RUN/base" "$DATA"

echo "# problems: traced from a project's test suite, and building blocks, a half of them mis-specified; then filtered"
stage traced python tools/trace_ci.py --project "$SDIST" --output "$RUN/traced"
stage candidates python tools/generate_blocks.py --output "$RUN/candidates" --num-train 40 --num-mis-specified 40 \
    --num-valid 0 --num-held-out 0 --chain-lengths 1 2 --seed $((SEED + 1000))
cat "$RUN"/candidates/{train,mis_specified}.jsonl "$RUN/traced/problems.jsonl" >"$RUN/candidates/all.jsonl"
stage samples_candidates python tools/sample.py --checkpoint "$RUN/base" --problems "$RUN/candidates/all.jsonl" \
    --output "$RUN/samples_candidates/samples.jsonl" --num-samples 20 --temperature 0.4 --top-p 0.95 --seed "$SEED" \
    --max-new-tokens 120 --workers 2
stage filtered python tools/filter_problems.py --problems "$RUN/candidates/all.jsonl" \
    --samples "$RUN/samples_candidates/samples.jsonl" --output "$RUN/filtered" --min-passes 3 --repeats 3

echo "# Codex-S, Codex-D, and the base model trained on for as many steps"
PROBLEMS=("data.problems=[$RUN/blocks/train.jsonl,$RUN/filtered/problems.jsonl]" "data.valid_problems=$RUN/blocks/valid.jsonl")
fine_tune codex_d quickstart_d.yaml "${PROBLEMS[@]}"
fine_tune codex_s quickstart_s.yaml "${PROBLEMS[@]}"
fine_tune base_longer quickstart_base_longer.yaml "$DATA"
join_stages

echo "# pass@k on held-out building blocks, ranking, and the docstring round trip"
for model in base base_longer codex_s; do measure "$model" 0.2; done
for model in base codex_s; do measure "$model" 0.8; done
stage ranking python tools/rerank.py --results "$RUN/results_codex_s_t0.8/results.jsonl" --output "$RUN/ranking" \
    --docstring-checkpoint "$RUN/codex_d" --problems "$RUN/blocks/held_out.jsonl"
stage round_trip python tools/grade_docstrings.py --docstring-checkpoint "$RUN/codex_d" \
    --code-checkpoint "$RUN/codex_s" --problems "$RUN/blocks/held_out.jsonl" --output "$RUN/round_trip" \
    --num-samples 4 --temperature 0.2 --seed "$SEED" --max-new-tokens 120 --workers 2

stage report python tools/report.py --config "$CONFIGS/quickstart_report.yaml" --run "$RUN" --output "$RUN/report/index.html"
echo "done in $((SECONDS - RUN_START)) s; open $RUN/report/index.html"
