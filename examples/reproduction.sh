#!/usr/bin/env bash
# The paper's claims that can be shown in miniature, for one seed: the quickstart, then a sweep over temperatures, the
# filter's effect, and a base that begins from a checkpoint. Some twenty minutes on two CPU cores.
#
#   bash examples/reproduction.sh [--run-dir runs/reproduction] [--seed 1]
#
# Several seeds beside each other: tools/report.py --compare (docs/reproduction.md). A second run reuses finished stages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

RUN=runs/reproduction
. examples/arguments.sh
bash examples/quickstart.sh --run-dir "$RUN" --seed "$SEED"
. tools/bootstrap.sh
. examples/stages.sh
STAGE_KEY="$(cat "$RUN/.stages/report.done")" # what follows depends on all of the quickstart
export OMP_NUM_THREADS=1
CONFIGS=examples/configs
HELD_OUT="$RUN/blocks/held_out.jsonl"

train() { # train NAME CONFIG OVERRIDE...
    local name="$1" config="$2"
    shift 2
    resumable "$name" python tools/train.py --config "$CONFIGS/$config" training.seed="$SEED" \
        training.output_dir="$RUN/$name" "$@"
}

measure() { # measure NAME MODEL TEMPERATURE NUM_SAMPLES K: samples of the held-out problems, judged
    stage "samples_$1" python tools/sample.py --checkpoint "$RUN/$2" --problems "$HELD_OUT" \
        --output "$RUN/samples_$1/samples.jsonl" --temperature "$3" --top-p 0.95 --num-samples "$4" --seed "$SEED" \
        --max-new-tokens 120
    stage "results_$1" python tools/evaluate.py --problems "$HELD_OUT" --samples "$RUN/samples_$1/samples.jsonl" \
        --output "$RUN/results_$1/results.jsonl" --k "$5"
}

echo "# 100 samples of each held-out problem at each temperature"
sweep() { # sweep MODEL TEMPERATURE...
    local model="$1" temperature
    shift
    for temperature in "$@"; do
        measure "sweep_${model}_t$temperature" "$model" "$temperature" 100 1,10,100
    done
}
lane sweep base 0.2 0.8
sweep codex_s 0.2 0.4 0.6 0.8 1.0
join_lanes
lane stage ranking_of_100 python tools/rerank.py --results "$RUN/results_sweep_codex_s_t0.8/results.jsonl" \
    --output "$RUN/ranking_of_100" --docstring-checkpoint "$RUN/codex_d" --problems "$HELD_OUT"

echo "# the filter: 600 right problems and 600 mis-specified ones, with and without it"
stage pool python tools/generate_blocks.py --output "$RUN/pool" --num-train 600 --num-mis-specified 600 --num-valid 0 \
    --num-held-out 0 --chain-lengths 1 2 --seed $((SEED + 2000))
cat "$RUN"/pool/{train,mis_specified}.jsonl >"$RUN/pool/all.jsonl"
stage samples_pool python tools/sample.py --checkpoint "$RUN/base" --problems "$RUN/pool/all.jsonl" \
    --output "$RUN/samples_pool/samples.jsonl" --num-samples 20 --temperature 0.4 --top-p 0.95 --seed "$SEED" \
    --max-new-tokens 120
stage filtered_pool python tools/filter_problems.py --problems "$RUN/pool/all.jsonl" \
    --samples "$RUN/samples_pool/samples.jsonl" --output "$RUN/filtered_pool" --min-passes 3 --repeats 3
join_lanes
on_pool() { # on_pool NAME PROBLEMS: Codex-S on these, ended by the validation loss
    train "codex_s_$1" reproduction_filter.yaml training.init_from="$RUN/base" "data.problems=[$2]" \
        "data.valid_problems=$RUN/blocks/valid.jsonl"
    measure "codex_s_$1" "codex_s_$1/checkpoints/best" 0.2 20 1
}
lane on_pool filtered "$RUN/filtered_pool/problems.jsonl"
on_pool unfiltered "$RUN/pool/all.jsonl"
join_lanes

echo "# a base model of the modules: from random weights, and from a model of the standard library"
train library reproduction_base.yaml "data.data_prefix=[$RUN/tokens_stdlib/tokens]"
lane train from_library reproduction_base.yaml "data.data_prefix=[$RUN/tokens_modules/tokens]" \
    training.init_from="$RUN/library"
train from_scratch reproduction_base.yaml "data.data_prefix=[$RUN/tokens_modules/tokens]"
join_lanes

echo "# tokens of the standard library with the tokens for runs of spaces, and without them"
stage tokens_with_runs python tools/preprocess_data.py --input "$RUN/corpus_stdlib" \
    --output-prefix "$RUN/tokens_with_runs/tokens"
stage tokens_without_runs python tools/preprocess_data.py --input "$RUN/corpus_stdlib" \
    --output-prefix "$RUN/tokens_without_runs/tokens" tokenizer.max_run=1

stage claims python tools/report.py --config "$CONFIGS/reproduction_report.yaml" --run "$RUN" \
    --output "$RUN/claims/index.html" --markdown "$RUN/claims/tables.md"
echo "done in $((SECONDS - RUN_START)) s; open $RUN/claims/index.html"
