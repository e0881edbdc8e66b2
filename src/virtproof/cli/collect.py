"""``virtproof collect``: what the host says, raw."""

import sys
from pathlib import Path
from typing import Unpack

import click

from virtproof.cli import out_of_band
from virtproof.cli.screen import say


@click.command("collect")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE and not to standard output.",
)
@click.option("--dry-run", is_flag=True, help="List what would be read, and read nothing.")
@click.option(
    "--keep-identity",
    is_flag=True,
    help="Keep what names this machine: serial numbers, UUID, hardware addresses, the host's name.",
)
@click.option(
    "--netlink",
    is_flag=True,
    help="Ask netlink too: virtual functions as their drivers see them, modes of switches (half a second).",
)
@out_of_band.options
def command(
    output: Path | None, dry_run: bool, keep_identity: bool, netlink: bool, **redfish: Unpack[out_of_band.Options]
) -> None:
    """Write a snapshot of this host: everything its sources say, without any judgement.

    Changes nothing on the host and runs no guest.  A snapshot can be judged on another machine, or years later,
    with virtproof judge.  As root it says more: MSRs and some ACPI tables are closed to others.

    \b
    Examples:
      sudo virtproof collect -o host.json
      ssh host17 sudo virtproof collect | virtproof judge -
      virtproof collect --dry-run
      sudo virtproof collect -o host.json --redfish https://bmc17 --user reader --ca-file our-ca.pem
    """
    if dry_run:
        from virtproof.probes.plan import readings

        for reading in readings(netlink=netlink, identity=keep_identity):
            say(f"{reading.section}: {reading.note}".rstrip(": "))
            for path in reading.paths:
                say(f"  {path}")
        if redfish["redfish"]:
            say("redfish: the service root, the system, Bios, its settings, SecureBoot; at most eight GETs")
        return
    from virtproof.probes.collect import collect
    from virtproof.probes.snapshot import dumps

    asked = None
    if netlink:
        from virtproof.probes.sources.netlink import eswitch, vfs

        asked = (vfs, eswitch)
    service = out_of_band.service(**redfish)
    snapshot = collect(netlink=asked, identity=keep_identity)
    if service:
        snapshot["redfish"] = out_of_band.read(service)
    text = dumps(snapshot)
    if output is None:
        sys.stdout.write(text)
        return
    from virtproof.results_json import write_atomically

    write_atomically(output, text.encode())
    say(f"wrote {output}", err=True)
