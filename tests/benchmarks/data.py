"""The data path beside its peers, interleaved in one run on one machine: prints ratios, asserts equal output.

    python tests/benchmarks/data.py [--corpus DIR ...] [--rounds 5]

Peers are installed into .cache/peers, not into .venv. The default corpus is every Python file of the interpreter's
standard library and of the installed packages, each text once. Timings are no tests: run this by hand, alone.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.tokenizer.encoders import build_encoder
from megatron_codex.tokenizer.ranks import build_ranks

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".cache" / "peers"
RANKS = build_ranks(TokenizerConfig())
Encode = Callable[[list[bytes]], list[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    paths = sysconfig.get_paths()
    parser.add_argument("--corpus", nargs="+", type=Path, default=[Path(paths["stdlib"]), Path(paths["purelib"])])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    install_peers("gigatoken==0.10.0", "awkward")
    texts = list(read_corpus(arguments.corpus))
    print(f"{len(texts):,} unique files, {sum(map(len, texts)) / 1e6:.1f} MB; one thread")
    compare_tokenizers(texts, arguments.rounds)


def install_peers(*requirements: str) -> None:
    """Into a folder of their own, once."""
    stamp = PEERS / ".installed"
    if not stamp.exists() or stamp.read_text() != " ".join(requirements):
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(PEERS)]
        subprocess.run([*install, *requirements], check=True)
        stamp.write_text(" ".join(requirements))
    sys.path.append(str(PEERS))


def read_corpus(directories: list[Path]) -> Iterator[bytes]:
    """UTF-8 files without the end-of-document mark, which gigatoken cannot take for text, in no pattern's order."""
    seen = {}
    for directory in directories:
        for path in directory.rglob("*.py"):
            data = path.read_bytes()
            if data and b"<|endoftext|>" not in data and len(data) < 1_000_000:
                seen[hashlib.sha256(data).digest()] = data
    for key in sorted(seen):
        try:
            seen[key].decode()
        except UnicodeDecodeError:
            continue
        yield seen[key]


def compare_tokenizers(texts: list[bytes], rounds: int) -> None:
    """A round: a part of the corpus that none of them has seen (cold), and the same part again (warm)."""
    contenders = {
        "ours": encode_with(None, is_utf8=False),
        "gigatoken": gigatoken(),
        "tiktoken": encode_with("tiktoken", is_utf8=True),
    }
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        part = texts[number::rounds]
        num_bytes = sum(map(len, part))
        results = {}
        for state in ("cold", "warm"):
            names = list(contenders)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                started = time.perf_counter()
                results[name] = contenders[name](part)
                rates.setdefault((name, state), []).append(num_bytes / (time.perf_counter() - started) / 1e6)
        for name, found in results.items():
            for ids, expected, text in zip(found, results["tiktoken"], part, strict=True):
                assert np.array_equal(np.asarray(ids), expected), f"{name} differs on {text[:60]!r}"
    print("ids are equal")
    for state in ("cold", "warm"):
        mine = rates["ours", state]
        print(f"{state}: ours {statistics.median(mine):.0f} MB/s")
        for peer in ("gigatoken", "tiktoken"):
            ratios = [one / other for one, other in zip(mine, rates[peer, state], strict=True)]
            theirs, ratio = statistics.median(rates[peer, state]), statistics.median(ratios)
            print(f"  {peer} {theirs:.0f} MB/s: ours / theirs {ratio:.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")


def encode_with(kind: str | None, *, is_utf8: bool) -> Encode:
    encoder = build_encoder(RANKS, kind=kind)
    print(f"encoder: {encoder.name}")

    def encode(texts: list[bytes]) -> list[Any]:
        offsets = np.cumsum([0, *map(len, texts)])
        ids, counts = encoder.encode_documents(b"".join(texts), offsets, is_utf8=is_utf8, end=None, num_threads=1)
        return np.split(ids, np.cumsum(counts)[:-1])

    return encode


def gigatoken() -> Encode:
    import gigatoken  # type: ignore[import-not-found]

    file = PEERS / "p50k_base.tiktoken"
    # It wants an unbroken range of ranks: bytes that no text has stand for the end of document.
    ranks = {**RANKS, b"\xff\xff": TokenizerConfig().num_ranks}
    lines = sorted((rank, base64.b64encode(token).decode()) for token, rank in ranks.items())
    file.write_text("".join(f"{token} {rank}\n" for rank, token in lines))
    tokenizer = gigatoken.Tokenizer.from_tiktoken(file, pretokenizer="gpt2")
    return lambda texts: tokenizer.encode_batch(texts, parallel=False)  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
