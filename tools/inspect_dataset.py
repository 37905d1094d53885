#!/usr/bin/env python
"""What a .bin/.idx dataset holds: documents as text, statistics of its tokens, what the runs of spaces save."""

from __future__ import annotations

import dataclasses
import json

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.corpus import InspectConfig
from megatron_codex.corpus.inspect_tokens import Inspection, inspect_dataset
from megatron_codex.errors import run_command
from megatron_codex.log import configure_logging


def main() -> None:
    """Inspect and print."""
    configure_logging()
    config = parse_command(InspectConfig, description=__doc__)
    found = inspect_dataset(config)
    if config.json:
        print(json.dumps(dataclasses.asdict(found)))
    else:
        print_inspection(found, config)


def print_inspection(found: Inspection, config: InspectConfig) -> None:
    """For people: the statistics first, then each document under a line that names it."""
    print(f"{config.input}: {found.num_documents} documents, {found.num_tokens} tokens ({found.dtype})")
    print(f"tokens a document: mean {found.mean_length:.1f}, median {found.median_length:g}, most {found.max_length}")
    if found.tokenizer is None:
        print(f"{config.input}.manifest.json is missing or names no tokenizer: no texts, and nothing measured on them")
    else:
        print(f"end of document: {100 * (found.eod_share or 0):.3f} % of the tokens")
    if found.text is not None:
        print(
            f"{found.text.num_documents} documents measured: {found.text.bytes_per_token:.3f} bytes a token; "
            f"the runs of spaces save {100 * found.text.saved_share:.1f} % of the {found.text.num_tokens_without_runs} "
            "tokens without them"
        )
    print("most frequent tokens:")
    for token in found.frequent:
        name = "" if token.text is None else repr(token.text)
        print(f"  {token.id:6} {token.count:12} {100 * token.share:6.2f} %  {name}")
    for document in found.documents:
        print(f"--- document {document.position}, {document.num_tokens} tokens")
        print(" ".join(map(str, document.ids)) if document.text is None else document.text)


if __name__ == "__main__":
    run_command(main)
