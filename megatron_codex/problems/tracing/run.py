"""The process inside the sandbox: a project's test suite under the tracer.

In: the project's root and test paths. Out: the tracer's records in a file (tracer.py says which).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from megatron_codex.problems.tracing.suites import RUNNERS
from megatron_codex.problems.tracing.tracer import Tracer


def main() -> None:
    """Read the arguments, run the suite, end the process."""
    parser = argparse.ArgumentParser(description="Run a test suite under sys.setprofile.")
    parser.add_argument("--root", required=True, help="the project")
    parser.add_argument("--output", type=Path, required=True, help="file to write the records to")
    parser.add_argument("--num-samples", type=int, required=True, help="distinct calls to record of a function")
    parser.add_argument("--runner", choices=sorted(RUNNERS), required=True)
    parser.add_argument("paths", nargs="+", help="test directories and files")
    arguments = parser.parse_args()
    if arguments.runner == "pytest":
        import pytest  # noqa: F401  # Before the tracing starts: it is not the project's.
    tracer = Tracer(arguments.root, arguments.output, num_samples=arguments.num_samples)
    tracer.start()
    tracer.finish(**RUNNERS[arguments.runner](arguments.paths, tracer.resume))
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that the suite left behind shall not keep this process.
    os._exit(0)
