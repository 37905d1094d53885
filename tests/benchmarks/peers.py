"""The peers that benchmarks compare with: installed into .cache/peers, not into .venv."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.tokenizer.ranks import build_ranks

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".cache" / "peers"
RANKS = build_ranks(TokenizerConfig())


_REQUIREMENTS = ("gigatoken==0.10.0", "awkward", "rensa==0.5.0")


def install_peers() -> None:
    """Into a folder of their own, once."""
    stamp = PEERS / ".installed"
    if not stamp.exists() or stamp.read_text() != " ".join(_REQUIREMENTS):
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(PEERS)]
        subprocess.run([*install, *_REQUIREMENTS], check=True)
        stamp.write_text(" ".join(_REQUIREMENTS))
    sys.path.append(str(PEERS))


def gigatoken_tokenizer() -> Any:
    """gigatoken over our own ranks."""
    import gigatoken  # type: ignore[import-not-found]

    file = PEERS / "p50k_base.tiktoken"
    # It wants an unbroken range of ranks: bytes that no text has stand for the end of document.
    ranks = {**RANKS, b"\xff\xff": TokenizerConfig().num_ranks}
    lines = sorted((rank, base64.b64encode(token).decode()) for token, rank in ranks.items())
    file.write_text("".join(f"{token} {rank}\n" for rank, token in lines))
    return gigatoken.Tokenizer.from_tiktoken(file, pretokenizer="gpt2")
