"""BLEU-4 of generated docstrings: a surface measure beside the round trip. The only module that imports nltk.

Tokens: nltk's wordpunct_tokenize (runs of letters and digits, runs of punctuation). Smoothing:
SmoothingFunction.method1 (0.1 added to precisions without a match), as docstrings are short. The paper gives no BLEU;
numbers of other tokenisers or smoothings are not comparable.
"""

from __future__ import annotations

from types import ModuleType

from megatron_codex.errors import InputError

DESCRIPTION = "sentence BLEU-4, nltk wordpunct_tokenize, SmoothingFunction.method1"


def require_nltk() -> ModuleType:
    """nltk, or an InputError that names the extra."""
    try:
        import nltk
    except ImportError as error:
        remedy = "pip install 'megatron-codex[nltk]', or give --no-bleu"
        raise InputError("bleu", value=True, rule="needs nltk, which is not installed", remedy=remedy) from error
    module: ModuleType = nltk
    return module


def sentence_bleu(reference: str, candidate: str) -> float:
    """BLEU-4 of one text against one reference, 0..1; 0 for an empty one."""
    require_nltk()
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.bleu_score import SmoothingFunction
    from nltk.translate.bleu_score import sentence_bleu as nltk_bleu

    tokens = wordpunct_tokenize(candidate)
    if not tokens:
        return 0.0
    return float(nltk_bleu([wordpunct_tokenize(reference)], tokens, smoothing_function=SmoothingFunction().method1))
