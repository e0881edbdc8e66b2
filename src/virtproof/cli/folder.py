"""The folder that reports are written to: complete reports appear there, or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from virtproof.spec.fault import Fault


def prepare(folder: Path) -> None:
    """Create ``folder`` and prove that it can be written to; raises ``Fault``.

    Called before any guest runs: an hour of work must not end with "permission denied".
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as err:
        raise Fault(f"write reports to {folder}", _why(err), "name another folder with --out") from err


def publish(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write every file beside its place, then move them all there; raises ``Fault``.

    When the disk is full half-way, the reports of an earlier run are still whole.  The staging folder is inside
    ``folder``, because a mount point's siblings are on another file system.
    """
    try:
        staging = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
        try:
            for name, content in files.items():
                with open(staging / name, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            for name in files:
                os.replace(staging / name, folder / name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as err:
        raise Fault(
            f"write reports to {folder}", _why(err), "free some space, or name another folder with --out"
        ) from err


def _why(err: OSError) -> str:
    return f"{err.strerror or err} ({err.filename})" if err.filename else str(err.strerror or err)
