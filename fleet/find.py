"""The run files below the places that a user names, and to which host each belongs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from virtproof.spec.fault import Fault

RUN = "run.json"


@dataclass(frozen=True, slots=True)
class Found:
    """A file that should hold a run.  ``host`` is what the files around it are called: a run names no host."""

    host: str
    path: str


def find(places: Iterable[Path]) -> Iterator[Found]:
    """Yield every run.json below the folders, and the files named, in the order of names.

    A folder named holds a folder for each host, with one run in it or several below; or it is one host's own.
    Links are not followed.  Raises Fault for a place that does not exist.
    """
    for place in places:
        if place.is_dir():
            yield from _below(place)
        elif os.path.lexists(place):
            yield Found(_name(place.absolute().parent if place.name == RUN else Path(place.stem)), str(place))
        else:
            raise Fault(f"read runs from {place}", "no such file or folder", "name run.json files, or folders of them")


def _below(root: Path) -> Iterator[Found]:
    for folder, inside, files in os.walk(root):
        inside[:] = sorted(name for name in inside if not name.startswith("."))  # half-written folders among them
        if RUN in files:
            steps = Path(folder).relative_to(root).parts
            yield Found(steps[0] if steps else _name(root.absolute()), os.path.join(folder, RUN))


def _name(folder: Path) -> str:
    return folder.name or "host"
