r"""A contest's statement as a docstring: markup taken off, prose wrapped, samples and code left as they stand.

In: plain text, HTML, Markdown, with TeX between dollars. Out: the text of a docstring. Codex paper, section 4.1.

>>> docstring_of("<p>Add <b>a</b> and <i>b</i>.</p><pre>1 2\n3</pre>")
'Add a and b.\n\n1 2\n3'
"""

from __future__ import annotations

import re
import textwrap
from html.parser import HTMLParser

from megatron_codex.problems.docstrings import clean_docstring

_WIDTH = 100
_HTML = re.compile(r"</?(p|div|pre|br|ul|ol|li|b|strong|em|i|code|sup|sub|table|span|h[1-6])\b[^<>]*>", re.IGNORECASE)
_BLOCKS = frozenset(["p", "div", "pre", "ul", "ol", "li", "table", "tr", "h1", "h2", "h3", "h4", "h5", "h6"])
_DOLLARS = re.compile(r"\$\$\$(.+?)\$\$\$|\$\$(.+?)\$\$|\$([^\s$](?:[^\n$]*?[^\s$])?)\$(?!\d)", re.DOTALL)
_TEX = {"leq": "<=", "le": "<=", "geq": ">=", "ge": ">=", "neq": "!=", "ne": "!=", "cdot": "*", "times": "*"}
_TEX |= {"ldots": "...", "dots": "...", "cdots": "...", "lt": "<", "gt": ">", "bmod": "mod"}
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_LINK = re.compile(r"!?\[([^\[\]]+)\](?:\([^()\s]*\)|\[[^\[\]]*\])")
_LINK_TARGET = re.compile(r"^\[[^\[\]]+\]: +\S+.*$", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def docstring_of(statement: str) -> str:
    """The text of a docstring; "" for a statement that says nothing."""
    return clean_docstring("\n" + _wrapped(text_of(statement)))


def text_of(statement: str) -> str:
    """The statement without its markup, lines as they are."""
    text = statement.replace("\r\n", "\n").replace("\r", "\n")
    if _HTML.search(text):
        text = _text_of_html(text)
    text = _COMMENT.sub("", text.replace("\xa0", " "))
    text = _LINK_TARGET.sub("", _LINK.sub(r"\1", text))
    text = _DOLLARS.sub(lambda match: _plain_tex(next(filter(None, match.groups()))), text)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in text.split("\n")))


def _text_of_html(text: str) -> str:
    reader = _Text()
    reader.feed(text)
    reader.close()
    return "".join(reader.pieces)


class _Text(HTMLParser):
    """The text of HTML. White space counts inside <pre>, and everywhere in what has no <p>: it is text with a tag."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.pieces.append("\n")
        elif tag == "li":
            self.pieces.append("\n* ")
        elif tag == "sup":
            self.pieces.append("^")
        elif tag in _BLOCKS:
            self._end_block()

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS and tag != "li":
            self._end_block()

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    def _end_block(self) -> None:
        if "".join(self.pieces[-2:]).strip():
            self.pieces.append("\n\n")


def _plain_tex(formula: str) -> str:
    return _COMMAND.sub(lambda match: _TEX.get(match[1], match[1]), formula).replace("\\", "")


def _wrapped(text: str) -> str:
    """Long lines of prose broken: what is indented, fenced, or has fewer letters than other signs, is none."""
    lines, fenced = [], False
    for line in text.split("\n"):
        fenced ^= line.lstrip().startswith("```")
        is_prose = 2 * sum(map(str.isalpha, line)) > len(line) and not line.startswith((" ", "\t", ">>>"))
        if len(line) > _WIDTH and is_prose and not fenced:
            lines += textwrap.wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
        else:
            lines.append(line)
    return "\n".join(lines)
