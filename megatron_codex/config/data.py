"""What a training run reads: indexed datasets for base training, problems for Codex-S and Codex-D."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Inputs by task: data_prefix for base, problems for codex_s and codex_d."""

    data_prefix: Path | tuple[Path, ...] = ()
    """base: PREFIX of PREFIX.bin and PREFIX.idx (tools/preprocess_data.py), one or several, taken as one data set."""
    data_weights: float | tuple[float, ...] = ()
    """base: relative shares of the samples, one for each data_prefix; none: by size."""
    split: str = "98,1,1"
    """base: shares of the documents for training, validation and test."""
    reset_attention_at_documents: bool = False
    """base: a position sees its own document only, and positions restart with it; false: a window is one text."""
    problems: Path | tuple[Path, ...] = ()
    """codex_s, codex_d: JSONL of problems to train on, one file or several."""
    valid_problems: Path | tuple[Path, ...] = ()
    """codex_s, codex_d: JSONL of problems to validate on, all of them; those of data.problems are then trained on."""
    validation_share: float | None = None
    """codex_s, codex_d: share of the problems' families that is validated on and never trained on. A family's side
    depends on its name alone (docs/data.md). None: 0.1 where the run evaluates and has no valid_problems, else 0."""
    layout: Literal["left_padded", "packed"] = "left_padded"
    """codex_s, codex_d: one example a row, prompts padded on the left (the paper's), or several examples a row."""
    group_by_length: bool = False
    """codex_s, codex_d, left_padded: training batches are made of examples of like lengths, in a random order; they
    then hold much less padding. Evaluations are not changed."""
    train_end_of_text: bool = True
    """codex_s, codex_d: the end of document after a completion counts in the loss; false: the model never learns to
    stop by itself."""

    def __post_init__(self) -> None:
        for name in ("data_prefix", "data_weights", "problems", "valid_problems"):
            given = getattr(self, name)
            object.__setattr__(self, name, given if isinstance(given, tuple) else (given,))
        faults = []
        if self._shares() is None:
            rule, remedy = "must be three shares, none negative, not all zero", "for example 98,1,1"
            faults.append(Fault(field="split", value=self.split, rule=rule, remedy=remedy))
        share = self.validation_share
        if share is not None and not 0 <= share < 1:
            rule, remedy = "must be at least 0 and less than 1", "for example 0.1"
            faults.append(Fault(field="validation_share", value=share, rule=rule, remedy=remedy))
        if share and self.valid_problems:
            rule = "holds problems out, and valid_problems names others to validate on"
            remedy, others = "give one of the two", ("valid_problems",)
            faults.append(Fault(field="validation_share", value=share, rule=rule, remedy=remedy, others=others))
        num_prefixes, weights = len(self.paths("data_prefix")), self.weights
        if weights and not (len(weights) == num_prefixes and all(0 < weight < float("inf") for weight in weights)):
            rule = f"must be {num_prefixes} positive numbers, one for each data_prefix"
            value, remedy = list(weights), "for example [4, 1], or leave it out"
            faults.append(Fault(field="data_weights", value=value, rule=rule, remedy=remedy, others=("data_prefix",)))
        raise_faults(faults)

    def paths(self, name: Literal["data_prefix", "problems", "valid_problems"]) -> tuple[Path, ...]:
        """The paths of a field that takes one or several."""
        given = getattr(self, name)
        assert isinstance(given, tuple)
        return given

    @property
    def weights(self) -> tuple[float, ...]:
        """Relative shares of the samples; none: the data sets are taken as one."""
        assert isinstance(self.data_weights, tuple)
        return self.data_weights

    @property
    def splits(self) -> tuple[float, ...]:
        """Shares of the training, validation and test documents, relative to their sum."""
        shares = self._shares()
        assert shares is not None
        return shares

    def _shares(self) -> tuple[float, ...] | None:
        try:
            shares = tuple(float(share) for share in self.split.split(","))
        except ValueError:
            return None
        valid = len(shares) == 3 and all(0 <= share < float("inf") for share in shares) and sum(shares) > 0
        return shares if valid else None
