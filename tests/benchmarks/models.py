"""What training and sampling cost on this CPU, beside the libraries that people use: prints ratios.

    python tests/benchmarks/models.py sft        a step of fine-tuning, beside TRL and a Hugging Face loop (sft.py)
    python tests/benchmarks/models.py memory     its peak memory, and with every row in the output layer (sft_memory.py)
    python tests/benchmarks/models.py sampling   samples a second (sampling_speed.py)

Each has --help. Timings are no tests: run these by hand, on a machine that does nothing else.
"""

from __future__ import annotations

import importlib
import sys

PARTS = {"sft": "sft", "memory": "sft_memory", "sampling": "sampling_speed"}
"""Name of the part -> the module beside this one whose main(arguments) it is."""


def main(argv: list[str]) -> None:
    if not argv or argv[0] not in PARTS:
        print(__doc__)
        sys.exit(0 if argv in ([], ["-h"], ["--help"]) else 2)
    importlib.import_module(PARTS[argv[0]]).main(argv[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
