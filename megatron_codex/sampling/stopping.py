"""When a sample ends: a stop found in its text, end of document, or the length limit.

In: a sample's tokens one by one. Out: the text before the stop, and the tokens that carry it.
Paper section 2.2: generation stops at '\\nclass', '\\ndef', '\\n#', '\\nif', '\\nprint', since the model would go on to
write other functions or statements. A stop may begin in one token and end in another, so it is searched in the bytes,
not among the tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from megatron_codex.records import Completion

FinishReason = Literal["stop", "eod", "length", "prompt_too_long"]

CODE_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Of function bodies (paper section 2.2)."""

# A string literal at the start of the text, with either kind of quotes; escaped characters do not close it.
_LITERAL = re.compile(rb"""\s*[rRuU]?(\"{3}|'{3}|"(?!"")|'(?!''))(?:\\.|(?!\1).)*?\1""", re.DOTALL)


class Stop(Protocol):
    """Where a growing text ends."""

    def find(self, text: bytearray, *, searched: int) -> int | None:
        """How many bytes to keep, or None to go on. The text's first `searched` bytes were tried before."""
        ...


@dataclass(frozen=True)
class StopSequences:
    """The text ends before the first of these sequences."""

    sequences: tuple[str, ...] = CODE_STOPS
    _pattern: re.Pattern[bytes] = field(init=False, repr=False, compare=False)
    _longest: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        encoded = [sequence.encode() for sequence in self.sequences]
        assert encoded and all(encoded), "an empty stop sequence would end every sample"
        object.__setattr__(self, "_pattern", re.compile(b"|".join(re.escape(sequence) for sequence in encoded)))
        object.__setattr__(self, "_longest", max(len(sequence) for sequence in encoded))

    def find(self, text: bytearray, *, searched: int) -> int | None:
        match = self._pattern.search(text, max(0, searched - self._longest + 1))
        return match.start() if match else None


@dataclass(frozen=True)
class ClosingQuotes:
    """The text ends after the string literal it starts with: how a generated docstring ends."""

    def find(self, text: bytearray, *, searched: int) -> int | None:
        if not any(quote in text[max(0, searched - 1) :] for quote in b"\"'"):
            return None
        match = _LITERAL.match(text)
        if match is None or _may_grow(match, text):
            return None
        return match.end()


def _may_grow(match: re.Match[bytes], text: bytearray) -> bool:
    """Whether "" at the text's end may still become three quotes."""
    return match.end() == len(text) and len(match.group(1)) == 1 and match.end() - match.start(1) == 2


@dataclass
class GrowingSample:
    """A sample under way: its bytes, and where each token starts."""

    task_id: str
    sample_index: int
    stop: Stop
    eod: int
    text: bytearray = field(default_factory=bytearray)
    starts: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    def add(self, token: int, logp: float, token_bytes: Sequence[bytes]) -> bool:
        """Take the next token; True when the sample is finished. The end-of-document token itself is not kept.

        token_bytes: the bytes of every token, by id.
        """
        if token == self.eod:
            self.finish_reason = "eod"
            return True
        searched = len(self.text)
        self.starts.append(searched)
        self.tokens.append(token)
        self.logps.append(logp)
        self.text += token_bytes[token]
        cut = self.stop.find(self.text, searched=searched)
        if cut is None:
            return False
        # A token that starts before the cut is part of the sample, with its whole log p; later ones are not.
        kept = sum(start < cut for start in self.starts)
        del self.starts[kept:], self.tokens[kept:], self.logps[kept:], self.text[cut:]
        self.finish_reason = "stop"
        return True

    def completion(self, *, seed: int, checkpoint: str, prompt_sha256: str, token_logps: bool = False) -> Completion:
        """The finished sample. Bytes that are no UTF-8 become U+FFFD; mean_logp of no tokens is None.

        token_logps: give the kept tokens, and log p of each, too.
        """
        of_tokens = {"tokens": self.tokens, "token_logps": self.logps} if token_logps else {}
        return Completion(
            task_id=self.task_id,
            completion=self.text.decode("utf-8", errors="replace"),
            mean_logp=mean(self.logps),
            sum_logp=sum(self.logps),
            num_tokens=len(self.logps),
            finish_reason=self.finish_reason or "length",
            seed=seed,
            checkpoint=checkpoint,
            prompt_sha256=prompt_sha256,
            extra={"sample_index": self.sample_index, **of_tokens},
        )


def mean(values: Sequence[float]) -> float | None:
    """Arithmetic mean; None of nothing."""
    return sum(values) / len(values) if values else None
