"""Prompts and completions with the families they are of, and the families that are held out.

In: pairs (or problems), and a share. Out: those to train on and those held out, to validate on or to measure with. The
rule: a family is held out when the hash of its name falls below the share. Nothing else counts: no seed, no order, no
other pair. So a family is on one side in every run, and a larger share holds out the same families and some more. A
pair that is to be trained on but nearly equals one that is held out, whatever its own family, is left out altogether:
it would be learnt by heart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, Self, TypeVar

from megatron_codex.errors import InputError

Purpose = Literal["validation", "evaluation"]
"""What families are held out for. Each has its own: a share held out to measure with leaves others to validate on."""


class Related(Protocol):
    """What is split."""

    @property
    def family(self) -> str:
        """Those that teach each other's solutions have one name."""

    @property
    def likenesses(self) -> Collection[int]:
        """Two with one of these in common are nearly the same."""


Item = TypeVar("Item", bound=Related)


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
class FamilySplit(Generic[Item]):
    """Items in the order given. counts: problems and families of both sides, and what was left out."""

    train: Sequence[Item]
    valid: Sequence[Item]
    left_out: Sequence[Item]
    """Of other families than those held out, but nearly the same as one of theirs."""

    @property
    def counts(self) -> dict[str, int]:
        """Problems and families of both sides, and what was left out."""
        return {
            "train_problems": len(self.train),
            "train_families": len({item.family for item in self.train}),
            "valid_problems": len(self.valid),
            "valid_families": len({item.family for item in self.valid}),
            "left_out_nearly_held_out": len(self.left_out),
        }


def is_held_out(family: str, *, share: float, purpose: Purpose = "validation") -> bool:
    """Whether a family is held out.

    share: of the families, 0 to 1; of many problems it is met roughly, and the better the smaller families are.

    >>> [name for name in ("inflection", "attrs", "black", "isort") if is_held_out(name, share=0.3)]
    ['inflection', 'attrs', 'black']
    """
    return _place(family, purpose) < share


def split_by_family(items: Sequence[Item], *, share: float, purpose: Purpose = "validation") -> FamilySplit[Item]:
    """Raises: InputError when a side would be empty."""
    valid = [item for item in items if is_held_out(item.family, share=share, purpose=purpose)]
    rest = [item for item in items if not is_held_out(item.family, share=share, purpose=purpose)]
    held_out = {key for item in valid for key in item.likenesses}
    train = [item for item in rest if held_out.isdisjoint(item.likenesses)]
    if not train or not valid:
        raise _one_sided(items, share, purpose, nothing_held_out=not valid)
    left_out = [item for item in rest if not held_out.isdisjoint(item.likenesses)]
    return FamilySplit(train=train, valid=valid, left_out=left_out)


def _place(family: str, purpose: Purpose) -> float:
    """The smallest share that holds a family out, 0 to 1."""
    digest = hashlib.sha256(f"{purpose} {family}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _one_sided(items: Sequence[Item], share: float, purpose: Purpose, *, nothing_held_out: bool) -> InputError:
    places = sorted({_place(item.family, purpose) for item in items})
    field, use, other = {
        "validation": ("data.validation_share", "validate on", ", or data.valid_problems=PATH"),
        "evaluation": ("share", "measure with", ""),
    }[purpose]
    remedy = f"give more problems{other}"
    if len(places) > 1:
        remedy = f"for example {(places[0] + places[1]) / 2:.3g}, which holds out one family{other}"
    side = use if nothing_held_out else "train on"
    rule = f"leaves nothing to {side}, of {len(places)} families of problems"
    return InputError(field, value=share, rule=rule, remedy=remedy)
