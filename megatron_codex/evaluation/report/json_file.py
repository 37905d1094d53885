"""JSON files of other stages, checked by their format name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from megatron_codex.errors import InputError


def read_json(path: Path, form: str, *, name: str = "") -> dict[str, Any]:
    """The object in `path`, or in the file `name` of it where it is a directory.

    form: what the object's "format" must be. Raises: InputError naming the file when it is not that.
    """
    path = path / name if path.is_dir() else path
    remedy = "check the path in the report's parts"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(str(path), rule=f"cannot be read ({error.strerror})", remedy=remedy) from error
    except ValueError as error:
        raise InputError(str(path), rule=f"not valid JSON ({error})", remedy="make it again") from error
    if not isinstance(content, dict) or content.get("format") != form:
        raise InputError(str(path), rule=f"is not of format {form}", remedy=remedy)
    return content
