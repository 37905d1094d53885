"""Our own family, for training in miniature: strings, lists and numbers.

Every constant is a word of its operation ("double", "first three"): a model of a million weights learns operations long
before it learns to copy numbers from a docstring, and the experiment is about composing operations.
"""

from __future__ import annotations

from megatron_codex.problems.building_blocks.family import Family, table

# fmt: off
_OPERATIONS = table(
    ("uppercase", "text", "text", "{v}.upper()",
     ("convert {it} to upper case", "put {it} in capitals")),
    ("lowercase", "text", "text", "{v}.lower()",
     ("convert {it} to lower case", "put {it} in small letters")),
    ("reverse_text", "text", "text", "{v}[::-1]",
     ("reverse {it}", "write {it} backwards")),
    ("sort_characters", "text", "text", "''.join(sorted({v}))",
     ("sort the characters of {it}", "put the characters of {it} in order")),
    ("remove_vowels", "text", "text", "''.join(c for c in {v} if c not in 'aeiou')",
     ("remove the vowels from {it}", "drop all vowels of {it}")),
    ("remove_spaces", "text", "text", "{v}.replace(' ', '')",
     ("remove the spaces from {it}", "drop all spaces of {it}")),
    ("double_characters", "text", "text", "''.join(c * 2 for c in {v})",
     ("double each character of {it}", "write each character of {it} twice")),
    ("first_three_characters", "text", "text", "{v}[:3]",
     ("keep the first three characters of {it}", "take the first three characters of {it}")),
    ("count_characters", "text", "number", "len({v})",
     ("count the characters of {it}", "take the length of {it}")),
    ("double_numbers", "list", "list", "[x * 2 for x in {v}]",
     ("double each number of {it}", "make each number of {it} twice as large")),
    ("square_numbers", "list", "list", "[x * x for x in {v}]",
     ("square each number of {it}", "multiply each number of {it} by itself")),
    ("keep_even", "list", "list", "[x for x in {v} if x % 2 == 0]",
     ("keep the even numbers of {it}", "drop the odd numbers of {it}")),
    ("sort_list", "list", "list", "sorted({v})",
     ("sort the numbers of {it}", "put {it} in increasing order")),
    ("reverse_list", "list", "list", "{v}[::-1]",
     ("reverse the order of {it}", "turn {it} around")),
    ("remove_duplicates", "list", "list", "list(dict.fromkeys({v}))",
     ("remove the duplicates from {it}", "keep each number of {it} once")),
    ("first_three_numbers", "list", "list", "{v}[:3]",
     ("keep the first three numbers of {it}", "take the first three numbers of {it}")),
    ("sum", "list", "number", "sum({v})",
     ("add up {it}", "take the sum of {it}")),
    ("largest", "list", "number", "max({v})",
     ("take the largest of {it}", "find the maximum of {it}")),
    ("double", "number", "number", "{v} * 2",
     ("double {it}", "multiply {it} by two")),
    ("square", "number", "number", "{v} * {v}",
     ("square {it}", "multiply {it} by itself")),
    ("negate", "number", "number", "-{v}",
     ("negate {it}", "change the sign of {it}")),
    ("add_ten", "number", "number", "{v} + 10",
     ("add ten to {it}", "make {it} larger by ten")),
)
# fmt: on

CODEX_BLOCKS = Family(
    name="codex_blocks",
    operations=_OPERATIONS,
    nouns={
        "text": ("the string", "the text"),
        "list": ("the list", "the values"),
        "number": ("the number", "the value"),
    },
    # None is a variable of an expression above.
    argument_names={
        "text": ("s", "text", "line", "word"),
        "list": ("xs", "nums", "items", "data"),
        "number": ("n", "num", "value", "size"),
    },
    # Neutral names: a function's name must not give its operations away, or the docstring need not be read.
    function_names=("convert", "apply", "process", "change", "update", "handle", "run", "make", "solve", "step"),
)
