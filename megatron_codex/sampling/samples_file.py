"""The samples file of a run: written as it grows, continued after an interruption, whole at the end.

In: a SamplingConfig and its prompts. Out: OUTPUT (JSONL of Completions) and OUTPUT.manifest.json. Until all samples are
drawn, those that are stand in OUTPUT.partial/ (megatron_codex/journals.py), by number: prompt by prompt, sample by
sample. As no sample depends on the others, any number of processes draw a share of the prompts each (--shard), and a
run that was killed goes on, in this division or another, and ends in the same bytes. Memory: 11 bytes a sample.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_codex.config.load import config_to_dict
from megatron_codex.config.sampling import SamplingConfig
from megatron_codex.errors import InputError, WorkError
from megatron_codex.files import require_absent
from megatron_codex.journals import Journal, open_journal
from megatron_codex.jsonl import Row, write_jsonl
from megatron_codex.log import progress
from megatron_codex.manifest import MANIFEST_NAME, read_manifest, write_manifest
from megatron_codex.model.checkpoint_files import resolve_checkpoint
from megatron_codex.ops.programs import in_words
from megatron_codex.rank import is_first_rank
from megatron_codex.records import Completion
from megatron_codex.sampling.drawn_samples import JOURNAL, DrawnSamples, add_sample
from megatron_codex.sampling.generate import draw_items, native, programs, require_distinct
from megatron_codex.sampling.stopping import Stop
from megatron_codex.sampling.work import Decode, Prompt
from megatron_codex.unfinished import partial_path

if TYPE_CHECKING:
    from megatron_codex.sampling.ranks import ModelRanks

_NOT_DECIDING = ("batch_size", "workers", "output", "shard", "parallel")
"""Settings that no sample depends on."""

_logger = logging.getLogger(__name__)


def write_samples(config: SamplingConfig, prompts: Sequence[Prompt], *, stop: Stop) -> dict[str, int] | None:
    """Sample every prompt into config.output, with a manifest beside it; returns counts by finish reason.

    None: this was one shard of several and others have not ended, or a rank that holds part of the model for another.
    Raises: InputError when the output exists, a partial output belongs to other settings, or programs() or draw_items()
    refuses.
    """
    require_distinct(prompts)
    run = _Run(config, prompts, stop)
    with _model_ranks(config) as ranks:
        if ranks is None or ranks.is_first:
            return run.lead(ranks)
        run.follow(ranks)
        return None


def _source(config: SamplingConfig) -> Path:
    """The directory that the weights are read from."""
    if config.backend == "native":
        return resolve_checkpoint(config.checkpoint)
    from megatron_codex.sampling.vllm_backend import require_vllm

    return require_vllm(config.checkpoint)


def _model_ranks(config: SamplingConfig) -> AbstractContextManager[ModelRanks | None]:
    if config.ranks_of_a_copy == 1:
        return nullcontext()
    from megatron_codex.sampling.ranks import model_ranks

    return model_ranks(config.parallel, cuda=config.device.startswith("cuda"))


class _Run:
    """One call of write_samples: what it has read of its inputs."""

    def __init__(self, config: SamplingConfig, prompts: Sequence[Prompt], stop: Stop) -> None:
        self._started_at = time.time()
        self._config, self._prompts, self._stop = config, prompts, stop
        self._checkpoint = _source(config)
        self._programs = programs(config, self._checkpoint) if config.backend == "native" else ()
        self._identity = _identity(config, prompts, self._checkpoint)
        self._total = len(prompts) * config.num_samples

    def lead(self, ranks: ModelRanks | None) -> dict[str, int] | None:
        """Draw this share's samples, write them, and join all shares if this is the last."""
        share = self._config.share
        with ExitStack() as held:
            try:
                journal = self._enter(held, share)
                numbers = self._pending(journal, share) if journal else []
            except Exception as error:
                if ranks is not None:
                    ranks.tell(error)
                if not is_first_rank():  # which speaks for faults that all ranks meet
                    _logger.error("%s", error)
                raise
            if ranks is not None:
                ranks.tell(numbers)
            if journal is None:
                return self._counts_of_earlier_run()
            if self._programs and is_first_rank():
                _logger.info("kernels=%s: %s", self._config.kernels, in_words(self._programs))
            samples = progress(
                self._draw(numbers, ranks), total=len(numbers), description=_description(share), unit="samples"
            )
            for number, sample in zip(numbers, samples, strict=True):
                add_sample(journal, number, sample)
            with journal.joining() as still_there:
                counts = self._join(journal) if still_there else self._counts_of_earlier_run()
            if counts is None and not still_there:
                raise WorkError(f"{partial_path(self._config.output)}: was removed while it was written to; run again")
            return counts

    def follow(self, ranks: ModelRanks) -> None:
        """Hold this rank's part of the model while the first rank leads."""
        for _ in self._draw(ranks.hear(), ranks):
            pass

    def _enter(self, held: ExitStack, share: tuple[int, int]) -> Journal | None:
        """This share's journal; None where the output is there and another shard wrote it."""
        output = self._config.output
        if not partial_path(output).exists():
            if share[1] > 1 and self._counts_of_earlier_run():
                _logger.info("%s is there, of the same inputs and settings", output)
                return None
            require_absent(output)
        return held.enter_context(open_journal(output, name=JOURNAL, fingerprint=self._identity, shard=share))

    def _pending(self, journal: Journal, share: tuple[int, int]) -> list[int]:
        """Numbers of the samples that this share has to draw."""
        with DrawnSamples(journal, self._total) as drawn:
            numbers = drawn.missing()
        mine = numbers[numbers // self._config.num_samples % share[1] == share[0]]
        if len(numbers) < self._total or share[1] > 1:
            text = "%d of %d samples are drawn; share %d/%d draws %d"
            _logger.info(text, self._total - len(numbers), self._total, *share, len(mine))
        return [int(number) for number in mine]

    def _draw(self, numbers: Sequence[int], ranks: ModelRanks | None) -> Iterator[Completion]:
        count = self._config.num_samples
        items = [(self._prompts[number // count], number % count) for number in numbers]
        config = self._config
        return draw_items(self._decode(ranks), items, config=config, stop=self._stop, token_logps=config.token_logps)

    def _decode(self, ranks: ModelRanks | None) -> Decode:
        if self._config.backend == "native":
            return native(self._checkpoint, ranks=ranks)
        from megatron_codex.sampling.vllm_backend import decode

        return partial(decode, self._checkpoint, self._config.parallel)

    def _join(self, journal: Journal) -> dict[str, int] | None:
        """Write the output, if every sample is drawn."""
        config = self._config
        with DrawnSamples(journal, self._total) as drawn:
            if len(missing := drawn.missing()):
                text = "%d of %d samples are not drawn yet; the last shard to end writes %s; if all have, run again"
                _logger.info(text, len(missing), self._total, config.output)
                return None
            reasons: Counter[str] = Counter()
            write_jsonl(config.output, _counted(drawn.rows(), reasons))
        counts = {"problems": len(self._prompts), "samples": self._total, **reasons}
        write_manifest(
            config.output.parent,
            name=f"{config.output.name}.{MANIFEST_NAME}",
            command="sample.py",
            config=config,
            inputs=[config.problems, self._checkpoint / MANIFEST_NAME],
            counts=counts,
            started_at=self._started_at,
            extra={
                "checkpoint": str(self._checkpoint),
                "drawn": self._identity,
                "kernels": {each.operation: each.program for each in self._programs},
            },
        )
        journal.remove()
        return counts

    def _counts_of_earlier_run(self) -> dict[str, int] | None:
        """Those of the output that another shard has written, of the same inputs and settings."""
        output = self._config.output
        try:
            manifest = read_manifest(output.parent, f"{output.name}.{MANIFEST_NAME}")
        except InputError:
            return None
        if not output.exists() or manifest.get("drawn") != self._identity:
            return None
        counts: dict[str, int] = manifest["counts"]
        return counts


def _description(share: tuple[int, int]) -> str:
    return "sampling" if share[1] == 1 else f"sampling shard {share[0]}/{share[1]}"


def _counted(rows: Iterator[Row], reasons: Counter[str]) -> Iterator[Row]:
    for row in rows:
        reasons[row["finish_reason"]] += 1
        yield row


def _identity(config: SamplingConfig, prompts: Sequence[Prompt], checkpoint: Path) -> dict[str, Any]:
    """What decides the samples, of JSON's types; equal for two runs exactly when they would write the same file."""
    settings = {key: value for key, value in config_to_dict(config).items() if key not in _NOT_DECIDING}
    prompt_hash = hashlib.sha256()
    for prompt in prompts:
        prompt_hash.update(json.dumps([prompt.task_id, prompt.text]).encode())
    manifest = hashlib.sha256((checkpoint / MANIFEST_NAME).read_bytes()).hexdigest()
    identity = {
        **settings,
        "checkpoint": str(checkpoint),
        "checkpoint_manifest": manifest,
        "prompts": prompt_hash.hexdigest(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain
