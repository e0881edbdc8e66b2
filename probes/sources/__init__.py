"""Where values come from.  One module per kind; each says how a value was read, from which CPU, what stood in the way.

A source judges nothing and changes nothing.  ``read`` returns its section of the snapshot; what could not be read is
listed there under ``unread`` with the reason, never left out in silence.
"""

from __future__ import annotations

import os

from virtproof.probes.cpus import render


def unread(what: str, reason: str, cpus: list[int] | None = None) -> dict[str, str]:
    """One entry of a section's ``unread`` list; ``what`` is ``*`` where nothing of the section could be read."""
    return {"what": what, "cpus": render(cpus or ()), "reason": reason}


def why(error: OSError) -> str:
    """The kernel's own word for what stood in the way."""
    return error.strerror or type(error).__name__


def under(root: str, path: str) -> str:
    """``path`` of the host whose tree is mounted at ``root``."""
    return os.path.join(root, path.lstrip("/"))


def read_bounded(path: str, limit: int) -> bytes:
    """At most ``limit`` bytes of a file.  Raises OSError; never waits (a FIFO in a foreign tree reads as empty)."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        data = b""
        while len(data) < limit and (piece := os.read(fd, limit - len(data))):
            data += piece
        return data
    finally:
        os.close(fd)


def attribute_text(path: str) -> str:
    """An attribute of sysfs without its end of line; empty where it cannot be read."""
    try:
        return read_bounded(path, 256).decode("ascii", "replace").strip()
    except OSError:
        return ""
