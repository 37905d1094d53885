"""The process inside the sandbox: a project's test suite under the tracer.

In: the project's root and test paths. Out: the tracer's records in a file (tracer.py says which).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from megatron_codex.problems.tracing.origins import LIBRARIES
from megatron_codex.problems.tracing.suites import RUNNERS
from megatron_codex.problems.tracing.tracer import Tracer, engines_here


def main() -> None:
    """Read the arguments, run the suite, end the process."""
    parser = argparse.ArgumentParser(description="Run a test suite under the tracer.")
    parser.add_argument("--root", required=True, help="the project")
    parser.add_argument("--output", type=Path, required=True, help="file to write the records to")
    parser.add_argument("--num-samples", type=int, required=True, help="distinct calls to record of a function")
    parser.add_argument("--runner", choices=sorted(RUNNERS), required=True)
    parser.add_argument("--engine", choices=engines_here(), default="", help="default: the fastest that is here")
    parser.add_argument("--libraries", nargs="*", choices=LIBRARIES, default=[], help="whose functions to record too")
    parser.add_argument("--builtins", nargs="*", default=[], help="builtin functions to record too, as math.gcd")
    parser.add_argument("paths", nargs="+", help="test directories and files, and the runner's own arguments")
    arguments = parser.parse_args()
    if arguments.runner == "pytest":
        import pytest  # noqa: F401  # Before the tracing starts: it is not the project's.
    tracer = Tracer(
        arguments.root,
        arguments.output,
        num_samples=arguments.num_samples,
        engine=arguments.engine,
        libraries=arguments.libraries,
        builtins=arguments.builtins,
    )
    leave = os._exit  # A suite may put another in its place.
    tracer.start()
    tracer.finish(**RUNNERS[arguments.runner](arguments.paths, tracer.resume))
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        # Threads that the suite left behind shall not keep this process.
        leave(0)
