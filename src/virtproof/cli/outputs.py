"""Reports in files that the command line names: ``--html FILE`` and its kind, one option for each format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import click

from virtproof.reports.formats import FORMATS
from virtproof.results import Evidence, Run
from virtproof.spec.fault import Fault

Command = TypeVar("Command", bound=Callable[..., object])
STDOUT = Path("-")


def output_options(command: Command) -> Command:
    """Add an option for each format; the command takes them as ``**outputs: Path | None``."""
    for one in reversed(FORMATS):
        command = click.option(
            f"--{one.name}",
            type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
            metavar="FILE",
            help=f"Write {one.for_whom}.",
        )(command)
    return command


def prepare(outputs: Mapping[str, Path | None]) -> None:
    """See that every file can be written before an hour of work; raises ``Fault``."""
    for path in filter(None, outputs.values()):
        folder = path.parent
        if path == STDOUT:
            raise click.UsageError("standard output has the verdict: name a file, or use virtproof report afterwards")
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            saw = "that folder is not there" if not folder.is_dir() else "it may not be written to"
            raise Fault(f"write {path}", saw, f"create {folder}, or name another file")


def write(run: Run, evidence: Evidence | None, outputs: Mapping[str, Path | None]) -> list[Path]:
    """Write what was asked for, each file whole or not at all; return the files.  Raises ``Fault``."""
    from virtproof.results_json import write_atomically

    written = []
    for one in FORMATS:
        if path := outputs[one.name]:
            data = one.render(run, evidence)
            if path == STDOUT:
                click.echo(data, nl=False)
            else:
                write_atomically(path, data)
                written.append(path)
    return written
