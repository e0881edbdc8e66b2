"""What a test starts and opens: which there are, and whether a process came to its end."""

import gc
import os
import select
import threading
from pathlib import Path

DEATH_SECONDS = 60.0  # a SIGKILL takes effect a moment after it is sent


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


def descriptors() -> set[str]:
    """Our open descriptors; what an earlier test has left to the garbage collector is closed first."""
    gc.collect()
    return set(os.listdir("/proc/self/fd"))


def new_threads(before: set[threading.Thread]) -> list[str]:
    """The names of the threads that there were not before; others may have ended meanwhile."""
    return sorted(thread.name for thread in set(threading.enumerate()) - before)
