"""Write unicode_classes.inc: which code points are letters, numbers and white space, as runs.

The classes are asked of tiktoken's own pattern engine, for ids must equal tiktoken's: its Unicode version decides.
Run again when tests/tokenizer says that the installed tiktoken disagrees.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import tiktoken

PATTERNS = {"letter": r"\p{L}", "number": r"\p{N}", "space": r"\s"}
CODES = {"other": 0, "letter": 1, "number": 2, "space": 3}
NUM_CODE_POINTS = 0x110000
SURROGATES = range(0xD800, 0xE000)


def classes() -> list[int]:
    """The code of every code point; surrogates, which no UTF-8 holds, are `other`."""
    text = "".join(chr(point) for point in range(NUM_CODE_POINTS) if point not in SURROGATES)
    found = [CODES["other"]] * NUM_CODE_POINTS
    single_bytes = {bytes([byte]): byte for byte in range(256)}
    for name, pattern in PATTERNS.items():
        # Text that no piece matches is dropped, so what comes back is exactly the class.
        encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=single_bytes, special_tokens={})
        for character in encoding.decode(encoding.encode_ordinary(text)):
            found[ord(character)] = CODES[name]
    return found


def main() -> None:
    runs = [(code, len(list(group))) for code, group in groupby(classes())]
    lines = [f"    {{{code}, {length}}}," for code, length in runs]
    header = f"// By make_unicode_classes.py with tiktoken {tiktoken.__version__}: {{class, code points}} from 0 on."
    Path(__file__).with_name("unicode_classes.inc").write_text("\n".join([header, *lines]) + "\n")


if __name__ == "__main__":
    main()
