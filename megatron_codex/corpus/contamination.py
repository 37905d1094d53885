"""Documents that hold a benchmark's problems: problem files and documents in, hits out (Codex paper, section 2.2).

"It is important for these tasks to be hand-written, since our models are trained on a large fraction of GitHub, which
already contains solutions to problems from a variety of sources." The benchmarks have since been put there themselves.
A document holds a problem when it has
(exact) its solution or its docstring, white space aside, from the first word to the last, unless that has too few
    words, or too few different ones, to be its own: many people write Euclid's algorithm in the same nine words; or
(ngram) as many words in a row as ngram_words, of its prompt and solution or of its tests, that tell the problem. Words
    are compared (words.py says what they are), so that layout, punctuation and case do not matter.
Words tell a problem when no more than four problems have them and at least half are different names; of tests, which
are mostly numbers, one long name is enough.

Speed: the documents' runs of words are hashed and looked up in a table; only what is found there is compared as text.
csrc/cpu/words does this for whole documents; without the C++ library all of it is done here, with the same hits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from megatron_codex.config.corpus import MIN_NGRAM_WORDS, DecontaminationConfig
from megatron_codex.corpus.problem_texts import ProblemTexts, read_problem_texts
from megatron_codex.corpus.words import Hashes, Positions, Words, find_words, hash_words, prefix_sums, run_hashes
from megatron_codex.native.library import library

Kind = Literal["exact", "ngram"]

_MAX_TASKS = 4
_ANCHOR_WORDS = MIN_NGRAM_WORDS
_CHUNK_BYTES = 1 << 18
_NO_BORDERS = np.empty(0, np.int64)


@dataclass(frozen=True)
class Hit:
    """One problem in one document, by its longest match; an exact one goes before any other."""

    document: int
    """Position of the document."""
    task_id: str
    kind: Kind
    text: str
    """What stands there."""
    start: int
    """Its first byte in the document."""
    end: int
    """The byte after its last."""


class _Exact(NamedTuple):
    task: int
    words_before: int
    """Words of the text before its anchor."""
    num_words: int
    text: bytes
    """From the first word to the last, runs of white space as one blank."""


class _Match(NamedTuple):
    task: int
    kind: Kind
    first: int
    """Word."""
    num_words: int


class _Table:
    """Hashes that are looked for, [num_hashes] sorted, behind a filter that others pass once in a thousand times."""

    def __init__(self, hashes: Iterable[int]) -> None:
        self.hashes = np.unique(np.fromiter(hashes, np.uint64))
        bits = max(16, (32 * len(self.hashes)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._mask = np.uint64((1 << bits) - 1)
        self._by_high_bits, self._by_low_bits = np.zeros((2, 1 << bits), np.bool_)
        self._by_high_bits[self.hashes >> self._shift] = True
        self._by_low_bits[self.hashes & self._mask] = True

    def find(self, runs: Hashes) -> Positions:
        """Positions of those runs whose hash is in the table, rising."""
        found = np.flatnonzero(self._by_high_bits.take((runs >> self._shift).view(np.int64)))
        found = found[self._by_low_bits[runs[found] & self._mask]]
        places = np.searchsorted(self.hashes, runs[found])  # np.isin would sort the table at every call
        same: Positions = found[self.hashes.take(places, mode="clip") == runs[found]] if len(self.hashes) else found[:0]
        return same


class ProblemIndex:
    """The problems that a corpus may not hold, made for looking through many documents. It can be pickled."""

    def __init__(self, problems: Sequence[ProblemTexts], config: DecontaminationConfig) -> None:
        self.ngram_words = config.ngram_words
        self.task_ids = tuple(problem.task_id for problem in problems)
        self.common_solutions: tuple[str, ...] = tuple(
            problem.task_id for problem in problems if not _is_own(_words(problem.solution), config)
        )
        """Problems whose solution is not looked for by itself: a document with only that is no hit."""
        self._exact = _exact_texts(problems, config)
        self._ngrams = _ngrams(problems, config.ngram_words)
        self._anchor_table, self._ngram_table = _Table(self._exact), _Table(self._ngrams)

    @classmethod
    def from_files(cls, config: DecontaminationConfig) -> ProblemIndex:
        """The problems of config's files. Raises: InputError naming file and line for what is no problem."""
        return cls([problem for path in config.problems for problem in read_problem_texts(path)], config)

    def hits(self, data: bytes | memoryview, offsets: NDArray[np.int64]) -> list[Hit]:
        """The problems in data[offsets[i]:offsets[i + 1]] for each i, by document, then in the problems' order.

        data: documents in UTF-8 (other bytes do no harm), end to end. A problem is given once a document.
        """
        view = memoryview(data)
        found: list[Hit] = []
        for first, last in self._suspects(view, offsets):
            chunk = bytes(view[offsets[first] : offsets[last]])
            found += self._hits_of_chunk(chunk, offsets[first : last + 1] - offsets[first], first)
        return found

    def _suspects(self, view: memoryview, offsets: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
        """Documents (first, the one after the last) to look through: with the C++ library, those that have a hash."""
        native = library()
        if native is None:
            return _chunks(offsets)
        runs = [(_ANCHOR_WORDS, self._anchor_table.hashes), (self.ngram_words, self._ngram_table.hashes)]
        flags = native.find_runs(view, offsets, runs=runs)
        return [(document, document + 1) for document in np.flatnonzero(flags).tolist()]

    def _hits_of_chunk(self, chunk: bytes, offsets: Positions, first_document: int) -> Iterator[Hit]:
        words = find_words(chunk, offsets)
        sums = prefix_sums(hash_words(words))
        matches: dict[tuple[int, int], list[_Match]] = defaultdict(list)
        for match in [*self._exact_matches(chunk, words, sums), *self._ngram_matches(words, sums)]:
            start, end = words.starts[match.first], words.ends[match.first + match.num_words - 1]
            document = int(np.searchsorted(offsets, start, side="right")) - 1
            if end <= offsets[document + 1]:
                matches[document, match.task].append(match)
        for (document, task), of_one in sorted(matches.items()):
            best = _longest(of_one)
            start, end = int(words.starts[best.first]), int(words.ends[best.first + best.num_words - 1])
            yield Hit(
                document=first_document + document,
                task_id=self.task_ids[task],
                kind=best.kind,
                text=chunk[start:end].decode("utf-8", "replace"),
                start=start - int(offsets[document]),
                end=end - int(offsets[document]),
            )

    def _exact_matches(self, chunk: bytes, words: Words, sums: Hashes) -> Iterator[_Match]:
        runs = run_hashes(sums, _ANCHOR_WORDS)
        for position in self._anchor_table.find(runs).tolist():
            for exact in self._exact[int(runs[position])]:
                first = position - exact.words_before
                last = first + exact.num_words - 1
                if first >= 0 and last < len(words.starts):
                    text = chunk[words.starts[first] : words.ends[last]]
                    if b" ".join(text.split()) == exact.text:
                        yield _Match(exact.task, "exact", first, exact.num_words)

    def _ngram_matches(self, words: Words, sums: Hashes) -> Iterator[_Match]:
        runs = run_hashes(sums, self.ngram_words)
        for position in self._ngram_table.find(runs).tolist():
            tasks = self._ngrams[int(runs[position])].get(words.text(position, self.ngram_words), ())
            for task in tasks:
                yield _Match(task, "ngram", position, self.ngram_words)


def _is_own(words: Words, config: DecontaminationConfig) -> bool:
    """Whether a text has words enough, and different ones enough, that hardly anybody else has written it."""
    num_words = len(words.starts)
    if num_words < config.min_exact_words:
        return False
    return len(set(words.text(0, num_words).split())) >= config.min_exact_different_words


def _exact_texts(problems: Sequence[ProblemTexts], config: DecontaminationConfig) -> dict[int, list[_Exact]]:
    """By the hash of an anchor: the longest six words in a row, which ordinary code is least likely to have."""
    found: dict[int, list[_Exact]] = defaultdict(list)
    for task, problem in enumerate(problems):
        for text in dict.fromkeys((problem.solution, problem.docstring)):
            words = _words(text)
            num_words = len(words.starts)
            if not _is_own(words, config):
                continue
            whole = text.encode("utf-8", "replace")[words.starts[0] : words.ends[-1]]
            runs = run_hashes(prefix_sums(hash_words(words)), _ANCHOR_WORDS)
            anchor = int(np.argmax(words.ends[_ANCHOR_WORDS - 1 :] - words.starts[: len(runs)]))
            exact = _Exact(task, anchor, num_words, b" ".join(whole.split()))
            found[int(runs[anchor])].append(exact)
    return dict(found)


def _ngrams(problems: Sequence[ProblemTexts], ngram_words: int) -> dict[int, dict[bytes, tuple[int, ...]]]:
    """The problems that have an n-gram, by its hash and its words: n-grams that tell a problem."""
    tasks: dict[bytes, set[int]] = defaultdict(set)
    hashes: dict[bytes, int] = {}
    for task, problem in enumerate(problems):
        for text, tells in ((problem.program, _has_names), (problem.tests, _has_long_name)):
            words = _words(text)
            for position, run in enumerate(run_hashes(prefix_sums(hash_words(words)), ngram_words).tolist()):
                ngram = words.text(position, ngram_words)
                if tells(ngram):
                    tasks[ngram].add(task)
                    hashes[ngram] = run
    found: dict[int, dict[bytes, tuple[int, ...]]] = defaultdict(dict)
    for ngram, of in tasks.items():
        if len(of) <= _MAX_TASKS:
            found[hashes[ngram]][ngram] = tuple(sorted(of))
    return dict(found)


def _has_names(ngram: bytes) -> bool:
    """Whether at least half of the words are different names: not the numbers and letters of examples."""
    words = ngram.split()
    names = {word for word in words if len(word) > 1 and not word[:1].isdigit()}
    return 2 * len(names) >= len(words)


def _has_long_name(ngram: bytes) -> bool:
    """Whether a word is a name of eight characters or more: tests are the name of what they call, and numbers."""
    return any(len(word) >= 8 and not word[:1].isdigit() for word in ngram.split())


def _words(text: str) -> Words:
    return find_words(text.encode("utf-8", "replace"), _NO_BORDERS)


def _longest(matches: list[_Match]) -> _Match:
    """The longest exact match, else the longest run of overlapping n-grams, as one match."""
    exact = [match for match in matches if match.kind == "exact"]
    if exact:
        return max(exact, key=lambda match: match.num_words)
    joined: list[_Match] = []
    for match in sorted(matches, key=lambda match: match.first):
        before = joined[-1] if joined else None
        if before is not None and match.first <= before.first + before.num_words:
            joined[-1] = before._replace(num_words=match.first + match.num_words - before.first)
        else:
            joined.append(match)
    return max(joined, key=lambda match: match.num_words)


def _chunks(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of documents (first, the one after the last) of about 256 KB, which stay in a core's cache."""
    first, count = 0, len(offsets) - 1
    while first < count:
        last = int(np.searchsorted(offsets, offsets[first] + _CHUNK_BYTES))
        last = min(max(first + 1, last), count)
        yield first, last
        first = last
