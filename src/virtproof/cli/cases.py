"""``virtproof cases``: what there is to run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtproof.cli.choice import case_options, select
from virtproof.cli.screen import say, table

if TYPE_CHECKING:
    from virtproof.conformance.case import Case


@click.command("cases")
@case_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for a program.")
@click.option(
    "--export",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write each case as a kernel that boots by itself, with a page about it, to DIR/ID/.",
)
def command(ids: tuple[str, ...], areas: tuple[str, ...], as_json: bool, folder: Path | None) -> None:
    """List the conformance cases: one rule of the architecture each.

    IDS limit the list to cases or to everything below a name; a single case is shown in full.  Nothing is run.

    \b
    Examples:
      virtproof cases --area traps
      virtproof cases trap.de
      virtproof cases trap.ud.ud2.long64
      virtproof cases trap.ud.ud2.long64 --export reproducers
      virtproof cases --json | jq -r '.cases[] | select(.priority == 1) | .id'
    """
    cases = select(ids, areas)
    if folder is not None:
        _export(cases, folder)
        return
    if as_json:
        rows = [
            {
                "id": case.id,
                "area": case.area,
                "title": case.title,
                "modes": [case.mode],
                "cite": [str(cite) for cite in case.cite],
                "refs": list(case.refs),
                "priority": case.priority,
                "proves": list(case.proves),
            }
            for case in cases
        ]
        click.echo(json.dumps({"cases": rows}, indent=2))
        return
    if len(cases) == 1:
        from virtproof.conformance.describe import describe

        for line in describe(cases[0]):
            say(line)
        return
    for line in table(("case", "mode", "rule"), ((case.id, case.mode, case.title) for case in cases)):
        click.echo(line)
    areas_shown = ", ".join(dict.fromkeys(case.area for case in cases))
    say(f"cases: {len(cases)}; areas: {areas_shown}")


def _export(cases: Sequence[Case], folder: Path) -> None:
    """Write the reproducers of ``cases``; name those that cannot have one.

    Raises ``click.UsageError`` where none can, and ``Fault`` where the folder cannot be written.
    """
    from virtproof.cli.folder import prepare, publish
    from virtproof.conformance.export import NotExportable, export
    from virtproof.conformance.export_page import KERNEL, bochsrc, page

    exported = 0
    refused: dict[str, list[str]] = {}
    for case in cases:
        try:
            made = export(case)
        except NotExportable as fault:
            refused.setdefault(fault.saw, []).append(case.id)
            continue
        exported += 1
        prepare(folder / case.id)
        files = {KERNEL: made.kernel, "README.md": page(made).encode(), "bochsrc": bochsrc(made).encode()}
        publish(folder / case.id, files)
        say(str(folder / case.id / KERNEL))
    for reason, names in refused.items():
        say(f"not exported, because {reason}: {', '.join(names)}", err=True)
    if not exported:
        raise click.UsageError("none of the cases named can be exported")
