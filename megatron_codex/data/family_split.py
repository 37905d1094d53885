"""Prompts and completions with the families they are of, and the families that are held out for validation.

In: pairs, and a share. Out: those to train on and those to validate on. The rule: a family is held out when the hash of
its name falls below the share. Nothing else counts: no seed, no order, no other pair. So a family is on one side in
every run, and a larger share holds out the same families and some more. A pair that is to be trained on but nearly
equals one that is held out, whatever its own family, is left out altogether: it would be learnt by heart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from megatron_codex.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A problem as a task sees it."""

    prompt: str
    completion: str
    family: str = ""
    """Problems that teach each other's solutions have one name; empty where nobody asked for families."""
    likenesses: Collection[int] = frozenset()
    """Two problems with one of these in common are nearly the same."""

    @property
    def texts(self) -> tuple[str, str]:
        """Prompt and completion."""
        return self.prompt, self.completion


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What a task reads of problem files."""

    pairs: Sequence[Pair]
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Problems that the task does not train on, by reason."""

    @classmethod
    def of_texts(cls, texts: Iterable[tuple[str, str]]) -> Self:
        """Prompts and completions that nobody asked the families of."""
        return cls(pairs=[Pair(prompt=prompt, completion=completion) for prompt, completion in texts])


@dataclass(frozen=True, kw_only=True)
class FamilySplit:
    """Pairs in the order given. counts: problems and families of both sides, and what was left out."""

    train: Sequence[Pair]
    valid: Sequence[Pair]
    counts: Mapping[str, int]


def is_held_out(family: str, *, share: float) -> bool:
    """Whether a family is validated on.

    share: of the families, 0 to 1; of many problems it is met roughly, and the better the smaller families are.

    >>> [name for name in ("inflection", "attrs", "black", "isort") if is_held_out(name, share=0.3)]
    ['inflection', 'attrs', 'black']
    """
    return _place(family) < share


def split_by_family(pairs: Sequence[Pair], *, share: float) -> FamilySplit:
    """Raises: InputError when a side would be empty."""
    valid = [pair for pair in pairs if is_held_out(pair.family, share=share)]
    rest = [pair for pair in pairs if not is_held_out(pair.family, share=share)]
    held_out = {key for pair in valid for key in pair.likenesses}
    train = [pair for pair in rest if held_out.isdisjoint(pair.likenesses)]
    if not train or not valid:
        raise _one_sided(pairs, share, "train on" if valid else "validate on")
    counts = {
        "train_problems": len(train),
        "train_families": len({pair.family for pair in train}),
        "valid_problems": len(valid),
        "valid_families": len({pair.family for pair in valid}),
        "left_out_nearly_held_out": len(rest) - len(train),
    }
    return FamilySplit(train=train, valid=valid, counts=counts)


def _place(family: str) -> float:
    """The smallest share that holds a family out, 0 to 1."""
    digest = hashlib.sha256(f"validation {family}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _one_sided(pairs: Sequence[Pair], share: float, side: str) -> InputError:
    places = sorted({_place(pair.family) for pair in pairs})
    remedy = "give more problems, or data.valid_problems=PATH"
    if len(places) > 1:
        remedy = (
            f"for example {(places[0] + places[1]) / 2:.3g}, which holds out one family, or data.valid_problems=PATH"
        )
    rule = f"leaves nothing to {side}, of {len(places)} families of problems"
    return InputError("data.validation_share", value=share, rule=rule, remedy=remedy)
