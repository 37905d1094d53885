"""The data path beside its peers, interleaved in one run on one machine: prints ratios, asserts equal output.

    python tests/benchmarks/data.py [--corpus DIR ...] [--rounds 5] [--only tokenizers|preprocessing] [--megabytes 1000]

Peers are installed into .cache/peers, not into .venv. The default corpus is every Python file of the interpreter's
standard library and of the installed packages, each text once. Timings are no tests: run this by hand, alone.
"""

from __future__ import annotations

import argparse
import sysconfig
from pathlib import Path

from compare_preprocessing import compare_preprocessing
from compare_tokenizers import compare_tokenizers
from corpus_texts import read_corpus
from peers import install_peers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    paths = sysconfig.get_paths()
    parser.add_argument("--corpus", nargs="+", type=Path, default=[Path(paths["stdlib"]), Path(paths["purelib"])])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["tokenizers", "preprocessing"], default=None)
    parser.add_argument("--megabytes", type=int, default=1000, help="of text to preprocess: the corpus, repeated")
    arguments = parser.parse_args()
    install_peers("gigatoken==0.10.0", "awkward")
    texts = list(read_corpus(arguments.corpus))
    print(f"{len(texts):,} unique files, {sum(map(len, texts)) / 1e6:.1f} MB")
    if arguments.only != "preprocessing":
        compare_tokenizers(texts, arguments.rounds)
    if arguments.only != "tokenizers":
        compare_preprocessing(texts, arguments.rounds, num_bytes=arguments.megabytes * 1_000_000)


if __name__ == "__main__":
    main()
