"""Faults that kernels have had or could have: each a change of one place in csrc, and what must catch it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.ops.kernels import cases
from tests.ops.kernels.build import CSRC

RESULTS, EXECUTION = "results", "execution"
"""A wrong value in at least one order; a fault that the execution on a CPU names."""
ADDRESS, UNDEFINED, RACE = "heap-buffer-overflow", "runtime error", "data race"
"""Reports of AddressSanitizer, UndefinedBehaviorSanitizer, ThreadSanitizer."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """path: below csrc. before: text that stands there exactly once; after: what stands there instead."""

    path: str
    before: str
    after: str
    case: Callable[[], cases.Case]
    caught_by: str

    @property
    def sanitizer(self) -> str:
        """What the faulty kernel is built with (build.SANITIZERS)."""
        return {ADDRESS: "address", UNDEFINED: "address", RACE: "thread"}.get(self.caught_by, "unoptimised")

    def inject(self, folder: Path) -> Path:
        """The faulty kernel's source, in a copy of csrc.

        Raises: AssertionError, where the sources have changed so that the fault has no place.
        """
        for part in ("common", "kernels"):
            shutil.copytree(CSRC / part, folder / part)
        source = (folder / self.path).read_text()
        assert source.count(self.before) == 1, f"{self.path} has this {source.count(self.before)} times: {self.before}"
        (folder / self.path).write_text(source.replace(self.before, self.after))
        return folder / "kernels" / f"{self.case.__name__}.cu"


FAULTS = {
    "missing barrier": Fault(
        path="common/reduce.h",
        before="sums[warp] = value;\n  __syncthreads();",
        after="sums[warp] = value;",
        case=cases.layer_norm,
        caught_by=RESULTS,
    ),
    "missing warp sync": Fault(
        path="kernels/decode_suffix.cu",
        before="__syncwarp();  // every lane reads all shares",
        after="",
        case=cases.decode_suffix,
        caught_by=RESULTS,
    ),
    "missing warp sync before results lie where the input did": Fault(
        path="kernels/causal_softmax.cu",
        before="__syncwarp();\n  const float by",
        after="const float by",
        case=cases.causal_softmax,
        caught_by=RACE,
    ),
    "out of bounds in shared memory": Fault(
        path="kernels/decode_suffix.cu",
        before="(float, sums_of_warps, kSuffixWarps * D)",
        after="(float, sums_of_warps, kSuffixWarps * D - 1)",
        case=cases.decode_suffix,
        caught_by=EXECUTION,
    ),
    "out of bounds in global memory": Fault(
        path="kernels/merge_attn_states.cu",
        before="if (row >= num_rows) return;",
        after="if (row > num_rows) return;",
        case=cases.merge_attn_states,
        caught_by=ADDRESS,
    ),
    "vectors where none fit": Fault(
        path="common/launch.h",
        before="row_length % (kVectorBytes / static_cast<int64_t>(sizeof(T))) == 0 &&",
        after="",
        case=cases.bias_gelu,
        caught_by=UNDEFINED,
    ),
    "divergent barrier": Fault(
        path="common/reduce.h",
        before="total += sums[other];\n  __syncthreads();",
        after="total += sums[other];\n  if (warp == 0) __syncthreads();",
        case=cases.layer_norm,
        caught_by=EXECUTION,
    ),
    "wrong lane": Fault(
        path="common/exponentials.h",
        before="other.sum = __shfl_xor_sync(mask, sum, bits);",
        after="other.sum = __shfl_down_sync(mask, sum, bits);",
        case=cases.causal_softmax,
        caught_by=RESULTS,
    ),
    "wrong mask after early exit": Fault(
        path="kernels/vocab_parallel_ce.cu",
        before="found.join_lanes<kWarps>((1u << kWarps) - 1);",
        after="found.join_lanes<kWarps>(kAllLanes);",
        case=cases.vocab_parallel_ce,
        caught_by=EXECUTION,
    ),
    "unsynchronised global add": Fault(
        path="kernels/flat_adam.cu",
        before="partials[blockIdx.x] = sum;",
        after="partials[0] += sum;",
        case=cases.flat_adam,
        caught_by=RACE,
    ),
    "off-by-one band": Fault(
        path="kernels/causal_softmax.cu",
        before="begin = last - band.window + 1;",
        after="begin = last - band.window;",
        case=cases.causal_softmax,
        caught_by=RESULTS,
    ),
    "padded column in the sum": Fault(
        path="kernels/vocab_parallel_ce.cu",
        before="if (column + k >= num_columns) numbers[k] = -INFINITY;",
        after="if (column + k > num_columns) numbers[k] = -INFINITY;",
        case=cases.vocab_parallel_ce,
        caught_by=RESULTS,
    ),
    "wrong ignore row": Fault(
        path="kernels/vocab_parallel_ce.cu",
        before="if (!counted && !zero_ignored) return;",
        after="if (!counts(loss_mask, 0) && !zero_ignored) return;",
        case=cases.vocab_parallel_ce,
        caught_by=RESULTS,
    ),
    "missing bias correction": Fault(
        path="kernels/flat_adam.cu",
        before="sqrt(1.0 - pow(beta2, steps))",
        after="1.0",
        case=cases.flat_adam,
        caught_by=RESULTS,
    ),
    "stale inf flag": Fault(
        path="kernels/flat_adam.cu",
        before="plan[CODEX_PLAN_SKIPPED] = skipped ? 1.0f : 0.0f;",
        after="if (skipped) plan[CODEX_PLAN_SKIPPED] = 1.0f;",
        case=cases.flat_adam,
        caught_by=RESULTS,
    ),
}
