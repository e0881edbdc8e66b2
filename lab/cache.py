"""What the lab builds or downloads, kept by content: an entry's key is a hash of all that it is made from."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from virtproof.spec.fault import Fault

ROOM = 512 << 20  # bytes that must be free before anything is made: a kernel package with its modules unpacks to 420 MB


def folder() -> Path:
    """Where virtproof keeps what it can make again: XDG_CACHE_HOME/virtproof."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "virtproof"


def has(kind: str, key: str) -> bool:
    return (folder() / kind / key).exists()


def entry(kind: str, key: str, make: Callable[[Path], None], keep: int = 6) -> Path:
    """The file or folder ``kind/key``; ``make`` writes it, to the path it is given, where it is not there yet.

    The newest ``keep`` entries of a kind stay.  Several processes may ask for the same entry: one makes it.
    Raises ``Fault`` where there is no room, and what ``make`` raises.
    """
    place = folder() / kind
    path = place / key
    try:
        place.mkdir(parents=True, exist_ok=True)
        with open(place / ".lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _make(path, make)
                _forget(place, keep, but=path)
            os.utime(path)
    except OSError as err:
        raise no_room(err, place) from err
    return path


def no_room(err: OSError, place: Path) -> Fault:
    """What to tell people when ``place`` could not be written to."""
    full = err.errno in {errno.ENOSPC, errno.EDQUOT}
    remedy = "free some space" if full else "make the folder writable"
    return Fault(
        f"write to {place}",
        f"{err.strerror or err}{f' ({err.filename})' if err.filename else ''}",
        f"{remedy}, or set XDG_CACHE_HOME to another folder",
    )


def _make(path: Path, make: Callable[[Path], None]) -> None:
    if shutil.disk_usage(path.parent).free < ROOM:
        raise OSError(errno.ENOSPC, f"less than {ROOM >> 20} MiB are free", str(path.parent))
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as scratch:
        made = Path(scratch, path.name)
        make(made)
        os.replace(made, path)


def _forget(place: Path, keep: int, but: Path) -> None:
    entries = sorted(
        (one for one in place.iterdir() if not one.name.startswith(".")), key=lambda one: one.stat().st_mtime
    )
    for old in entries[:-keep]:
        if old == but:
            continue
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.unlink(missing_ok=True)
