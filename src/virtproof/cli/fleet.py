"""``virtproof fleet``: many hosts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtproof.cli.screen import say

if TYPE_CHECKING:
    from virtproof.fleet.document import Fleet

CAUSES = 12  # said on the screen


@click.group("fleet")
def command() -> None:
    """Check many hosts, and say together what their runs say.

    \b
    Examples:
      virtproof fleet report acceptance/ -o fleet.html
    """


@command.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="RUNS...")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a page.")
@click.option(
    "--csv", "as_csv", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a line per host."
)
@click.option(
    "--json", "as_json", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write one document."
)
@click.option(
    "--baseline",
    type=click.Path(exists=True, path_type=Path),
    metavar="RUNS",
    help="Earlier runs of the same hosts: show what changed since.",
)
def report(
    runs: tuple[Path, ...], output: Path | None, as_csv: Path | None, as_json: Path | None, baseline: Path | None
) -> None:
    """Merge the run.json files in RUNS: folders with a folder for each host, or files.

    A host is called as its folder is.  Of several runs of one host the latest counts.  A file that is broken is
    told, and stops nothing.  Nothing is judged again; virtproof judge does that.

    \b
    Examples:
      virtproof fleet report acceptance/ -o fleet.html
      virtproof fleet report acceptance/ --csv hosts.csv --json fleet.json
      virtproof fleet report june/ --baseline may/ -o june.html

    Exit code 0 when it was made, whatever the verdicts.
    """
    from virtproof.fleet.merge import merge
    from virtproof.results_json import write_atomically

    fleet = merge(runs, baseline=baseline, now=datetime.now(UTC))
    if output:
        from virtproof.fleet.page import render_page

        write_atomically(output, render_page(fleet, output.parent).encode())
    if as_csv or as_json:
        from virtproof.fleet.tables import render_csv, render_json

        if as_csv:
            write_atomically(as_csv, render_csv(fleet).encode())
        if as_json:
            write_atomically(as_json, render_json(fleet).encode())
    for file in filter(None, (output, as_csv, as_json)):
        say(f"wrote {file}", err=True)
    tell(fleet)


def tell(fleet: Fleet) -> None:
    """Say what is most important on the screen."""
    hosts = len(fleet.hosts)
    verdicts = ", ".join(f"{number} {word}" for word, number in fleet.verdicts.items())
    say(f"{hosts} host{'s' * (hosts != 1)}: {verdicts}")
    for note in fleet.notes:
        say(f"! {note}")
    if fleet.refused:
        one = fleet.refused[0]
        files = len(fleet.refused) + fleet.refused_left_out
        say(f"! {files} file{'s' * (files != 1)} could not be read, such as {one.path}: {one.why}")
    gating = [cause for cause in fleet.causes if cause.gates]
    for cause in gating[:CAUSES]:
        say(f"{cause.hosts:>6} host{'s' * (cause.hosts != 1)}: {cause.text}")
    if len(gating) > CAUSES:
        say(f"       and {len(gating) - CAUSES} more causes")
    if fleet.outliers:
        say(f"{len(fleet.outliers):>6} unlike their own group, such as {fleet.outliers[0].host}")
    if fleet.drift:
        say(f"{fleet.drift.changed:>6} of {fleet.drift.compared} changed since the baseline")
