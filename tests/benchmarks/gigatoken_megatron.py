"""The peer of tools/preprocess_data.py: gigatoken's own readers and threads, and megatron-core's IndexedDatasetBuilder.

    python tests/benchmarks/gigatoken_megatron.py PREFIX KEY FILE [FILE ...]

A file at a time, so that memory does not grow with their number. Prints the seconds of the work, without imports.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from peers import PEERS, gigatoken_tokenizer

sys.path.append(str(PEERS))

import awkward as ak  # type: ignore[import-not-found]
import gigatoken  # type: ignore[import-not-found]
import numpy as np

from megatron_codex.config.tokenizer import TokenizerConfig
from tests.megatron_files import MegatronDatasetBuilder


def main() -> None:
    prefix, key, *files = sys.argv[1:]
    started = time.perf_counter()
    tokenizer = gigatoken_tokenizer()
    builder = MegatronDatasetBuilder(f"{prefix}.bin", dtype=np.uint16)
    eod = np.array([TokenizerConfig().num_ranks], np.uint16)
    for file in files:
        kind = gigatoken.ParquetFileSource if Path(file).suffix == ".parquet" else gigatoken.JsonlFileSource
        encoded = tokenizer.encode_files(kind([file], key), parallel=True)
        ids = np.asarray(ak.flatten(encoded))
        start = 0
        for size in ak.num(encoded).to_numpy().tolist():
            builder.add_document(np.concatenate([ids[start : start + size], eod]), [size + 1])
            start += size
    builder.finalize(f"{prefix}.idx")
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
