"""Line figures as SVG that fits a light and a dark page: no network, no script, no fixed ink colour.

In: series of points, with intervals where there are any. Out: one <svg> element as text.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

_INK = "#010203"
"""Stands for the page's text colour while matplotlib draws; replaced by currentColor, which follows the page."""

PALETTE = ("#2a7de1", "#e07b39", "#2ca58d", "#c44e9d", "#8a7d55", "#7b68c8", "#c0392b")
"""Readable on white and on near-black."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, small, in the page's own font
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: its points in order of x."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    """Interval of each point; empty where none is known."""
    marker: bool = False
    """Draw the points themselves (few of them)."""


def line_figure(
    series: Sequence[Series],
    *,
    name: str,
    x_label: str,
    y_label: str,
    ticks: Sequence[float] = (),
    log_x: bool = False,
    percent: bool = False,
) -> str:
    """An SVG of all series. name: distinct in a page (it seeds the SVG's element ids and names it for screen readers).

    ticks: x values to label; none: matplotlib's choice. percent: y is a share, shown from 0 in per cent.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for index, line in enumerate(series):
            _draw(axes, line, PALETTE[index % len(PALETTE)])
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(visible=True, color=_INK, alpha=0.12, linewidth=0.6)
        if log_x:
            axes.set_xscale("log")
        if ticks:
            axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        if percent:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.0%}"))
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=9)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Title": name})
    return _inline(buffer.getvalue(), name)


def _draw(axes: Axes, line: Series, colour: str) -> None:
    axes.plot(line.x, line.y, color=colour, linewidth=1.6, marker="o" if line.marker else None, label=line.label)
    if line.low and line.high:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)


def _inline(document: str, name: str) -> str:
    """The <svg> element alone: no prologue, metadata or fixed size, and its ink follows the page."""
    element = document[document.index("<svg") :].replace(_INK, "currentColor").strip()
    element = re.sub(r"<metadata>.*?</metadata>", "", element, count=1, flags=re.DOTALL)
    # Names of groups (figure_1, axes_1) would stand in a page once for every figure: keep those that are referred to.
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', element))
    element = re.sub(r' id="([^"]*)"', lambda match: match.group() if match.group(1) in used else "", element)
    opening, rest = element.split(">", 1)
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    return f'{opening} role="img" aria-label="{html.escape(name)}">{rest}'
