"""What goes to a terminal: text from hosts and guests made harmless, tables, a progress bar."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from virtproof.results import Run

# What changes how a terminal shows the text around it: controls, bidirectional overrides, lone surrogates.
UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    """Return ``text`` with everything a terminal would obey, but line ends, written as an escape."""
    return "".join(
        char if char == "\n" or unicodedata.category(char) not in UNPRINTABLE else ascii(char)[1:-1] for char in text
    )


def show_report(run: Run, files: Sequence[Path] = ()) -> None:
    """Print the report of a run: in colour and as wide as the terminal is, plain into a pipe (or with NO_COLOR)."""
    from virtproof.reports.text import render_terminal, render_text

    names = [str(file) for file in files]
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        width = min(max(shutil.get_terminal_size().columns, 60), 120)
        click.echo(render_terminal(run, width=width, files=names), nl=False)
    else:
        click.echo(render_text(run, files=names), nl=False)


def say(text: str = "", *, err: bool = False) -> None:
    """Print a line that may carry text from a host or a guest."""
    click.echo(printable(text), err=err)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table as wide as its content; the last column is not padded."""
    lines = [tuple(header), *(tuple(printable(cell).replace("\n", " ") for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar on a terminal, nothing in a pipe; the value is called with a few words after each step."""
    if not sys.stderr.isatty() or not total:
        yield lambda words: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}"),
    )
    # No refresh in the background: workers are forked meanwhile, and a fork copies a thread's locks without the thread.
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task(what, total=total, words="")
        bar.refresh()
        yield lambda words: bar.update(task, advance=1, words=escape(printable(words)), refresh=True)
