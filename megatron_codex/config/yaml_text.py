"""YAML as people mean it: of YAML 1.1, which the library reads, two surprises are left out.

1:30:00 is text, not the number 5400 (base 60: an hour and a half of minutes would be 90 hours, silently), and 2e-3 and
1E5 are numbers, as YAML 1.2 has both.
"""

from __future__ import annotations

from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """SafeLoader without numbers of base 60."""


def _number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    if ":" in node.value:
        return node.value
    construct = loader.construct_yaml_int if node.tag.endswith(":int") else loader.construct_yaml_float
    return construct(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number)


def parse_yaml(text: str) -> Any:
    """A document. Raises: yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)


def parse_value(text: str) -> Any:
    """A scalar or list, with 2e-3 and 1E5 read as numbers.

    >>> parse_value("2e-3"), parse_value("1:30:00"), parse_value("[1, a]")
    (0.002, '1:30:00', [1, 'a'])
    """
    value = parse_yaml(text)
    if isinstance(value, str):
        try:
            return float(value) if any(char.isdigit() for char in value) and "_" not in value else value
        except ValueError:
            return value
    return value
