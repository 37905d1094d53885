"""A plan as one self-contained page: the pipeline's timeline, memory over a step and at its peak, the tables.

In: a Plan. Out: HTML without scripts or network, light and dark.
"""

from __future__ import annotations

from pathlib import Path

from megatron_codex.evaluation.figures import PALETTE, LineFigure, Series
from megatron_codex.evaluation.report.gallery import Gallery
from megatron_codex.evaluation.report.markup import Content, Html, table, tag
from megatron_codex.evaluation.report.page import Section, render_page
from megatron_codex.files import atomic_file
from megatron_codex.planning.plan import Plan
from megatron_codex.planning.recording import KINDS
from megatron_codex.planning.schedule import Timeline, timeline
from megatron_codex.planning.table import headline

_GIB = 2**30
_WIDTH, _ROW, _LEFT = 1000, 26, 70
"""Of the timeline, in the SVG's own units."""
_SHOWN = 24
"""Micro-batches of the timeline at most: more would not be told apart."""


def write_page(plan: Plan, path: Path) -> None:
    """Write the page of a plan of all stages, whole or not at all."""
    assert plan.time is not None
    with atomic_file(path, "w") as handle:
        handle.write(plan_page(plan))


def plan_page(plan: Plan) -> str:
    """The page's HTML."""
    assert plan.time is not None
    title = f"Plan of {plan.config.model.preset or 'a model'} on {plan.config.world_size} devices"
    summary = (
        f"Step {plan.time.step_s:.3f} s, bubble {100 * plan.time.bubble:.1f} %, {plan.tokens_per_s:,.0f} tokens/s, "
        f"MFU {100 * plan.mfu:.1f} %; {plan.run_tokens:.3g} tokens take {plan.days:.2f} days and "
        f"{plan.device_hours:,.0f} device hours. A model's times, measured on no GPU."
    )
    return render_page(
        title,
        [tag("p", line) for line in (*headline(plan).splitlines(), summary)],
        [Section("Pipeline", _pipeline(plan)), Section("Memory", _memory(plan))],
    )


def _pipeline(plan: Plan) -> list[Html]:
    assert plan.time is not None
    parallel = plan.config.parallel
    stages, count = parallel.pipeline_model_parallel_size, plan.records[0].num_microbatches
    shown = min(count, max(stages, _SHOWN // stages * stages))
    times = [stage.passes for stage in plan.time.stages]
    send_s = max(stage.send_s for stage in plan.time.stages)
    run = timeline(times, chunks=parallel.num_chunks, num_microbatches=shown, send_s=send_s)
    note = (
        f"{shown} of {count} micro-batches; forward passes dark, backward passes light, a colour for each chunk, "
        "empty where a stage waits. The numbers are micro-batches."
    )
    return [tag("p", note, class_="soft"), tag("div", timeline_svg(run), class_="scroll")]


def timeline_svg(run: Timeline) -> Html:
    """One row a stage, one box a pass, time to the right."""
    height = _ROW * len(run.stages)
    scale = (_WIDTH - _LEFT) / run.duration_s
    boxes: list[Html] = []
    for stage, passes in enumerate(run.stages):
        top = stage * _ROW
        boxes.append(_text(0, top + 17, f"stage {stage}", anchor="start"))
        for timed in passes:
            left, width = _LEFT + timed.start_s * scale, (timed.end_s - timed.start_s) * scale
            boxes.append(
                tag(
                    "rect",
                    x=f"{left:.2f}",
                    y=str(top + 2),
                    width=f"{max(width - 0.5, 0.2):.2f}",
                    height=str(_ROW - 4),
                    fill=PALETTE[timed.run.chunk % len(PALETTE)],
                    **{"fill-opacity": "0.95" if timed.run.forward else "0.45"},
                )
            )
            if width > 14:
                boxes.append(_text(left + width / 2, top + 17, str(timed.run.microbatch), anchor="middle"))
    label = f"pipeline of {len(run.stages)} stages, {1e3 * run.duration_s:.1f} ms, bubble {100 * run.bubble:.1f} %"
    return tag("svg", *boxes, viewBox=f"0 0 {_WIDTH} {height}", role="img", **{"aria-label": label})


def _text(x: float, y: float, words: str, *, anchor: str) -> Html:
    attributes = {"text-anchor": anchor, "font-size": "11", "fill": "currentColor"}
    return tag("text", words, x=f"{x:.2f}", y=f"{y:.0f}", **attributes)


def _memory(plan: Plan) -> list[Html]:
    over_step = [
        Series(
            label=f"stage {record.stage}",
            x=[number + end for number, _ in enumerate(record.events) for end in (0.0, 0.9)],
            y=[held / _GIB for event in record.events for held in (event.peak_bytes, event.live_bytes)],
        )
        for record in plan.records
    ]
    x_label = "pass of the dry run"
    figure = LineFigure(series=over_step, name="memory over a step", x_label=x_label, y_label="GiB")
    rows: list[list[Content]] = []
    for record in plan.records:
        sizes = [*(record.peak_bytes[kind] for kind in KINDS), record.peak_total_bytes]
        rows.append([f"stage {record.stage}", *(round(size / _GIB, 3) for size in sizes)])
    usable = f"A device's usable memory is {plan.hardware.usable_bytes / _GIB:.2f} GiB."
    return [
        tag("p", f"GiB of a rank at its peak, by kind. {usable}", class_="soft"),
        table(["stage", *KINDS, "peak"], rows),
        Gallery().show([("Most held in each pass, then what it leaves", figure)]),
    ]
