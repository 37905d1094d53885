"""One file of a container (archive, repository, directory, table row) to a Candidate: the part that all readers share.

Memory: of a file no more is read than tells that it is too large, whatever sizes its container claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from megatron_codex.config.corpus import FilterConfig
from megatron_codex.corpus.candidates import BROKEN_NOTEBOOK, NOT_PYTHON, TOO_LARGE, UNDECODABLE, Candidate
from megatron_codex.corpus.decode import NotText, decode_utf8
from megatron_codex.corpus.languages import NOTEBOOK_SUFFIX, PYTHON, Selection
from megatron_codex.corpus.notebooks import MAX_RAW_FACTOR, NotNotebook, notebook_source
from megatron_codex.corpus.stored_path import stored_path


@dataclass(frozen=True, kw_only=True)
class Container:
    """What the files of one container have in common."""

    source: str
    """The input or archive."""
    repository: str
    selection: Selection
    max_bytes: int = FilterConfig.max_file_bytes
    """Files of so many bytes or more are too large."""
    licence: str = ""

    def limit(self, name: str) -> int:
        """Bytes from which on a file of this name is too large to be read."""
        return self.max_bytes * (MAX_RAW_FACTOR if is_notebook(name) else 1)

    def fault(self, name: str, reason: str, *, size_bytes: int = 0) -> Candidate:
        """A file that is not read; name "" for the container itself."""
        language = self.selection.language_of(name) or self.selection.languages[0]
        return self._candidate(name, size_bytes=size_bytes, fault=reason, language=language)

    def read(self, handle: IO[bytes], name: str, declared_bytes: int) -> Candidate:
        """The file behind a handle, or TOO_LARGE: declared sizes are not trusted with memory.

        Raises: what the handle raises.
        """
        content = handle.read(self.limit(name))
        size_bytes = max(declared_bytes, len(content))
        if size_bytes >= self.limit(name):
            return self._candidate(name, size_bytes=size_bytes, fault=TOO_LARGE, language=self._language(name))
        return self.candidate(name, content)

    def candidate(self, name: str, content: bytes) -> Candidate:
        """A file whose bytes are at hand. One in another language than Python comes as text: it is UTF-8 or nothing."""
        language = self._language(name)
        try:
            if is_notebook(name):
                return self.notebook(name, decode_utf8(content))
            text = content if language == PYTHON else decode_utf8(content)
        except NotText:
            reason = BROKEN_NOTEBOOK if is_notebook(name) else UNDECODABLE
            return self._candidate(name, size_bytes=len(content), fault=reason, language=language)
        return self._candidate(name, content=text, size_bytes=len(content), language=language)

    def notebook(self, name: str, text: str) -> Candidate:
        """A notebook's source; its size is that of the source, its language its kernel's."""
        size_bytes = len(text.encode("utf-8", "surrogatepass"))
        try:
            source, kernel = notebook_source(text)
        except NotNotebook:
            return self._candidate(name, size_bytes=size_bytes, fault=BROKEN_NOTEBOOK)
        language = self.selection.named(kernel)
        if language is None:
            return self._candidate(name, size_bytes=size_bytes, fault=NOT_PYTHON)
        size_bytes = len(source.encode("utf-8", "surrogatepass"))
        return self._candidate(name, content=source, size_bytes=size_bytes, language=language)

    def _language(self, name: str) -> str:
        language = self.selection.language_of(name)
        assert language is not None, f"{name} is not of the selection"
        return language

    def _candidate(
        self, name: str, *, size_bytes: int, content: bytes | str = b"", fault: str = "", language: str = PYTHON
    ) -> Candidate:
        return Candidate(
            path=stored_path(name),
            source=self.source,
            repository=self.repository,
            licence=self.licence,
            language=language,
            content=content,
            size_bytes=size_bytes,
            fault=fault,
        )


def is_notebook(name: str) -> bool:
    """Whether a path names a Jupyter notebook."""
    return name.lower().endswith(NOTEBOOK_SUFFIX)
