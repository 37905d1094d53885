#!/usr/bin/env bash
# Four tiny base models on the same tokens, their held-out loss over their size, and a power law through it (the paper's
# figure 4 in miniature). Six minutes on two CPU cores.
#
#   bash examples/scaling.sh [--run-dir runs/scaling] [--seed 1]
#
# A second run reuses the finished stages; a training stage that was killed continues from its last checkpoint.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

RUN=runs/scaling
. examples/arguments.sh
. tools/bootstrap.sh
. examples/stages.sh
export OMP_NUM_THREADS=1
STDLIB="$(python -c 'import sysconfig; print(sysconfig.get_paths()["stdlib"])')"

echo "# corpus: the interpreter's standard library; a tenth of its files is held out"
stage corpus python tools/build_corpus.py --output "$RUN/corpus" --input "$STDLIB" \
    --exclude test tests idlelib lib2to3 site-packages dist-packages
stage tokens python tools/preprocess_data.py --input "$RUN/corpus" --output-prefix "$RUN/tokens/tokens" \
    tokenizer.vocab_size=2073

echo "# the same tokens, in the same order, for models of four sizes"
base() { # base NAME LAYERS CHANNELS HEADS
    resumable "$1" python tools/train.py --config examples/configs/scaling.yaml "data.data_prefix=$RUN/tokens/tokens" \
        training.seed="$SEED" training.output_dir="$RUN/$1" \
        model.num_layers="$2" model.hidden_size="$3" model.num_attention_heads="$4"
}
small_ones() {
    base layers2_width32 2 32 1
    base layers2_width64 2 64 2
    base layers3_width96 3 96 3
}
lane small_ones
base layers4_width144 4 144 3
join_lanes

stage report python tools/report.py --config examples/configs/scaling_report.yaml --run "$RUN" \
    --output "$RUN/report/index.html" --figures "$RUN/report/figures"
echo "done in $((SECONDS - RUN_START)) s; open $RUN/report/index.html"
