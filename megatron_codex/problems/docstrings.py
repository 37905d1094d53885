'''Docstrings as text, and as the literals that stand in source: the one place that knows the layout.

In: a docstring's text. Out: an indented triple-quoted literal, and back. Layout: one line of text -> """text""";
several lines -> quotes on lines of their own, the text between them indented. Codex paper, sections 4 and 5.
'''

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
import warnings

DEFAULT_INDENT = "    "
_QUOTES = '"""'
_LONG_RUN = re.compile(r'"{3,}')
_LONG_OR_FINAL_RUN = re.compile(r'"{3,}|"+$')


def clean_docstring(value: str) -> str:
    r"""The text of a docstring's value: margins, surrounding blank lines and trailing spaces removed, tabs expanded.

    parse_docstring(quote_docstring(text)) == text for every text that this function gives.

    >>> clean_docstring("\n    One.\n      two\n    ")
    'One.\n  two'
    """
    return "\n".join(line.rstrip() for line in inspect.cleandoc(value).split("\n")).strip("\n")


def quote_docstring(text: str, *, indent: str = DEFAULT_INDENT) -> str:
    r'''The literal with its indent and a final newline; "" for text that says nothing. text: a clean_docstring.

    Escaped, so that ast.literal_eval gives the text back: backslashes, runs of three or more quotes, quotes just before
    the closing ones, control characters but the newline, lone surrogates.

    >>> quote_docstring('Say "hi"')
    '    """Say "hi\\""""\n'
    '''
    if not text.strip():
        return ""
    lines = text.expandtabs().split("\n")
    # Only one line has the closing quotes right behind it.
    lines = [_escape(line, _LONG_RUN if len(lines) > 1 else _LONG_OR_FINAL_RUN) for line in lines]
    if len(lines) > 1:
        middle = "".join(f"{indent}{line}\n" if line else "\n" for line in lines)
        return f"{indent}{_QUOTES}\n{middle}{indent}{_QUOTES}\n"
    return f"{indent}{_QUOTES}{lines[0]}{_QUOTES}\n"


def parse_docstring(completion: str) -> str | None:
    """The text of the string literal that a completion starts with; None where there is no whole literal.

    What follows the literal is not read. Byte strings and f-strings are no docstrings.
    """
    source = completion.lstrip()
    try:
        first = next(tokenize.generate_tokens(io.StringIO(source).readline))
        if first.type != tokenize.STRING:
            return None
        with warnings.catch_warnings():
            # A model writes "\d" in plain strings: Python takes it as it stands, and warns.
            warnings.simplefilter("ignore")
            value = ast.literal_eval(first.string)
    except (tokenize.TokenError, SyntaxError, ValueError):
        return None
    return clean_docstring(value) if isinstance(value, str) else None


def _escape(line: str, quotes: re.Pattern[str]) -> str:
    line = quotes.sub(lambda run: '\\"' * len(run.group()), line.replace("\\", "\\\\"))
    return "".join(_escape_character(character) for character in line)


def _escape_character(character: str) -> str:
    code = ord(character)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else character
