"""``virtproof collect``: what the host says, raw."""

import sys
from pathlib import Path

import click

from virtproof.cli.screen import say


@click.command("collect")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE and not to standard output.",
)
def command(output: Path | None) -> None:
    """Write a snapshot of this host: everything its sources say, without any judgement.

    Changes nothing on the host and runs no guest.  A snapshot can be judged on another machine, or years later,
    with virtproof judge.  As root it says more: MSRs and some ACPI tables are closed to others.

    \b
    Examples:
      sudo virtproof collect -o host.json
      ssh host17 sudo virtproof collect | virtproof judge -
    """
    from virtproof.probes.collect import collect
    from virtproof.probes.snapshot import dumps

    text = dumps(collect())
    if output is None:
        sys.stdout.write(text)
        return
    from virtproof.results_json import write_atomically

    write_atomically(output, text.encode())
    say(f"wrote {output}", err=True)
