"""The figures of a page: shown where they belong, and kept, so that each can be written to a file, too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from megatron_codex.evaluation.figures import LineFigure
from megatron_codex.evaluation.report.markup import Html, tag


class Gallery:
    """Figures in the order in which they were shown; their names are distinct."""

    def __init__(self) -> None:
        self._shown: dict[str, LineFigure] = {}

    def show(self, captioned: Sequence[tuple[str, LineFigure]]) -> Html:
        """(caption, figure) pairs side by side where there is room; "" for none."""
        drawn = []
        for caption, figure in captioned:
            assert figure.name not in self._shown, f"two figures are named {figure.name}"
            self._shown[figure.name] = figure
            drawn.append(tag("figure", tag("figcaption", caption), Html(figure.inline_svg())))
        return tag("div", *drawn, class_="figures") if drawn else Html("")

    def save(self, directory: Path) -> list[Path]:
        """Each figure as DIRECTORY/NN_its_name.svg and .png; the paths written."""
        return [
            path
            for number, figure in enumerate(self._shown.values(), 1)
            for path in figure.save(directory / f"{number:02}_{_file_name(figure.name)}")
        ]


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9@.]+", "_", name.lower()).strip("_.")[:80]
