"""PREFIX.partial/: the work of a run that has not ended, and what it was doing.

The directory appears with fingerprint.json in it and vanishes in one rename, so that one without is not ours.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file, sync_directory

_FINGERPRINT = "fingerprint.json"
_PUBLISHING = "publishing"


class Unfinished:
    """The directory of a run's unfinished work, made or found again."""

    def __init__(self, directory: Path, fingerprint: Mapping[str, Any]) -> None:
        """fingerprint: what decides the output, of JSON's types.

        Raises: InputError when the directory holds other work.
        """
        self.directory = directory
        found = directory / _FINGERPRINT
        if not directory.exists():
            temporary = _hidden(directory)
            temporary.mkdir(parents=True)
            with atomic_file(temporary / _FINGERPRINT, "w") as handle:
                json.dump(fingerprint, handle, indent=2)
            temporary.rename(directory)
            sync_directory(directory.parent)
            return
        try:
            before = json.loads(found.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        if before != fingerprint:
            differing = [
                key for key in fingerprint if not isinstance(before, dict) or before.get(key) != fingerprint[key]
            ]
            rule = f"holds unfinished work of a run with other {', '.join(differing) or 'settings'}"
            remedy = "remove this directory, or run again with the same inputs and settings to finish it"
            raise InputError(str(directory), rule=rule, remedy=remedy)

    @property
    def publishing(self) -> bool:
        """Whether the run had begun to put its outputs in their places."""
        return (self.directory / _PUBLISHING).exists()

    def publish(self, files: Mapping[Path, Path]) -> None:
        """Rename whole files to their places, in order, and remove the directory."""
        with atomic_file(self.directory / _PUBLISHING, "w"):
            pass
        for source, target in files.items():
            source.replace(target)
            sync_directory(target.parent)
        self.remove()

    def remove(self) -> None:
        """Remove the directory with what is in it."""
        doomed = _hidden(self.directory)
        self.directory.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _hidden(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
