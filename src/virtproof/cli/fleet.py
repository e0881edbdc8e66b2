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
      virtproof fleet run -i inventory --out acceptance -- --forks 20
      virtproof fleet report acceptance/ -o fleet.html
    """


@command.command("run", context_settings={"ignore_unknown_options": False})
@click.option(
    "-i", "--inventory", required=True, metavar="INVENTORY", help="Ansible's: a file or folder, or names with commas."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("virtproof-fleet"),
    show_default=True,
    metavar="DIR",
    help="Folder for a folder of each host, fleet.json and fleet.html.",
)
@click.option("--profile", default="kvm-host", show_default=True, metavar="NAME|FILE", help="As in virtproof check.")
@click.option(
    "--waivers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="As in virtproof check.",
)
@click.option(
    "--bundles",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where virtproof.pyz and virtproof-collect.pyz are (make bundle).",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- ANSIBLE OPTIONS...]")
def run(
    inventory: str, out: Path, profile: str, waivers: Path | None, bundles: Path | None, options: tuple[str, ...]
) -> int:
    """Check all hosts of an Ansible inventory, bring their runs here and report them together.

    Takes virtproof in one file to each host, runs it there as root, brings run.json and evidence.json.gz back, and
    removes what it took there.  Where the host's Python is older than 3.11, a snapshot is taken there and judged
    here.  A host that does not answer is a row of the report.  How many at a time, how long and how often: by
    Ansible's own options, behind --.

    \b
    Examples:
      virtproof fleet run -i inventory --out acceptance
      virtproof fleet run -i rack7-12,rack7-13, -- --forks 20 --timeout 30 --user admin
      virtproof fleet run -i inventory -- --limit rack7 --become-password-file secret
      virtproof fleet run -i inventory -- -e '{"virtproof_arguments": ["--area", "traps"]}'

    \b
    Exit codes:
      0    all compliant              4    a host gave no run, or an error of virtproof's
      3    one is not compliant       5    of one it is unknown
      64   wrong usage                130  interrupted; the report says what was done until then
    """
    from virtproof.cli import fleet_run

    return fleet_run.run(inventory, out, profile, waivers, bundles, options)


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
