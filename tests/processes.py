"""Processes that a test starts: which there are, and whether one came to its end."""

import os
import select
from pathlib import Path

DEATH_SECONDS = 20.0  # a SIGKILL takes effect a moment after it is sent


def children() -> set[int]:
    """The processes whose parent we are, whichever thread of ours started them."""
    return {int(pid) for told in Path("/proc/self/task").glob("*/children") for pid in told.read_text().split()}


def ends(pid: int) -> bool:
    """Whether a process that was sent a SIGKILL ends; reaped or not."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], DEATH_SECONDS)[0])
    finally:
        os.close(process)
