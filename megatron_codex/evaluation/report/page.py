"""The page around the sections: one HTML file, no network, light and dark, from phone to desk."""

from __future__ import annotations

from collections.abc import Sequence

from megatron_codex.evaluation.report.markup import Html, join, tag

_CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6470; --paper: #ffffff; --raised: #f4f6f8;
  --line: #d9dee4; --accent: #2a7de1; --good: #1d7f4f; --bad: #b3372b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #9aa5b1; --paper: #14171b; --raised: #1d2228;
  --line: #333b44; --accent: #6aa9f0; --good: #58c48d; --bad: #f0897e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { max-width: 46rem; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th[scope=row], thead th:first-child, .text :is(th, td) { text-align: left; } th[scope=row] { font-weight: 500; }
thead th { color: var(--soft); font-weight: 500; } .numbers td { white-space: nowrap; }
.figures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { max-width: 42rem; }
figure { margin: 0; padding: .75rem; background: var(--raised); border-radius: .5rem; min-width: 0; }
svg { width: 100%; height: auto; color: var(--ink); display: block; }
.track { display: inline-block; width: 10rem; text-align: left; }
.bar { display: inline-block; height: .7rem; min-width: 1px; background: var(--accent); border-radius: 2px; }
pre { overflow-x: auto; background: var(--raised); padding: .75rem; border-radius: .5rem; font-size: .8rem;
  line-height: 1.45; margin: .25rem 0; } code { font-family: ui-monospace, monospace; }
details { margin: .4rem 0; } summary { cursor: pointer; color: var(--soft); }
mark { background: none; font-weight: 600; }
mark.good { color: var(--good); } mark.bad { color: var(--bad); } .prompt { color: var(--soft); }
li { margin: .25rem 0; max-width: 46rem; }
"""


def render_page(title: str, sections: Sequence[Html]) -> str:
    """The whole HTML document."""
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            tag("title", title),
            tag("style", Html(_CSS)),
        ]
    )
    body = tag("main", *(part for part in sections if part))
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', body), lang='en')}\n"
