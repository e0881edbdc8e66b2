"""``virtproof cases``: what there is to run."""

import json

import click

from virtproof.cli.choice import case_options, select
from virtproof.cli.screen import say, table


@click.command("cases")
@case_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for a program.")
def command(ids: tuple[str, ...], areas: tuple[str, ...], as_json: bool) -> None:
    """List the conformance cases: one rule of the architecture each.

    IDS limit the list to cases or to everything below a name.  Nothing is run.

    \b
    Examples:
      virtproof cases --area traps
      virtproof cases trap.de
      virtproof cases --json | jq -r '.cases[] | select(.priority == 1) | .id'
    """
    cases = select(ids, areas)
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
    for line in table(("case", "mode", "rule"), ((case.id, case.mode, case.title) for case in cases)):
        click.echo(line)
    areas_shown = ", ".join(dict.fromkeys(case.area for case in cases))
    say(f"cases: {len(cases)}; areas: {areas_shown}")
