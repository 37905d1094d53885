"""Configuration of tools/verify_parallel.py: a training configuration, and what is compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from megatron_codex.config.training import TrainConfig
from megatron_codex.config.training_run import TrainingConfig
from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class VerifiedTrainingConfig(TrainingConfig):
    """The run's batches and precision, as in training. Nothing is written, and nothing is resumed."""

    output_dir: Path = Path("not-written")
    """Not used: verification writes nothing."""
    train_iters: int = 1000
    """Steps of the whole run: the learning rate's decay follows them."""


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(TrainConfig):
    """Compare a layout with one rank: loss, every gradient, weights and optimizer state after some steps."""

    training: VerifiedTrainingConfig
    """The run whose steps are verified."""
    steps: int = 3
    """Training steps to compare. From the second on they show what the optimizer did."""
    num_ranks: int | None = None
    """Ranks to start on this machine where no launcher has started any; none: tensor x pipeline parallel size."""
    check_dropout: bool = True
    """Check the random numbers of dropout too, with the model's rates, or 0.1 where it has none."""

    def __post_init__(self) -> None:
        rules = [("steps", self.steps, 1), ("num_ranks", 1 if self.num_ranks is None else self.num_ranks, 1)]
        faults = [
            Fault(field=name, value=value, rule=f"must be at least {least}", remedy="see --help")
            for name, value, least in rules
            if value < least
        ]
        if self.engine != "megatron":
            rule, remedy = "keeps no gradients to compare", "compare the losses of two runs, or give engine=megatron"
            faults.append(Fault(field="engine", value=self.engine, rule=rule, remedy=remedy))
        raise_faults([*faults, *self._faults()])

    def _data_faults(self) -> list[Fault]:
        return super()._data_faults() if self.names_data else []

    @property
    def names_data(self) -> bool:
        """Whether samples come from data; otherwise they are made up."""
        return any(self.data.paths(name) for name in ("data_prefix", "problems"))

    @property
    def local_ranks(self) -> int:
        """Ranks to start where no launcher has."""
        return self.num_ranks or self.parallel.model_parallel_size
