"""The manifest of a run's folder: SHA256SUMS, as coreutils' ``sha256sum --check`` reads it.

It may come from a hostile host: reading is bounded, a name is a plain file name, and raises ``Fault`` only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from virtproof.spec.fault import Fault

MANIFEST = "SHA256SUMS"
LIMIT = 64 << 10  # bytes
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._-]{0,254})")


def dump_manifest(files: Mapping[str, bytes]) -> str:
    """The manifest of ``files``: name -> content."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())


def load_manifest(data: bytes, name: str = MANIFEST) -> dict[str, str]:
    """File name -> SHA-256, in hexadecimal.  Raises Fault."""
    if len(data) > LIMIT:
        raise _unreadable(name, f"larger than {LIMIT >> 10} KiB")
    found: dict[str, str] = {}
    for number, line in enumerate(data.decode("ascii", "replace").split("\n")[:-1], 1):
        match = _LINE.fullmatch(line)
        if not match:
            raise _unreadable(name, f"line {number} is not a SHA-256 and the name of a file in this folder")
        if match[2] in found:
            raise _unreadable(name, f"line {number} names {match[2]} again")
        found[match[2]] = match[1]
    if not data.endswith(b"\n"):
        raise _unreadable(name, "it does not end with a line" if data else "it is empty")
    return found


def _unreadable(name: str, saw: str) -> Fault:
    return Fault(f"read {name}", saw, "the file is damaged or was not written by virtproof: get the folder again")
