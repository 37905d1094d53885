"""Opening and reading base training's data beside megatron-core's GPTDataset, interleaved: prints ratios and memory.

    python tests/benchmarks/reading.py [--documents 100000000] [--rounds 3] [--directory .cache/reading]

The data set is simulated: an .idx of as many documents (20 bytes each), their sizes log-normal with a mean of about 600
tokens, and a .bin that is one hole. Each side runs in a process of its own, a new one each round, so that its memory is
its own; what only the peer does (writing its caches: numpy.save does nothing there) is not counted. Timings are no
tests: run this by hand, alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SEQ_LENGTH = 2048
SPLITS = (98, 1, 1)
NUM_SAMPLES = 512  # fetched again and again, so that their pages stay in memory
NUM_PASSES = 16
EOD = 50_256
ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10**8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=ROOT / ".cache" / "reading")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    prefix = arguments.directory / f"simulated-{arguments.documents}"
    if arguments.side:
        answer(SIDES[arguments.side](prefix))
        return
    write_simulated(prefix, arguments.documents)
    figures: dict[str, dict[str, list[float]]] = {side: {} for side in SIDES}
    for number in range(arguments.rounds):
        names = list(SIDES) if number % 2 == 0 else list(SIDES)[::-1]
        command = [sys.executable, __file__, "--directory", str(arguments.directory)]
        command += ["--documents", str(arguments.documents), "--side"]
        sides = {name: start([*command, name]) for name in names}
        for question in ("open", *["fetch"] * 5, "memory"):
            for name, side in sides.items():
                collect(figures[name], ask(side, question))
        for question in ("fetch_documents", "fetch_slices"):
            collect(figures["ours"], ask(sides["ours"], question))
        for side in sides.values():
            side.communicate("\n", timeout=60)
    report(figures)


def collect(figures: dict[str, list[float]], found: dict[str, float]) -> None:
    print(", ".join(f"{key} {value:.2f}" for key, value in found.items()), file=sys.stderr)
    for key, value in found.items():
        figures.setdefault(key, []).append(value)


def write_simulated(prefix: Path, num_documents: int) -> None:
    """PREFIX.idx and a PREFIX.bin that is one hole, once."""
    idx, hole = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    if idx.exists():
        return
    idx.parent.mkdir(parents=True, exist_ok=True)
    sizes = np.random.default_rng(1).lognormal(5.9, 1.0, num_documents).astype(np.int32) + 1
    pointers = np.zeros(num_documents, np.int64)
    np.cumsum(sizes[:-1], dtype=np.int64, out=pointers[1:])
    num_tokens = int(pointers[-1]) + int(sizes[-1])
    with hole.open("wb") as handle:
        handle.truncate(2 * num_tokens)
    temporary = idx.with_suffix(".tmp")
    with temporary.open("wb") as handle:
        handle.write(struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, 8, num_documents, num_documents + 1))
        sizes.tofile(handle)
        (2 * pointers).tofile(handle)
        np.arange(num_documents + 1, dtype=np.int64).tofile(handle)
    temporary.rename(idx)


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def ask(side: subprocess.Popen[str], question: str) -> dict[str, float]:
    assert side.stdin is not None and side.stdout is not None
    side.stdin.write(question + "\n")
    side.stdin.flush()
    while line := side.stdout.readline():
        if line.startswith("{"):
            return dict(json.loads(line))
    raise AssertionError(f"{side.args!r} ended with {side.wait()} when asked to {question}")


def answer(actions: dict[str, Callable[[], dict[str, float]]]) -> None:
    """One side: do what each line asks for, until an empty one."""
    while question := sys.stdin.readline().strip():
        found = actions[question]() if question in actions else {"peak_rss_mb": peak_rss_mb()}
        print(json.dumps(found), flush=True)


def ours(prefix: Path) -> dict[str, Callable[[], dict[str, float]]]:
    from megatron_codex.data.order import ShuffledOrder
    from megatron_codex.data.pretraining import PretrainingDataset

    sources = []
    values = {"split": "train", "splits": SPLITS, "seq_length": SEQ_LENGTH, "seed": 1, "eod": EOD}

    def open_windows() -> dict[str, float]:
        imported = peak_rss_mb()
        started, used = time.perf_counter(), time.process_time()
        source = PretrainingDataset([prefix], **values)  # type: ignore[arg-type]
        opened, cpu = time.perf_counter(), time.process_time() - used
        source.fingerprint()
        hashed = time.perf_counter()
        assert "torch" not in sys.modules
        # Its documents told apart: the peer looks for their end token, of which the hole has none.
        apart = PretrainingDataset(source.datasets, reset_attention_at_documents=True, **values)  # type: ignore[arg-type]
        sources[:] = [source, apart]
        found = {
            "open_s": opened - started,
            "open_cpu_s": cpu,
            "fingerprint_s": hashed - opened,
            "peak_rss_mb_imported": imported,
        }
        return found | {"peak_rss_mb_opened": peak_rss_mb(), "num_samples": len(source)}

    def fetch(which: int) -> None:
        source = sources[which]
        for index in ShuffledOrder(len(source), 1)(positions(len(source))).tolist():
            source.batch([index], seq_length=SEQ_LENGTH)

    def fetch_slices() -> dict[str, float]:
        source = sources[0]
        starts = (ShuffledOrder(len(source), 1)(positions(len(source))) * SEQ_LENGTH).tolist()
        tokens = np.memmap(f"{prefix}.bin", np.uint16, "r")
        return {"slice_us": timed(lambda: [tokens[at : at + SEQ_LENGTH + 1].astype(np.int64) for at in starts])}

    return {
        "open": open_windows,
        "fetch": lambda: {"fetch_us": timed(lambda: fetch(0))},
        "fetch_slices": fetch_slices,
        "fetch_documents": lambda: {"fetch_documents_us": timed(lambda: fetch(1))},
    }


def megatron(prefix: Path) -> dict[str, Callable[[], dict[str, float]]]:
    import warnings

    warnings.simplefilter("ignore")
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split

    class Tokenizer:
        vocab_size, eod = EOD + 25, EOD
        unique_identifiers: dict[str, Any] = {}  # noqa: RUF012

    np.save = lambda *args, **kwargs: None  # type: ignore[assignment]
    sources: list[Any] = []

    def config(cache: str) -> GPTDatasetConfig:
        return GPTDatasetConfig(
            random_seed=1,
            sequence_length=SEQ_LENGTH,
            blend=([str(prefix)], None),
            split=",".join(map(str, SPLITS)),
            path_to_cache=cache,
            tokenizer=Tokenizer(),
            reset_position_ids=False,
            reset_attention_mask=False,
            eod_mask_loss=False,
            create_attention_mask=False,
        )

    def open_indices() -> dict[str, float]:
        imported = peak_rss_mb()
        with tempfile.TemporaryDirectory() as cache:
            started, used = time.perf_counter(), time.process_time()
            dataset = IndexedDataset(str(prefix))
            count = round(len(dataset) * SPLITS[0] / sum(SPLITS))
            documents = np.arange(count, dtype=np.int32)
            source = GPTDataset(dataset, str(prefix), documents, None, Split.train, config(cache))
            opened, cpu = time.perf_counter(), time.process_time() - used
        sources.append(source)
        found = {"open_s": opened - started, "open_cpu_s": cpu, "peak_rss_mb_imported": imported}
        return found | {"peak_rss_mb_opened": peak_rss_mb(), "num_samples": len(source)}

    def fetch() -> None:
        source = sources[0]
        for position in positions(len(source)).tolist():
            source[position]

    return {"open": open_indices, "fetch": lambda: {"fetch_us": timed(fetch)}}


SIDES = {"ours": ours, "megatron": megatron}


def positions(num_samples: int) -> np.ndarray:
    """Of the samples that are fetched, in the run's order."""
    return np.random.default_rng(2).integers(0, num_samples, NUM_SAMPLES)


def timed(fetch: Callable[[], object]) -> float:
    """Microseconds a sample, the pages being in memory: of the fastest pass, which others disturbed least."""
    fetch()
    gc.collect()
    passes = []
    for _ in range(NUM_PASSES):
        started = time.perf_counter()
        fetch()
        passes.append(time.perf_counter() - started)
    return min(passes) / NUM_SAMPLES * 1e6


def peak_rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def report(figures: dict[str, dict[str, list[float]]]) -> None:
    mine, theirs = figures["ours"], figures["megatron"]
    print(f"samples: ours {mine['num_samples'][0]:,.0f}, GPTDataset {theirs['num_samples'][0]:,.0f}")
    for key in ("open_s", "open_cpu_s", "fetch_us"):
        ratios = [other / one for one, other in zip(mine[key], theirs[key], strict=True)]
        both = f"ours {statistics.median(mine[key]):.2f}, GPTDataset {statistics.median(theirs[key]):.2f}"
        print(f"{key}: {both}, ratio {statistics.median(ratios):.1f} [{min(ratios):.1f}, {max(ratios):.1f}]")
    for key in ("peak_rss_mb_imported", "peak_rss_mb_opened", "peak_rss_mb"):
        print(f"{key}: ours {max(mine[key]):.0f}, GPTDataset {max(theirs[key]):.0f}")
    print(f"fingerprint_s: ours {statistics.median(mine['fingerprint_s']):.3f} after opening")
    print(f"fetch_us with documents told apart: ours {statistics.median(mine['fetch_documents_us']):.2f}")
    print(f"slice_us (a memmap's slice of {SEQ_LENGTH} + 1, cast): {statistics.median(mine['slice_us']):.2f}")


if __name__ == "__main__":
    main()
