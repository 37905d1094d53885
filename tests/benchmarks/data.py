"""The data path beside its peers, interleaved in one run on one machine: prints ratios, asserts equal output.

    python tests/benchmarks/data.py [--corpus DIR ...] [--rounds 5] [--only PART ...] [--megabytes 1000]

Peers are installed into .cache/peers, not into .venv. The default corpus is every Python file of the interpreter's
standard library and of the installed packages, each text once. Timings are no tests: run this by hand, alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
from pathlib import Path

from compare_preprocessing import compare_preprocessing
from compare_tokenizers import compare_tokenizers
from corpus_texts import read_corpus
from filters import compare_filters
from near_duplicates import compare_sketches
from peers import install_peers

PARTS = ["tokenizers", "filters", "sketches", "preprocessing", "reading"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    paths = sysconfig.get_paths()
    parser.add_argument("--corpus", nargs="+", type=Path, default=[Path(paths["stdlib"]), Path(paths["purelib"])])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--megabytes", type=int, default=1000, help="of text to preprocess: the corpus, repeated")
    arguments = parser.parse_args()
    install_peers()
    texts = list(read_corpus(arguments.corpus))
    print(f"{len(texts):,} unique files, {sum(map(len, texts)) / 1e6:.1f} MB")
    if "tokenizers" in arguments.only:
        compare_tokenizers(texts, arguments.rounds)
    if "filters" in arguments.only:
        compare_filters(texts, arguments.rounds)
    if "sketches" in arguments.only:
        compare_sketches(texts, arguments.rounds, num_pairs=2000)
    if "preprocessing" in arguments.only:
        compare_preprocessing(texts, arguments.rounds, num_bytes=arguments.megabytes * 1_000_000)
    if "reading" in arguments.only:
        subprocess.run([sys.executable, str(Path(__file__).with_name("reading.py"))], check=True)


if __name__ == "__main__":
    main()
