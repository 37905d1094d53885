from __future__ import annotations

import pytest

from megatron_codex.corpus.licences import licence_of_file, licence_of_metadata

MIT = "Classifier: License :: OSI Approved :: MIT License\n"


@pytest.mark.parametrize(
    ("headers", "licence"),
    [
        pytest.param(
            "License-Expression: MIT OR Apache-2.0\nLicense: other\n" + MIT, "MIT OR Apache-2.0", id="expression"
        ),
        pytest.param("License: BSD 3-Clause\n" + MIT, "BSD 3-Clause", id="name-before-classifiers"),
        pytest.param("License: UNKNOWN\n" + MIT, "MIT", id="unknown"),
        pytest.param("License: MIT License\n        Copyright (c)\n" + MIT, "MIT", id="a-whole-text"),
        pytest.param("License: " + "x" * 101 + "\n" + MIT, "MIT", id="a-long-line"),
        pytest.param(MIT + "Classifier: License :: OSI Approved :: BSD License\n" + MIT, "MIT, BSD License", id="two"),
        pytest.param("Classifier: License :: OSI Approved\n", "", id="no-name"),
        pytest.param("Classifier: Programming Language :: Python\n", "", id="none"),
        pytest.param("", "", id="empty"),
    ],
)
def test_metadata_declare_a_licence(headers: str, licence: str) -> None:
    body = "\n\nLicense: in the description\n"
    assert licence_of_metadata(f"Metadata-Version: 2.1\nName: x\n{headers}{body}".encode()) == licence


def test_bytes_that_are_no_metadata_have_no_licence() -> None:
    assert licence_of_metadata(bytes(range(256)) * 10) == ""


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("SPDX-License-Identifier: Apache-2.0\n", "Apache-2.0"),
        ("// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note\n", "GPL-2.0-only WITH Linux-syscall-note"),
        ("MIT License\n\nPermission is hereby granted", ""),
        ("x" * 3_000 + "SPDX-License-Identifier: MIT", ""),
        ("", ""),
    ],
    ids=["plain", "exception", "a-text", "far-down", "empty"],
)
def test_a_licence_file_has_a_licence_only_if_it_names_it(text: str, licence: str) -> None:
    assert licence_of_file(text.encode()) == licence
