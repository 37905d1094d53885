"""A package's or folder's licence as it declares it: metadata or a LICENSE file in, SPDX identifiers out, or nothing.

Nothing is guessed: a licence's text is not recognised, only what names it.
"""

from __future__ import annotations

import re
from email.parser import HeaderParser

METADATA_BYTES = 256 * 1024
"""Of METADATA or PKG-INFO read at most: its headers stand first."""
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md", "COPYING")
"""Names at the top of a directory or repository that are looked at, the first that is there."""

_SPDX = re.compile(r"SPDX-License-Identifier:[ \t]*([\w.+()-]+(?:[ \t]+(?:AND|OR|WITH)[ \t]+[\w.+()-]+)*)")
_MAX_CHARS = 100

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
    "Eclipse Public License 2.0 (EPL-2.0)": "EPL-2.0",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
}
"""Classifiers that mean one licence; the others are given in their own words ("BSD License")."""


def licence_of_metadata(data: bytes) -> str:
    """The licence that METADATA or PKG-INFO declares: License-Expression, else a short License, else the classifiers.

    License may hold a licence's whole text: one of several lines or of more than 100 characters names nothing.
    Source: Core metadata specifications, versions 1.0 to 2.4 (PEP 639).
    """
    headers = HeaderParser().parsestr(data.decode("utf-8", "replace"))
    expression = str(headers.get("License-Expression", "")).strip()
    if expression and len(expression) <= _MAX_CHARS:
        return expression
    name = str(headers.get("License", "")).strip()
    if name and name.upper() != "UNKNOWN" and "\n" not in name and len(name) <= _MAX_CHARS:
        return name
    found = [str(value).strip() for value in headers.get_all("Classifier", [])]
    licences = [value.split(" :: ")[-1] for value in found if value.startswith("License :: ") and value.count(" :: ")]
    return ", ".join(dict.fromkeys(_CLASSIFIERS.get(name, name) for name in licences if name != "OSI Approved"))


def licence_of_file(data: bytes) -> str:
    """The identifier after "SPDX-License-Identifier:" in the head of a LICENSE file, else empty."""
    found = _SPDX.search(data[:2048].decode("utf-8", "replace"))
    return found[1] if found else ""
