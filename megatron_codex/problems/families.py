"""Which problems belong together: those of one family, and those that are nearly the same.

In: problems. Out: of each, the name of its family, and the keys that nearly equal ones have in common. Each is a
function of the problem alone, so that a split made of them is the same whatever else the file holds
(data/family_split.py).

A family is the functions of one project, whatever its version; the building-block problems of the same operations, in
any order; what the provenance names a `family`; and else the problems of one statement.
Nearly the same are two functions with one syntax tree, docstrings and names of their own variables aside; two
docstrings of the same words; and two problems whose text is alike (as in docs/data.md, "Near-duplicates", at 0.8 and
with shingles of three words: keys of a band are enough, nothing is compared).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from megatron_codex.corpus.banding import band_keys, choose_banding
from megatron_codex.corpus.sketches import EMPTY, sketch_documents
from megatron_codex.problems.bodies import body_key
from megatron_codex.problems.functions import NotSplit
from megatron_codex.records import Problem

_PROJECTS = ("project", "repository", "package")
"""Keys of the provenance that name where functions were found."""

_NUM_PERMUTATIONS, _SHINGLE_WORDS, _THRESHOLD = 128, 3, 0.8
_FEWEST_WORDS = 5
"""Of a docstring: shorter ones ("Return the name.") say the same of different functions."""


def family_of(problem: Problem) -> str:
    """The name of a problem's family.

    >>> problem = Problem(task_id="t", prompt="", entry_point="f", canonical_solution="", test="")
    >>> family_of(replace(problem, provenance={"project": "Typing_Extensions", "version": "4.0"}))
    'project typing-extensions'
    """
    provenance = problem.provenance
    for key in _PROJECTS:
        if provenance.get(key):
            return f"project {re.sub('[-_.]+', '-', str(provenance[key])).lower()}"
    if provenance.get("operations"):
        return f"operations {' '.join([str(provenance.get('family')), *sorted(map(str, provenance['operations']))])}"
    if provenance.get("family"):
        return f"family {provenance['family']}"
    words = _words(problem.docstring) or _words(problem.prompt) or [problem.task_id]
    return f"statement {_key(*words):016x}"


def likenesses(problems: Sequence[Problem]) -> list[frozenset[int]]:
    """Of each problem, the keys that problems nearly the same share with it."""
    texts = [_text(problem).encode(errors="surrogatepass") for problem in problems]
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    sketches = sketch_documents(
        b"".join(texts), offsets, num_permutations=_NUM_PERMUTATIONS, shingle_words=_SHINGLE_WORDS
    )
    banding = choose_banding(threshold=_THRESHOLD, num_permutations=_NUM_PERMUTATIONS)
    bands = band_keys(sketches, banding).T.tolist()
    has_words = (sketches != EMPTY).any(axis=1)
    return [
        frozenset([*_keys_of_parts(problem), *(keys if words else ())])
        for problem, keys, words in zip(problems, bands, has_words, strict=True)
    ]


def _keys_of_parts(problem: Problem) -> list[int]:
    """Of the body, where it is Python, and of the docstring, where it says enough."""
    keys = []
    if problem.body:
        problem = replace(problem, prompt=problem.signature, canonical_solution=problem.body)
    with suppress(NotSplit):  # then its text alone tells what it is like
        keys.append(_key("body", body_key(problem)))
    words = _words(problem.docstring)
    if len(words) >= _FEWEST_WORDS:
        keys.append(_key("docstring", *words))
    return keys


def _text(problem: Problem) -> str:
    """Without the context, which functions of different projects share."""
    if problem.body:
        return f"{problem.signature}\n{problem.docstring}\n{problem.body}"
    return f"{problem.prompt}\n{problem.canonical_solution}"


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _key(*words: str) -> int:
    digest = hashlib.sha256(" ".join(words).encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")
