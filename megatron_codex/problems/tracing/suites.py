"""A project's test suite, run by pytest or unittest in this process.

In: test paths, a function to call before each test. Out: {"exit_code", "passed", "failed", "errors", "skipped"}.
"""

from __future__ import annotations

import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any


class PytestOutcomes:
    """A pytest plugin that counts, and tells when a test is about to run."""

    def __init__(self, before_test: Callable[[], None]) -> None:
        self.counts = {"passed": 0, "failed": 0, "errors": 0, "skipped": 0}
        self.before_test = before_test

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        self.before_test()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call":
            self.counts[report.outcome] += 1
        elif report.outcome != "passed":
            self.counts["skipped" if report.outcome == "skipped" else "errors"] += 1

    def pytest_collectreport(self, report: Any) -> None:
        self.counts["errors"] += report.outcome == "failed"


def run_pytest(paths: list[str], before_test: Callable[[], None]) -> dict[str, int]:
    """Run the suite; {"exit_code", "passed", ...}."""
    import pytest

    outcomes = PytestOutcomes(before_test)
    # The project's own addopts may name plugins that are not here (coverage, xdist). hypothesis works without its
    # plugin, which imports the whole of it into every session: 1.2 s of CPU time, more under the tracer.
    quiet = ["-q", "-rfE", "--tb=line", "-o", "addopts=", "-o", "required_plugins="]
    quiet += ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    exit_code = pytest.main([*quiet, "--continue-on-collection-errors", *paths], plugins=[outcomes])
    return {"exit_code": int(exit_code), **outcomes.counts}


def run_unittest(paths: list[str], before_test: Callable[[], None]) -> dict[str, int]:
    """As run_pytest, for where pytest is not installed."""

    class Result(unittest.TextTestResult):
        def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's own naming
            before_test()
            super().startTest(test)

    runner = unittest.TextTestRunner(verbosity=0, resultclass=Result)  # type: ignore[arg-type]
    if all(Path(path).exists() for path in paths):
        suite = unittest.TestSuite()
        for path in map(Path, paths):
            directory, pattern = (path, "*test*.py") if path.is_dir() else (path.parent, path.name)
            # A loader remembers the top directory of its first discovery: each path has one of its own.
            suite.addTest(unittest.TestLoader().discover(str(directory), pattern=pattern))
        result = runner.run(suite)
    else:  # the words of the project's own command: `discover -s tests`, names of modules
        result = unittest.main(None, argv=["unittest", *paths], testRunner=runner, exit=False).result  # type: ignore[assignment]
    failed, errors, skipped = len(result.failures), len(result.errors), len(result.skipped)
    return {
        "exit_code": int(not result.wasSuccessful()),
        "passed": result.testsRun - failed - errors - skipped,
        "failed": failed,
        "errors": errors,
        "skipped": skipped,
    }


RUNNERS = {"pytest": run_pytest, "unittest": run_unittest}
