"""A funnel as a figure: a bar a stage, its count, and what was dropped on the way to it, by reason.

In: a funnel's counts and drops. Out: one <svg> element as text, in the page's own text colour, without scripts.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

_WIDTH, _LABEL, _BAR, _ROW, _TEXT = 760, 130, 330, 34, 12
_COLOUR = "#2a7de1"  # readable on white and on near-black (evaluation/figures.py)
_MAX_REASONS = 3


def funnel_figure(counts: Mapping[str, int], dropped: Mapping[str, Mapping[str, int]], *, title: str) -> str:
    """counts: stage -> how many reached it, in order. dropped: stage -> reason -> how many fell out there for it."""
    largest = max([1, *counts.values()])
    height = _ROW * len(counts) + 40
    name = html.escape(title)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{name}" '
        f'font-family="sans-serif" font-size="{_TEXT}" fill="currentColor">',
        f"<title>{name}</title>",
        _text(0, 16, title, weight="bold"),
    ]
    for row, (stage, count) in enumerate(counts.items()):
        top = 30 + row * _ROW
        width = _BAR * count / largest
        lines += [
            _text(_LABEL - 8, top + 15, stage, anchor="end"),
            f'<rect x="{_LABEL}" y="{top}" width="{width:.1f}" height="22" fill="{_COLOUR}"/>',
            _text(_LABEL + width + 6, top + 15, f"{count:,}"),
            _text(_LABEL + _BAR + 60, top + 15, _reasons(dropped.get(stage, {})), opacity="0.75", size=10),
        ]
    return "\n".join([*lines, "</svg>\n"])


def _reasons(reasons: Mapping[str, int]) -> str:
    """The commonest, each with its number, and how many others."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"-{number:,} {reason}" for reason, number in ordered[:_MAX_REASONS]]
    rest = sum(number for _, number in ordered[_MAX_REASONS:])
    return ", ".join([*shown, *([f"-{rest:,} others"] if rest else [])])


def _text(
    x: float, y: float, text: str, *, weight: str = "", anchor: str = "", opacity: str = "", size: int = 0
) -> str:
    pairs = {"font-weight": weight, "text-anchor": anchor, "opacity": opacity, "font-size": str(size or "")}
    attributes = "".join(f' {key}="{value}"' for key, value in pairs.items() if value)
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{html.escape(text)}</text>'
