"""``virtproof judge``: a verdict on what was collected before, here or elsewhere."""

from pathlib import Path

import click

from virtproof.cli import inputs
from virtproof.cli.screen import show_report
from virtproof.cli.verdict import Started, make_run


@click.command("judge")
@click.argument("snapshot", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@inputs.judge_options
@click.option("--json", "as_json", is_flag=True, help="Print a run document, as run.json, and not words.")
def command(snapshot: str, profile: str, waivers: Path | None, baseline: Path | None, as_json: bool) -> int:
    """Judge a SNAPSHOT file, or the evidence.json.gz of an earlier run, by a profile.

    A snapshot holds what the host claims; evidence also holds what its guests saw.  Nothing is read from this host
    and nothing is run, so a host can be judged again, by a newer profile or with a waiver, without touching it.

    \b
    Examples:
      virtproof judge host17.json --profile kvm-host
      virtproof judge host17.json --baseline host17-in-may/
      virtproof judge virtproof-report/evidence.json.gz --waivers rack7.toml
      ssh host17 sudo virtproof collect | virtproof judge - --json

    Exit codes as in virtproof check.
    """
    from virtproof.results_json import dump_run

    chosen_profile = inputs.profile(profile)
    chosen_waivers = inputs.waivers(waivers)
    earlier = inputs.baseline(baseline)
    recorded = inputs.recorded(snapshot)
    run, _ = make_run(
        recorded.snapshot,
        recorded.cases,
        chosen_profile,
        chosen_waivers,
        Started.now(),
        backend=recorded.backend,
        costs=recorded.costs,
        baseline=earlier,
    )
    if as_json:
        click.echo(dump_run(run), nl=False)
    else:
        show_report(run)
    return run.outcome.exit_code
