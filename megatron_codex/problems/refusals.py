"""Problems that may not be used: by their licence, or because a benchmark has them.

In: problems, the licences that are allowed, the benchmarks' problem files. Out: task_id -> (reason, detail).
A licence is an SPDX expression, or words that name one ("MIT License", as classifiers do). Of alternatives (OR) one
must be allowed, of conditions (AND, or several classifiers) all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np

from megatron_codex.config.corpus import DecontaminationConfig
from megatron_codex.config.problems import FilterConfig
from megatron_codex.corpus.contamination import ProblemIndex
from megatron_codex.records import Problem

_WORDS = {
    "mit": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "the mit license (mit)": "MIT",
    "expat": "MIT",
    "mit no attribution license (mit-0)": "MIT-0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "bsd-2": "BSD-2-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd-3": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "new bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "psf": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
    "zlib/libpng license": "Zlib",
    "boost software license 1.0 (bsl-1.0)": "BSL-1.0",
    "cc0 1.0 universal (cc0 1.0) public domain dedication": "CC0-1.0",
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
    "gnu general public license v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu lesser general public license v2 or later (lgplv2+)": "LGPL-2.0-or-later",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gnu lesser general public license v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "gnu affero general public license v3": "AGPL-3.0-only",
    "gnu affero general public license v3 or later (agplv3+)": "AGPL-3.0-or-later",
}
"""What projects write, in small letters. "BSD License" alone is two licences, and stays as it is."""


def find_refusals(problems: Sequence[Problem], config: FilterConfig) -> dict[str, tuple[str, str]]:
    """Raises: InputError for a benchmark's file that is none."""
    refused: dict[str, tuple[str, str]] = {}
    if config.licences:
        allowed = {spdx_name(name).lower() for name in config.licences}
        for problem in problems:
            if not is_allowed(problem.licence, allowed):
                refused[problem.task_id] = ("licence", problem.licence or "none named")
    for task_id, found in _benchmark_problems(problems, config).items():
        refused.setdefault(task_id, ("benchmark", found))
    return refused


def spdx_name(words: str) -> str:
    """The SPDX identifier that a project's words mean; the words themselves where they mean none.

    >>> spdx_name("MIT License")
    'MIT'
    """
    return _WORDS.get(" ".join(words.lower().split()), words.strip())


def is_allowed(licence: str, allowed: Collection[str]) -> bool:
    """allowed: SPDX identifiers in small letters. No licence named is none allowed."""
    whole = spdx_name(licence)
    if not whole:
        return False
    if whole.lower() in allowed:
        return True
    for word, combine in (("OR", any), ("AND", all)):
        parts = _split(whole, word)
        if len(parts) > 1:
            return combine(is_allowed(part, allowed) for part in parts)
    if whole.startswith("(") and whole.endswith(")"):
        return is_allowed(whole[1:-1], allowed)
    classifiers = whole.split(", ")
    return len(classifiers) > 1 and all(is_allowed(each, allowed) for each in classifiers)


def _split(expression: str, word: str) -> list[str]:
    """At this word, where it stands outside of parentheses."""
    parts, depth = [""], 0
    for token in re.findall(r"[()]|[^()\s]+|\s+", expression):
        depth += (token == "(") - (token == ")")
        if token == word and not depth:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts]


def _benchmark_problems(problems: Sequence[Problem], config: FilterConfig) -> dict[str, str]:
    """task_id -> the benchmark's problem that it holds, in its program or its tests."""
    if not config.decontaminate or not problems:
        return {}
    index = ProblemIndex.from_files(DecontaminationConfig(problems=config.decontaminate))
    texts = [
        f"{problem.prompt}{problem.canonical_solution}\n{problem.test}".encode(errors="surrogatepass")
        for problem in problems
    ]
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    hits = index.hits(b"".join(texts), offsets)
    return {problems[hit.document].task_id: f"{hit.task_id} ({hit.kind})" for hit in reversed(hits)}
