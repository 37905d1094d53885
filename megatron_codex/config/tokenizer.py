"""The tokenizer's vocabulary: its size and which runs of spaces have a token (Codex paper, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

from megatron_codex.errors import Fault, raise_faults

NUM_GPT2_RANKS = 50_256
"""256 bytes and 50,000 merges; GPT-2's 50,257th token is the end of a document."""

NUM_BYTES = 256


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Which of GPT-2's byte pairs and which runs of spaces are tokens. The defaults give Codex's own 50,281 tokens."""

    vocab_size: int | None = None
    """Tokens in all, end-of-document and runs of spaces included; none: all 50,281 (with the default runs)."""
    min_run: int = 2
    """Shortest run of spaces that is a token, in spaces."""
    max_run: int = 25
    """Longest run of spaces that is a token, in spaces; 1: no such tokens, as in GPT-2."""

    def __post_init__(self) -> None:
        faults = []
        if self.min_run < 2:
            remedy = "give 2; to have no runs at all, give max_run 1"
            faults.append(Fault(field="min_run", value=self.min_run, rule="must be at least 2", remedy=remedy))
        if self.max_run < self.min_run - 1:
            rule = f"must be at least min_run - 1 = {self.min_run - 1}"
            remedy = "give the longest run, or min_run - 1 for none"
            faults.append(Fault(field="max_run", value=self.max_run, rule=rule, remedy=remedy, others=("min_run",)))
        if self.vocab_size is not None and not self._smallest <= self.vocab_size <= self._largest:
            rule = f"must lie between {self._smallest} and {self._largest}"
            remedy = f"room is needed for {NUM_BYTES} bytes, {self.num_runs} runs of spaces and the end of a document"
            others = ("min_run", "max_run")
            faults.append(Fault(field="vocab_size", value=self.vocab_size, rule=rule, remedy=remedy, others=others))
        raise_faults(faults)

    @property
    def num_runs(self) -> int:
        """Number of tokens that are runs of spaces."""
        return self.max_run - self.min_run + 1

    @property
    def num_ranks(self) -> int:
        """Number of tokens taken from GPT-2, lowest ranks first."""
        return NUM_GPT2_RANKS if self.vocab_size is None else self.vocab_size - self.num_runs - 1

    @property
    def true_vocab_size(self) -> int:
        """Number of tokens in all, without padding."""
        return self.num_ranks + self.num_runs + 1

    @property
    def _smallest(self) -> int:
        return NUM_BYTES + self.num_runs + 1

    @property
    def _largest(self) -> int:
        return NUM_GPT2_RANKS + self.num_runs + 1
