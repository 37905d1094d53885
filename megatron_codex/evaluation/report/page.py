"""The page around the sections: one HTML file, no network, light and dark, from phone to desk.

Its style and script are page.css and page.js, copied into each page. A policy in the page's head lets it load nothing
and run no other script than this one, whatever text it shows.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from megatron_codex.evaluation.report.markup import Html, join, tag

_MIN_CONTENTS = 4
"""A page of fewer sections has no list of contents."""


@dataclass(frozen=True)
class Section:
    """A headed part of a page; left out where it has no content."""

    title: str
    content: Sequence[Html]


def render_page(
    title: str, header: Sequence[Html], sections: Sequence[Section], *, style: str = "", with_script: bool = False
) -> str:
    """The whole HTML document. header: what stands under the title. style: CSS of this page alone. with_script: its
    samples can be filtered, and its figures saved."""
    shown = [section for section in sections if any(section.content)]
    style, script = _file("page.css") + style, _file("page.js") if with_script else ""
    head = [
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", title),
        tag("style", Html(style)),
    ]
    body = [
        tag("header", tag("h1", title), *header),
        _contents(shown) if len(shown) >= _MIN_CONTENTS else Html(""),
        *(tag("section", tag("h2", section.title), *section.content, id=_anchor(section)) for section in shown),
    ]
    main = tag("main", *(part for part in body if part))
    parts = [main, tag("script", Html(script))] if script else [main]
    return f"<!doctype html>\n{tag('html', tag('head', join(head)), tag('body', *parts), lang='en')}\n"


def _contents(sections: Sequence[Section]) -> Html:
    return tag("nav", *(tag("a", section.title, href=f"#{_anchor(section)}") for section in sections))


def _anchor(section: Section) -> str:
    return re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")


def _policy(script: str) -> str:
    """Nothing is loaded; nothing is run but this script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
