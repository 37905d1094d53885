"""A conversion from its configuration to the output directory (tools/convert_checkpoint.py).

In: a checkpoint or a Hugging Face folder. Out: a run directory with one checkpoint, or a Hugging Face folder; or
nothing, when the input is faulty or the logits of input and output differ. Memory: a few tensors, however many there
are.
"""

from __future__ import annotations

from megatron_codex.config.convert import ConvertConfig
from megatron_codex.convert.from_huggingface import from_huggingface
from megatron_codex.convert.huggingface_folder import CONFIG_NAME
from megatron_codex.convert.lay_out import lay_out
from megatron_codex.convert.outcome import Outcome
from megatron_codex.convert.to_huggingface import to_huggingface
from megatron_codex.errors import InputError
from megatron_codex.files import require_absent


def convert(config: ConvertConfig) -> Outcome:
    """Convert, compare, and only then give the output its name.

    Raises: InputError for faulty input; WorkError when the output would be another model than the input.
    """
    require_absent(config.output)
    if not config.input.is_dir():
        raise InputError("input", value=config.input, rule="no such directory", remedy="check the path")
    is_folder = (config.input / CONFIG_NAME).is_file()
    if is_folder and config.to == "huggingface":
        rule, remedy = "is a Hugging Face folder already", "give to = checkpoint, or a checkpoint"
        raise InputError("input", value=config.input, rule=rule, remedy=remedy)
    if config.extend_vocabulary and not is_folder:
        rule = "is for Hugging Face folders: a checkpoint's vocabulary is that of its training"
        raise InputError("extend_vocabulary", value=True, rule=rule, remedy="leave it out")
    if is_folder:
        return from_huggingface(config)
    return to_huggingface(config) if config.to == "huggingface" else lay_out(config)
