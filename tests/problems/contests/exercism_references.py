"""Solutions of some of Exercism's problems, written for this project, as mine_contests.py --references takes them.

By hand: python -m tests.problems.contests.exercism_references REFERENCES.jsonl
"""

from __future__ import annotations

import sys

from megatron_codex.jsonl import write_jsonl

SOLUTIONS = {
    "two-fer/two_fer": "def two_fer(name):\n    return f'One for {name or \"you\"}, one for me.'\n",
    "leap/leap_year": "def leap_year(year):\n    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)\n",
    "reverse-string/reverse": """\
import re


def reverse(value):
    # A letter and the marks that go with it stay together.
    return ''.join(reversed(re.findall(r'.[\\u0300-\\u036f\\u0e30-\\u0e3a\\u0e47-\\u0e4e]*', value)))
""",
    "raindrops/convert": """\
def convert(number):
    sounds = ((3, 'Pling'), (5, 'Plang'), (7, 'Plong'))
    return ''.join(sound for factor, sound in sounds if number % factor == 0) or str(number)
""",
    "hamming/distance": """\
def distance(strand1, strand2):
    if len(strand1) != len(strand2):
        raise ValueError('strands must be of equal length')
    return sum(a != b for a, b in zip(strand1, strand2))
""",
    "collatz-conjecture/steps": """\
def steps(number):
    if number < 1:
        raise ValueError('Only positive integers are allowed')
    count = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        count += 1
    return count
""",
    "isogram/is_isogram": """\
def is_isogram(phrase):
    letters = [char for char in phrase.lower() if char.isalpha()]
    return len(letters) == len(set(letters))
""",
    "pangram/is_pangram": """\
def is_pangram(sentence):
    return set(sentence.lower()) >= set('abcdefghijklmnopqrstuvwxyz')
""",
    "armstrong-numbers/is_armstrong_number": """\
def is_armstrong_number(number):
    digits = str(number)
    return sum(int(digit) ** len(digits) for digit in digits) == number
""",
    "rna-transcription/to_rna": "def to_rna(dna):\n    return dna.translate(str.maketrans('GCTA', 'CGAU'))\n",
    "space-age/age": """\
_YEARS = {'Mercury': 0.2408467, 'Venus': 0.61519726, 'Earth': 1.0, 'Mars': 1.8808158}
_YEARS |= {'Jupiter': 11.862615, 'Saturn': 29.447498, 'Uranus': 84.016846, 'Neptune': 164.79132}


def age(planet, seconds):
    if planet not in _YEARS:
        raise ValueError('not a planet')
    return seconds / 31557600 / _YEARS[planet]
""",
    "darts/score": """\
def score(x, y):
    distance = x * x + y * y
    return 10 if distance <= 1 else 5 if distance <= 25 else 1 if distance <= 100 else 0
""",
    "triangle/equilateral": "def equilateral(sides):\n    return min(sides) > 0 and len(set(sides)) == 1\n",
    "triangle/isosceles": """\
def isosceles(sides):
    a, b, c = sorted(sides)
    return a > 0 and a + b >= c and (a == b or b == c)
""",
    "triangle/scalene": """\
def scalene(sides):
    a, b, c = sorted(sides)
    return a > 0 and a + b >= c and a != b and b != c
""",
    "difference-of-squares/square_of_sum": "def square_of_sum(number):\n    return sum(range(number + 1)) ** 2\n",
    "difference-of-squares/sum_of_squares": """\
def sum_of_squares(number):
    return sum(each * each for each in range(number + 1))
""",
    "grains/square": """\
def square(square):
    if not 1 <= square <= 64:
        raise ValueError('square must be between 1 and 64')
    return 2 ** (square - 1)
""",
    "nth-prime/prime": """\
def prime(number):
    if number < 1:
        raise ValueError('there is no zeroth prime')
    primes = []
    candidate = 2
    while len(primes) < number:
        if all(candidate % each for each in primes if each * each <= candidate):
            primes.append(candidate)
        candidate += 1
    return primes[-1]
""",
    "prime-factors/factors": """\
def factors(value):
    found, factor = [], 2
    while factor * factor <= value:
        while value % factor == 0:
            found.append(factor)
            value //= factor
        factor += 1
    return found + [value] if value > 1 else found
""",
    "sieve/primes": """\
def primes(limit):
    return [each for each in range(2, limit + 1) if all(each % factor for factor in range(2, int(each**0.5) + 1))]
""",
    "perfect-numbers/classify": """\
def classify(number):
    if number < 1:
        raise ValueError('Classification is only possible for positive integers.')
    total = 0
    factor = 1
    while factor * factor <= number:
        if number % factor == 0:
            total += factor + (number // factor if factor * factor != number else 0)
        factor += 1
    total -= number
    return 'perfect' if total == number else 'abundant' if total > number else 'deficient'
""",
    "scrabble-score/score": """\
_POINTS = {1: 'AEIOULNRST', 2: 'DG', 3: 'BCMP', 4: 'FHVWY', 5: 'K', 8: 'JX', 10: 'QZ'}


def score(word):
    return sum(points for letter in word.upper() for points, letters in _POINTS.items() if letter in letters)
""",
    "roman-numerals/roman": """\
_SIGNS = [(1000, 'M'), (900, 'CM'), (500, 'D'), (400, 'CD'), (100, 'C'), (90, 'XC'), (50, 'L'), (40, 'XL')]
_SIGNS += [(10, 'X'), (9, 'IX'), (5, 'V'), (4, 'IV'), (1, 'I')]


def roman(number):
    signs = ''
    for value, sign in _SIGNS:
        while number >= value:
            signs += sign
            number -= value
    return signs
""",
    "anagram/find_anagrams": """\
def find_anagrams(subject, candidates):
    key = sorted(subject.lower())
    return [each for each in candidates if sorted(each.lower()) == key and each.lower() != subject.lower()]
""",
    "flatten-array/flatten": """\
def flatten(array):
    flat = []
    for item in array:
        flat += flatten(item) if isinstance(item, list) else [] if item is None else [item]
    return flat
""",
    "matching-brackets/is_paired": """\
def is_paired(value):
    pairs, opened = {')': '(', ']': '[', '}': '{'}, []
    for char in value:
        if char in pairs.values():
            opened.append(char)
        elif char in pairs and (not opened or opened.pop() != pairs[char]):
            return False
    return not opened
""",
    "gigasecond/add": """\
from datetime import datetime, timedelta


def add(moment):
    return (datetime.fromisoformat(moment) + timedelta(seconds=10**9)).isoformat()
""",
    "bob/response": """\
def response(hey_bob):
    said = hey_bob.strip()
    if not said:
        return 'Fine. Be that way!'
    if said.isupper():
        return "Calm down, I know what I'm doing!" if said.endswith('?') else 'Whoa, chill out!'
    return 'Sure.' if said.endswith('?') else 'Whatever.'
""",
    "run-length-encoding/encode": """\
from itertools import groupby


def encode(string):
    runs = ((char, len(list(group))) for char, group in groupby(string))
    return ''.join(f'{length}{char}' if length > 1 else char for char, length in runs)
""",
    "run-length-encoding/decode": """\
import re


def decode(string):
    return ''.join(char * int(length or 1) for length, char in re.findall(r'([0-9]*)([^0-9])', string))
""",
    "dnd-character/modifier": "def modifier(score):\n    return (score - 10) // 2\n",
    "luhn/valid": """\
def valid(value):
    digits = value.replace(' ', '')
    if len(digits) < 2 or not digits.isascii() or not digits.isdigit():
        return False
    doubled = (2 * int(digit) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(each - 9 if each > 9 else each for each in doubled)) % 10 == 0
""",
}


def main() -> None:
    rows = ({"task_id": f"Exercism/{name}", "solution": source} for name, source in SOLUTIONS.items())
    print(f"{write_jsonl(sys.argv[1], rows)} references: {sys.argv[1]}")


if __name__ == "__main__":
    main()
