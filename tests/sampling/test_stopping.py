"""Where samples end: stops across token borders, closing quotes, end of document; what is kept and scored."""

from __future__ import annotations

import pytest

from megatron_codex.sampling.stopping import CODE_STOPS, ClosingQuotes, GrowingSample, Stop, StopSequences

EOD = 0


def _grow(parts: list[bytes], stop: Stop | None = None) -> GrowingSample:
    """Feed parts as tokens 1, 2, ... with log p -1, -2, ...; b"" stands for the end of document."""
    sample = GrowingSample("task", 3, stop or StopSequences(), EOD)
    for index, part in enumerate(parts, 1):
        done = sample.add(index if part else EOD, -float(index), [b"", *parts])
        assert done == (sample.finish_reason is not None)
        if done:
            break
    return sample


@pytest.mark.parametrize("stop", CODE_STOPS)
@pytest.mark.parametrize("split", ["whole", "after the newline", "byte by byte", "newline glued to the body"])
def test_a_stop_is_found_across_token_borders(stop: str, split: str) -> None:
    tail = stop.encode()
    parts = {
        "whole": [b"    return x", tail],
        "after the newline": [b"    return x", tail[:1], tail[1:]],
        "byte by byte": [b"    return x", *(bytes([byte]) for byte in tail)],
        "newline glued to the body": [b"    return", b" x\n", tail[1:]],
    }[split]
    sample = _grow([*parts, b" more"])
    assert (bytes(sample.text), sample.finish_reason) == (b"    return x", "stop")


def test_tokens_that_start_before_the_cut_are_kept_and_scored_whole() -> None:
    sample = _grow([b"a", b"b\nde", b"f g"])
    assert bytes(sample.text) == b"ab"
    assert sample.logps == [-1.0, -2.0]
    record = sample.completion(seed=7, checkpoint="c", prompt_sha256="p")
    assert (record.completion, record.num_tokens, record.sum_logp, record.mean_logp) == ("ab", 2, -3.0, -1.5)
    assert (record.seed, record.checkpoint, record.prompt_sha256, record.extra) == (7, "c", "p", {"sample_index": 3})


def test_the_first_stop_wins_and_indented_statements_do_not_stop() -> None:
    assert bytes(_grow([b"    if x:\n        print(x)\n#\ndef"]).text) == b"    if x:\n        print(x)"


def test_end_of_document_ends_without_being_kept() -> None:
    sample = _grow([b"    return 1\n", b"", b"never"])
    assert (bytes(sample.text), sample.logps, sample.finish_reason) == (b"    return 1\n", [-1.0], "eod")


def test_no_tokens_have_no_mean() -> None:
    record = _grow([b""]).completion(seed=0, checkpoint="", prompt_sha256="")
    assert (record.completion, record.mean_logp, record.sum_logp, record.num_tokens) == ("", None, 0, 0)


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    sample = _grow([b"x", b"\xc3"])
    assert sample.completion(seed=0, checkpoint="", prompt_sha256="").completion == "x\ufffd"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([b'    """', b"Add one.", b'"""\n', b"more"], b'    """Add one."""'),
        ([b'    """Add', b' one."', b'""x', b"more"], b'    """Add one."""'),
        ([b"    '''It''", b"'", b"x"], b"    '''It'''"),
        ([b'    """a \\"', b'"" b"""', b"x"], b'    """a \\""" b"""'),
        ([b'    """\n    One.\n\n    ""', b'"\n', b"x"], b'    """\n    One.\n\n    """'),
        ([b'    ""', b'"a"""', b"x"], b'    """a"""'),
        ([b'    "a"', b"\n", b"x"], b'    "a"'),
        ([b'    ""', b"\n", b"x"], b'    ""'),
    ],
    ids=[
        "three quotes",
        "closing quotes over tokens",
        "apostrophes",
        "escaped quotes inside",
        "several lines",
        "opening quotes over tokens",
        "plain string",
        "empty plain string, seen with the token after it",
    ],
)
def test_a_docstring_ends_at_its_closing_quotes(parts: list[bytes], text: bytes) -> None:
    sample = _grow(parts, ClosingQuotes())
    assert (bytes(sample.text), sample.finish_reason) == (text, "stop")
