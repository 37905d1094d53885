"""Before and after a fuzzing run (fuzz.sh): inputs to begin with, and all that were kept against tiktoken.

python tests/native/fuzz_inputs.py prepare VOCABULARY CORPUS
python tests/native/fuzz_inputs.py compare CORPUS
"""

from __future__ import annotations

import random
import sys
import sysconfig
from pathlib import Path

import numpy as np

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.native.library import instructions
from megatron_codex.tokenizer.encoders import build_encoder
from megatron_codex.tokenizer.ranks import build_ranks

_NUM_INPUTS = 200
_MAX_INPUT_BYTES = 1500


def write_vocabulary(path: Path) -> None:
    """The tokens as check_cpu.cc reads them."""
    ranks = build_ranks(TokenizerConfig())
    tokens = [b""] * (max(ranks.values()) + 1)
    for token, rank in ranks.items():
        tokens[rank] = token
    path.write_bytes(b"".join(len(token).to_bytes(2, "little") + token for token in tokens))


def prepare(vocabulary: Path, corpus: Path) -> None:
    """The vocabulary, and pieces of the interpreter's own modules."""
    write_vocabulary(vocabulary)
    draw = random.Random(0)
    modules = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    for number in range(_NUM_INPUTS):
        text = draw.choice(modules).read_bytes()
        begin = draw.randrange(max(1, len(text)))
        (corpus / f"module-{number:03}").write_bytes(text[begin : begin + draw.randrange(1, _MAX_INPUT_BYTES)])


def compare(corpus: Path) -> int:
    """Every input through every encoder; the number of inputs on which one differs from tiktoken."""
    ranks = build_ranks(TokenizerConfig())
    oracle = build_encoder(ranks, kind="tiktoken")
    encoders = [build_encoder(ranks, kind=kind) for kind in instructions()]
    texts = [path.read_bytes() for path in sorted(corpus.iterdir())]
    num_different = 0
    for text in texts:
        offsets = np.array([0, len(text)])
        expected, _ = oracle.encode_documents(text, offsets, is_utf8=False, end=None, num_threads=1)
        for encoder in encoders:
            ids, _ = encoder.encode_documents(text, offsets, is_utf8=False, end=None, num_threads=1)
            if not np.array_equal(ids, expected):
                num_different += 1
                print(f"{encoder.name} differs from tiktoken on {text!r}")
    names = ", ".join(encoder.name for encoder in encoders)
    print(f"{len(texts)} inputs, {sum(map(len, texts))} bytes: {names}; {num_different} differ from tiktoken")
    return num_different


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(1 if compare(Path(sys.argv[2])) else 0)
