"""A source file's bytes to its text: a Python file's as the interpreter would read it (PEP 263), others' as UTF-8."""

from __future__ import annotations

import codecs
import io
import tokenize

# Text codecs that are no file encodings. The first two take quadratic time, the next two make any bytes "text".
_NOT_ENCODINGS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})


class NotText(ValueError):
    """The bytes are not text in the encoding that they declare."""


def decode_source(data: bytes) -> str:
    """The text: by byte order mark, else by coding cookie, else UTF-8. The mark is left out, line ends are kept.

    Raises: NotText when the encoding is unknown, or the bytes are not of it, or the text has no UTF-8 form.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        if codecs.lookup(encoding).name.replace("-", "_") in _NOT_ENCODINGS:
            raise NotText(f"{encoding} is no encoding of files")
        text = data.decode(encoding)
        text.encode()
    except (SyntaxError, LookupError, UnicodeError) as error:
        raise NotText(str(error)) from error
    return text


def decode_utf8(data: bytes) -> str:
    """The text of a file in another language than Python: UTF-8, a byte order mark left out, line ends kept.

    Raises: NotText when it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotText(str(error)) from error
