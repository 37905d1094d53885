"""HTML that cannot forget to escape: text is escaped unless it is already Html.

In: Python values. Out: Html. A sample is a stranger's program text; none of it may become markup of the page.
"""

from __future__ import annotations

import html
from collections.abc import Sequence


class Html(str):
    """Markup that is safe to put into the page as it stands."""


Content = str | int | float | None
"""What may stand in a cell: Html as it is, everything else escaped."""


def text(value: Content) -> Html:
    """A value as Html: escaped, integers with thousands separators, None as a dash."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("–")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Html(html.escape(str(value)))
    return Html(f"{value:,}" if isinstance(value, int) else f"{value:.4g}")


def tag(name: str, /, *children: Content, **attributes: str) -> Html:
    """<name attribute="...">children</name>; `class_` stands for class, `data_model` for data-model."""
    shown = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{shown}>{''.join(text(child) for child in children)}</{name}>")


def join(parts: Sequence[Html]) -> Html:
    """Parts one after another."""
    return Html("\n".join(parts))


def table(head: Sequence[Content], rows: Sequence[Sequence[Content]], *, kind: str = "numbers") -> Html:
    """A table that scrolls by itself where the page is narrow; the first column names the row.

    kind: "numbers" (set right) or "text" (set left).
    """
    header = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    return tag("div", tag("table", tag("thead", header), tag("tbody", *body)), class_=f"scroll {kind}")


def details(summary: Content, content: Html, **attributes: str) -> Html:
    """Content behind a line that opens it."""
    return tag("details", tag("summary", summary), content, **attributes)


def interval(value: float, low: float, high: float) -> str:
    """A share with its interval, in per cent."""
    return f"{value:.1%} [{low:.1%}, {high:.1%}]"


def share_bar(share: float) -> Html:
    """A bar of this share (0..1) of its cell."""
    return tag("span", tag("span", class_="bar", style=f"width:{100 * share:.1f}%"), class_="track")
