"""Noisy modules for the base corpus: the same functions, as careless people write them.

In: a family, a size, a seed. Out: Documents. Some docstrings do not fit their bodies, are vague or are missing; some
functions are stubs; imports, constants and small classes stand between them. All compositions are of the train split:
no valid or held-out one occurs, in a docstring or in a body.
Codex paper, section 4: what separates the training distribution of Codex from that of Codex-S.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from megatron_codex.errors import InputError
from megatron_codex.problems.building_blocks.chains import Chain, draw_chain
from megatron_codex.problems.building_blocks.draw import Draw
from megatron_codex.problems.building_blocks.families import family_named
from megatron_codex.problems.building_blocks.family import Family
from megatron_codex.problems.building_blocks.functions import (
    INDENT,
    Function,
    body_in_return,
    body_in_steps,
    draw_function,
    signature,
)
from megatron_codex.problems.building_blocks.generate import CREATED_BY, LICENCE
from megatron_codex.records import Document

_LENGTHS, _LENGTH_WEIGHTS = (1, 2, 3), (5, 3, 2)
_THINGS = (
    "node", "item", "cache", "index", "config", "entry", "buffer", "token", "state", "queue",
    "table", "record", "field", "parser", "writer", "reader", "group", "level", "handle", "event",
)  # fmt: skip
_LIBRARIES = ("os", "sys", "re", "math", "json", "time", "random", "itertools")
_VAGUE_VERBS = ("Handle", "Update", "Helper for", "Process", "Return")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How careless the modules are: chances, each of one function."""

    mismatched: float = 0.10
    """The body follows another chain than the docstring."""
    undocumented: float = 0.08
    vague: float = 0.08
    comment: float = 0.06
    """The docstring's text stands in a comment above the function."""
    stub: float = 0.06
    """The body is `pass` or raises NotImplementedError."""
    in_return: float = 0.4
    """The last step stands in the return statement."""


def generate_modules(family: str, *, num_bytes: int, seed: int, noise: Noise | None = None) -> Iterator[Document]:
    """Modules until their UTF-8 bytes reach `num_bytes`.

    Raises: InputError for an unknown family or a size below 1.
    """
    blocks = family_named(family)
    if num_bytes < 1:
        raise InputError("num_bytes", value=num_bytes, rule="must be at least 1", remedy="ask for some")
    return _modules(blocks, num_bytes, noise or Noise(), Draw(CREATED_BY, "modules", family, seed))


def _modules(family: Family, num_bytes: int, noise: Noise, draw: Draw) -> Iterator[Document]:
    written = number = 0
    while written < num_bytes:
        content = _module(family, noise, draw)
        yield Document(
            content=content,
            path=f"{family.name}/module_{number:06d}.py",
            repository=CREATED_BY,
            licence=LICENCE,
            source=CREATED_BY,
        )
        written += len(content.encode())
        number += 1


def _module(family: Family, noise: Noise, draw: Draw) -> str:
    parts = []
    if draw.chance(0.4):
        parts.append(f'"""{draw.choice(_THINGS).title()} utilities for the {draw.choice(_THINGS)} module."""\n')
    if draw.chance(0.6):
        parts.append("".join(f"import {name}\n" for name in draw.some(_LIBRARIES, count=draw.integer(1, 3))))
    if draw.chance(0.3):
        parts.append(f"{draw.choice(_THINGS).upper()}_{draw.choice(('SIZE', 'LIMIT'))} = {draw.integer(1, 99)}\n")
    for _ in range(draw.integer(3, 7)):
        parts.append(_class(draw) if draw.chance(0.08) else _function(family, noise, draw))
    return "\n\n".join(parts)


def _class(draw: Draw) -> str:
    first, second = draw.some(_THINGS, count=2)
    return (
        f"class {first.title()}{second.title()}:\n"
        f"{INDENT}def __init__(self, {first}, {second}=None):\n"
        f"{INDENT * 2}self.{first} = {first}\n"
        f"{INDENT * 2}self.{second} = {second}\n"
    )


def _function(family: Family, noise: Noise, draw: Draw) -> str:
    said = _train_function(family, draw.weighted(_LENGTHS, weights=_LENGTH_WEIGHTS), draw)
    done = _other_chain(family, said, draw) if draw.chance(noise.mismatched) else said.chain
    name = said.name if draw.chance(0.5) else f"{said.name}_{draw.choice(_THINGS)}"
    comment, quoted = _documentation(said, noise, draw)
    body = _body(done, said.argument, noise, draw)
    return comment + signature(family, said.chain, name=name, argument=said.argument) + quoted + body


def _train_function(family: Family, length: int, draw: Draw) -> Function:
    while True:
        chain = draw_chain(family, length=length, split="train", draw=draw)
        function = draw_function(family, chain, split="train", draw=draw)
        if function is not None:
            return function


def _other_chain(family: Family, said: Function, draw: Draw) -> Chain:
    while True:
        chain = draw_chain(family, length=len(said.chain), split="train", draw=draw)
        if chain[0].takes == said.chain[0].takes:
            return chain


def _documentation(said: Function, noise: Noise, draw: Draw) -> tuple[str, str]:
    """(comment above the function, quoted docstring)."""
    kinds = ("undocumented", "vague", "comment", "docstring")
    rest = 1 - noise.undocumented - noise.vague - noise.comment
    kind = draw.weighted(kinds, weights=(noise.undocumented, noise.vague, noise.comment, rest))
    if kind == "undocumented":
        return "", ""
    if kind == "vague":
        return "", f'{INDENT}"""{draw.choice(_VAGUE_VERBS)} the {draw.choice(_THINGS)} {draw.choice(_THINGS)}."""\n'
    if kind == "comment":
        return f"# {' '.join(said.docstring.split())}\n", ""
    return "", said.quoted_docstring


def _body(chain: Chain, argument: str, noise: Noise, draw: Draw) -> str:
    if draw.chance(noise.stub):
        return draw.choice((f"{INDENT}pass\n", f"{INDENT}raise NotImplementedError\n"))
    return body_in_return(chain, argument) if draw.chance(noise.in_return) else body_in_steps(chain, argument)
