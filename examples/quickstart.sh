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
. examples/arguments.sh
. tools/bootstrap.sh
. examples/stages.sh
SDIST="$(fetch_sdist inflection 0.5.1 .cache/sdists)"

# One thread a process: two single-thread ranks are steadier than one rank with two threads on a shared machine.
export OMP_NUM_THREADS=1
CONFIGS=examples/configs
STDLIB="$(python -c 'import sysconfig; print(sysconfig.get_paths()["stdlib"])')"
TOKENIZER=tokenizer.vocab_size=2073 # as in the training configs

fine_tune() { # fine_tune NAME CONFIG OVERRIDE...: from the base model, on one rank
    local name="$1" config="$2"
    shift 2
    resumable "$name" python tools/train.py --config "$CONFIGS/$config" training.init_from="$RUN/base" \
        training.seed="$SEED" training.output_dir="$RUN/$name" "$@"
}

measure() { # measure MODEL TEMPERATURE...: samples of the held-out problems, judged
    local model="$1" temperature
    shift
    for temperature in "$@"; do
        stage "samples_${model}_t$temperature" python tools/sample.py --checkpoint "$RUN/$model" \
            --problems "$RUN/blocks/held_out.jsonl" --output "$RUN/samples_${model}_t$temperature/samples.jsonl" \
            --num-samples 10 --temperature "$temperature" --top-p 0.95 --seed "$SEED" --max-new-tokens 120
        stage "results_${model}_t$temperature" python tools/evaluate.py --problems "$RUN/blocks/held_out.jsonl" \
            --samples "$RUN/samples_${model}_t$temperature/samples.jsonl" \
            --output "$RUN/results_${model}_t$temperature/results.jsonl" --k 1,10
    done
}

echo "# corpus: raw Python files and generated modules -> unique, filtered documents -> tokens; problems from a test suite"
tokens() { # tokens NAME INPUT...: a corpus and its tokens
    local name="$1"
    shift
    stage "corpus_$name" python tools/build_corpus.py --output "$RUN/corpus_$name" --input "$@"
    stage "tokens_$name" python tools/preprocess_data.py --input "$RUN/corpus_$name" \
        --output-prefix "$RUN/tokens_$name/tokens" "$TOKENIZER"
}
from_outside() { # what this machine and the package index hold
    tokens stdlib "$STDLIB" --exclude test tests idlelib lib2to3 site-packages dist-packages
    stage traced python tools/trace_ci.py --project "$SDIST" --no-install --output "$RUN/traced"
}
lane from_outside
stage blocks python tools/generate_blocks.py --output "$RUN/blocks" --num-train 5000 --chain-lengths 1 2 3 \
    --num-valid 96 --num-held-out 100 --measured-chain-lengths 1 2 3 4 5 --module-bytes 2300000 --seed "$SEED"
tokens modules "$RUN/blocks/modules.jsonl"
join_lanes
DATA="data.data_prefix=[$RUN/tokens_modules/tokens,$RUN/tokens_stdlib/tokens]"

echo "# base Codex, on two ranks that share each layer's matrices (tensor parallelism)"
resumable base torchrun --standalone --nproc-per-node 2 tools/train.py --config "$CONFIGS/quickstart_base.yaml" \
    parallel.tensor_model_parallel_size=2 training.seed="$SEED" training.output_dir="$RUN/base" "$DATA"

echo "# problems: the traced ones, and building blocks, a half of them mis-specified; sampled by the base model, filtered"
stage candidates python tools/generate_blocks.py --output "$RUN/candidates" --num-train 40 --num-mis-specified 40 \
    --num-valid 0 --num-held-out 0 --chain-lengths 1 2 --seed $((SEED + 1000))
cat "$RUN"/candidates/{train,mis_specified}.jsonl "$RUN/traced/problems.jsonl" >"$RUN/candidates/all.jsonl"
stage samples_candidates python tools/sample.py --checkpoint "$RUN/base" --problems "$RUN/candidates/all.jsonl" \
    --output "$RUN/samples_candidates/samples.jsonl" --num-samples 20 --temperature 0.4 --top-p 0.95 --seed "$SEED" \
    --max-new-tokens 120 --workers 2
stage filtered python tools/filter_problems.py --problems "$RUN/candidates/all.jsonl" \
    --samples "$RUN/samples_candidates/samples.jsonl" --output "$RUN/filtered" --min-passes 3 --repeats 3
PROBLEMS=("data.problems=[$RUN/blocks/train.jsonl,$RUN/filtered/problems.jsonl]" "data.valid_problems=$RUN/blocks/valid.jsonl")

echo "# Codex-S, Codex-D, and the base model trained on for as many steps; pass@k of each on held-out building blocks"
codex_s() {
    fine_tune codex_s quickstart_s.yaml "${PROBLEMS[@]}"
    measure codex_s 0.2 0.8
}
codex_d() {
    fine_tune codex_d quickstart_d.yaml "${PROBLEMS[@]}"
    measure base 0.2
}
control() {
    fine_tune base_longer quickstart_base_longer.yaml "$DATA"
    measure base_longer 0.2
    measure base 0.8
}
lane codex_s
lane codex_d
lane control
join_lanes

echo "# 1 of 10 samples by each ranking, and the docstring round trip"
lane stage ranking python tools/rerank.py --results "$RUN/results_codex_s_t0.8/results.jsonl" --output "$RUN/ranking" \
    --docstring-checkpoint "$RUN/codex_d" --problems "$RUN/blocks/held_out.jsonl"
stage round_trip python tools/grade_docstrings.py --docstring-checkpoint "$RUN/codex_d" \
    --code-checkpoint "$RUN/codex_s" --problems "$RUN/blocks/held_out.jsonl" --output "$RUN/round_trip" \
    --num-samples 4 --temperature 0.2 --seed "$SEED" --max-new-tokens 120
join_lanes

stage report python tools/report.py --config "$CONFIGS/quickstart_report.yaml" --run "$RUN" --output "$RUN/report/index.html"
echo "done in $((SECONDS - RUN_START)) s; open $RUN/report/index.html"
