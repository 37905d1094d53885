"""Line figures: as SVG that fits a light and a dark page (no network, no script, no fixed ink colour), and as files.

In: series of points, with intervals where there are any. Out: one <svg> element as text; SVG and PNG files.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from megatron_codex.files import atomic_file

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
    line: bool = True
    """Join the points."""


@dataclass(frozen=True, kw_only=True)
class LineFigure:
    """All series in one pair of axes."""

    series: Sequence[Series]
    name: str
    """Distinct in a page: it seeds the SVG's element ids and names the figure for screen readers."""
    x_label: str
    y_label: str
    ticks: Sequence[float] = ()
    """x values to label; none: matplotlib's choice."""
    log_x: bool = False
    log_y: bool = False
    percent: bool = False
    """y is a share, shown from 0 in per cent."""

    def inline_svg(self) -> str:
        """An <svg> element for a page, in the page's ink and width."""
        buffer = io.StringIO()
        with self._drawn() as figure:
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Title": self.name})
        return _inline(buffer.getvalue(), self.name)

    def save(self, path: Path) -> list[Path]:
        """Write PATH.svg and PATH.png (300 dots an inch), black on white; their paths."""
        written = []
        for suffix, metadata in ((".svg", {"Date": None, "Title": self.name}), (".png", {"Title": self.name})):
            written.append(path.with_name(path.name + suffix))
            with self._drawn(ink="black") as figure, atomic_file(written[-1]) as handle:
                figure.savefig(handle, format=suffix[1:], dpi=300, metadata=metadata)
        return written

    @contextmanager
    def _drawn(self, ink: str = _INK) -> Iterator[Figure]:
        style = {key: ink if value == _INK else value for key, value in _STYLE.items()}
        with mpl.rc_context({**style, "svg.hashsalt": self.name}):
            figure = Figure(figsize=(6.4, 3.4), layout="constrained")
            axes = figure.add_subplot()
            for index, line in enumerate(self.series):
                _draw(axes, line, PALETTE[index % len(PALETTE)])
            axes.set_xlabel(self.x_label)
            axes.set_ylabel(self.y_label)
            axes.grid(visible=True, color=ink, alpha=0.12, linewidth=0.6)
            self._set_scales(axes)
            if len(self.series) > 1:
                axes.legend(frameon=False, fontsize=9)
            yield figure

    def _set_scales(self, axes: Axes) -> None:
        if self.log_x:
            axes.set_xscale("log")
        if self.log_y:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
        if self.ticks:
            axes.xaxis.set_major_locator(FixedLocator(list(self.ticks)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        if self.percent:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.0%}"))


def _draw(axes: Axes, line: Series, colour: str) -> None:
    axes.plot(line.x, line.y, color=colour, label=line.label, **_stroke(line))
    if line.low and line.high:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)


def _stroke(line: Series) -> dict[str, Any]:
    return {"linewidth": 1.6, "linestyle": "-" if line.line else "none", "marker": "o" if line.marker else None}


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
