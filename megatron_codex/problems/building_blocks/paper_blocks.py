"""The thirteen building blocks of the Codex paper's appendix C, in its wording, code and docstring layout.

They show how the pass rate falls with the length of the chain. That "every third character" begins with the first one
is the paper's own code.
"""

from __future__ import annotations

from megatron_codex.problems.building_blocks.family import Family, table

# fmt: off
_OPERATIONS = table(
    ("remove_e", "text", "text", '{v}.replace("e", "")',
     ("remove all instances of the letter e from the string",)),
    ("exclaim_spaces", "text", "text", '{v}.replace(" ", "!")',
     ("replace all spaces with exclamation points in the string",)),
    ("lowercase", "text", "text", "{v}.lower()",
     ("convert the string s to lowercase",)),
    ("trim_two", "text", "text", "{v}[2:-2]",
     ("remove the first and last two characters of the string",)),
    ("remove_vowels", "text", "text", '"".join(char for char in {v} if char not in "aeiouAEIOU")',
     ("removes all vowels from the string",)),
    ("remove_every_third", "text", "text", '"".join(char for i, char in enumerate({v}) if i % 3 != 0)',
     ("remove every third character from the string",)),
    ("drop_last_half", "text", "text", "{v}[: len({v}) // 2]",
     ("drop the last half of the string, as computed by characters",)),
    ("triple_spaces", "text", "text", '{v}.replace(" ", "   ")',
     ("replace spaces with triple spaces",)),
    ("reverse_words", "text", "text", '" ".join({v}.split()[::-1])',
     ("reverse the order of words in the string",)),
    ("drop_first_half", "text", "text", '" ".join({v}.split()[len({v}.split()) // 2 :])',
     ("drop the first half of the string, as computed by number of words",)),
    ("add_apples", "text", "text", '" ".join(word + " apples" for word in {v}.split())',
     ("add the word apples after every word in the string",)),
    ("alternate_uppercase", "text", "text",
     '"".join(char.upper() if i % 2 == 0 else char for i, char in enumerate({v}))',
     ("make every other character in the string uppercase",)),
    ("remove_punctuation", "text", "text", '"".join([x for x in {v} if x not in ".!?"])',
     ("delete all exclamation points, question marks, and periods from the string",)),
)
# fmt: on

PAPER_BLOCKS = Family(
    name="paper_blocks",
    operations=_OPERATIONS,
    nouns={"text": ("the string",)},
    argument_names={"text": ("s",)},
    function_names=("string_manipulation",),
    annotations={"text": "str"},
    layout="list",
)
