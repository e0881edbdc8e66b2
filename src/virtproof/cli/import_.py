"""``virtproof import``: other people's dumps become a snapshot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtproof.cli.nearest import did_you_mean
from virtproof.cli.screen import say
from virtproof.spec.fault import Fault

if TYPE_CHECKING:
    from virtproof.probes.imports.merge import Dump


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE and not to standard output.",
)
@click.option("--format", "form", metavar="NAME", help="The format of all FILES, where it is not to be guessed.")
def command(files: tuple[str, ...], output: Path | None, form: str | None) -> None:
    """Turn dumps that other tools made of one host into a snapshot, for virtproof judge and probe --snapshot.

    Known are CPUID dumps (InstLatx64 form, cpuid -r), acpidump (text, or -b), dmidecode --dump-bin, /proc/cpuinfo and
    lscpu; the content shows which it is.  Several FILES of the same host are united.  What they do not hold is
    unknown, and no more is taken from this host.

    \b
    Examples:
      virtproof import cpuid.txt -o host.json
      cpuid -r | virtproof import - | virtproof judge -
      virtproof import cpuid.txt acpidump.txt dmi.bin cpuinfo.txt -o host.json
    """
    from virtproof.probes.imports.formats import FORMATS
    from virtproof.probes.imports.merge import import_dumps
    from virtproof.probes.snapshot import dumps

    if form is not None and form not in FORMATS:
        near = did_you_mean(form, FORMATS) or f"; the formats are {', '.join(FORMATS)}"
        raise click.UsageError(f"no format {form!r}{near}")
    text = dumps(import_dumps([read(name) for name in files], form))
    if output is None:
        sys.stdout.write(text)
        return
    from virtproof.results_json import write_atomically

    write_atomically(output, text.encode())
    say(f"wrote {output}", err=True)


def read(name: str) -> Dump:
    """Return the content of a file; ``-`` is standard input.  Raises ``Fault``."""
    from virtproof.probes.imports.merge import MAX_BYTES, Dump

    try:
        with sys.stdin.buffer if name == "-" else open(name, "rb") as file:
            return Dump(name, file.read(MAX_BYTES + 1))
    except OSError as err:
        raise Fault(f"read {name}", err.strerror or str(err)) from err
