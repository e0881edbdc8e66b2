"""``virtproof check``: the whole job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from virtproof.cli import execution, folder, inputs, outputs
from virtproof.cli.annotations import GITLAB_FILE, github, gitlab, json_without_commands, without_commands
from virtproof.cli.bench import costs_of, disks_of, nics_of
from virtproof.cli.choice import case_options, select
from virtproof.cli.gate import Condition, Gate, gate, lines
from virtproof.cli.repeat import Repetitions
from virtproof.cli.screen import say, show_report
from virtproof.cli.stop import StopRequest
from virtproof.cli.verdict import Started, make_run
from virtproof.reports.formats import FORMATS
from virtproof.results import CostResult, DiskResult, Evidence, NicResult, Run
from virtproof.results_manifest import MANIFEST, dump_manifest


@click.command("check")
@case_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("virtproof-report"),
    show_default=True,
    metavar="DIR",
    help="Folder for run.json, evidence.json.gz, report.html, junit.xml and SHA256SUMS.",
)
@outputs.output_options
@inputs.judge_options
@execution.engine_option
@execution.workers_option
@execution.patience_option
@click.option(
    "--repeat",
    type=click.IntRange(1, 1000),
    default=1,
    metavar="N",
    help="Run the guests N times; show which verdicts change. The worst one counts.",
)
@click.option(
    "--gate",
    "conditions",
    multiple=True,
    type=click.Choice([str(one) for one in Condition]),
    help="What decides the exit code: the verdict, or what got worse since --baseline. Reasons go to standard error.",
)
@click.option(
    "--annotate",
    type=click.Choice(["github", "gitlab"]),
    help="Give the reasons of the gate to this CI: workflow commands, or a code quality report in the folder.",
)
@click.option(
    "--bench", is_flag=True, help="Measure what exits, packets and reads of disks cost, too; the report shows it."
)
@click.option("--json", "as_json", is_flag=True, help="Print run.json and not the verdict in words.")
def command(
    ids: tuple[str, ...],
    areas: tuple[str, ...],
    out: Path,
    profile: str,
    waivers: Path | None,
    baseline: Path | None,
    engine: str,
    workers: int,
    patience: float,
    repeat: int,
    conditions: tuple[str, ...],
    annotate: str | None,
    bench: bool,
    as_json: bool,
    **files_named: Path | None,
) -> int:
    """Probe this host, run the guests, judge, and write the reports.

    IDS limit the guests to cases or to everything below a name; what a profile requires and was not run is
    unknown.  Nothing on the host is changed.  Root learns more: MSRs are closed to others.  Without /dev/kvm the
    guests run on the software engine, where it is installed.  That proves nothing of this host; the verdict says so.

    \b
    Examples:
      virtproof check
      sudo virtproof check --out /srv/acceptance/rack7-12
      virtproof check --baseline /srv/acceptance/rack7-12 --out after-update
      virtproof check --area traps --json | jq -r .outcome
      virtproof check --bench --sarif virtproof.sarif --markdown summary.md
      virtproof check --gate profile --annotate github
      virtproof check --gate baseline --baseline main/ --repeat 3

    \b
    Exit codes:
      0    compliant                  4    virtproof's own error, or the machine's
      3    not compliant              5    unknown: could not tell what the profile requires
      64   wrong usage                130  interrupted; the reports say what was done until then
    """
    from virtproof.probes.collect import collect
    from virtproof.vmm.engines.opening import EngineUnavailable, open_engine

    if annotate and not conditions:
        raise click.UsageError("--annotate gives the reasons of a gate: say --gate profile, or --gate baseline")
    if Condition.BASELINE in conditions and baseline is None:
        raise click.UsageError("--gate baseline needs --baseline RUN to compare with")
    cases = select(ids, areas)
    chosen_profile = inputs.profile(profile)
    chosen_waivers = inputs.waivers(waivers)
    earlier = inputs.baseline(baseline)
    folder.prepare(out)
    outputs.prepare(files_named)

    with StopRequest() as stop:
        started = Started.now()
        snapshot = collect()
        repetitions = Repetitions()
        not_proven = []
        costs: Sequence[CostResult] = ()
        nics: Sequence[NicResult] = ()
        disks: Sequence[DiskResult] = ()
        backend = None
        try:
            with open_engine(engine) as opened:
                backend = opened.backend
                opened.patience = patience
                for _ in range(repeat):
                    repetitions.add(execution.run(cases, engine=opened, workers=workers, stop=stop))
                if bench:
                    costs, nics, disks = costs_of(opened, stop), nics_of(opened, stop), disks_of(opened, stop)
        except EngineUnavailable as fault:
            not_proven.append(f"Why no guest was run: {fault.tried}: {fault.saw}. To do: {fault.remedy}.")
        results = repetitions.results()
        if stop.asked:
            not_proven.append(f"Interrupted: {len(cases) - len(results)} of {len(cases)} cases did not run.")
        if ids or areas:
            not_proven.append(f"Only the cases named on the command line were run: {' '.join((*ids, *areas))}.")
        run, evidence = make_run(
            snapshot,
            results,
            chosen_profile,
            chosen_waivers,
            started,
            interrupted=stop.asked,
            not_proven=not_proven,
            baseline=earlier,
            backend=backend,
            costs=costs,
            nics=nics,
            disks=disks,
        )
        files = documents(run, evidence)
        state = gate(run, evidence, [Condition(one) for one in conditions], earlier) if conditions else None
        if state and annotate == "gitlab":
            files[GITLAB_FILE] = gitlab(state.reasons, str(Path(profile))).encode()
        files[MANIFEST] = dump_manifest(files).encode()
        folder.publish(out, files)
        also = outputs.write(run, evidence, files_named)
        show(run, [*(out / name for name in files), *also], as_json=as_json, for_github=annotate == "github")
        if repeat > 1:
            for line in repetitions.lines():
                say(line, err=True)
        if state:
            tell(state, for_github=annotate == "github", as_json=as_json)
    return state.exit_code if state else run.outcome.exit_code


def documents(run: Run, evidence: Evidence) -> dict[str, bytes]:
    """Return the content of every file of a report folder, by name."""
    from virtproof.results_json import dump_evidence, dump_run

    return {
        "run.json": dump_run(run).encode(),
        "evidence.json.gz": dump_evidence(evidence),
        **{one.file: one.render(run, evidence) for one in FORMATS if one.file},
    }


def show(run: Run, files: Sequence[Path], *, as_json: bool, for_github: bool) -> None:
    """Print the verdict, and where the rest is."""
    from virtproof.reports.text import render_text
    from virtproof.results_json import dump_run

    if as_json:
        text = dump_run(run)
        text = json_without_commands(text) if for_github else text
        click.echo(text, nl=False)
    elif for_github:
        click.echo(without_commands(render_text(run, files=[str(file) for file in files])), nl=False)
    else:
        show_report(run, files)


def tell(state: Gate, *, for_github: bool, as_json: bool) -> None:
    """Say on standard error how the gate stands, and why.

    GitHub documents commands on standard output only; its runner reads both.  JSON stays alone on the first.
    """
    if for_github:
        for command in github(state.reasons):
            click.echo(command, err=as_json)
    for line in lines(state):
        say(without_commands(line) if for_github else line, err=True)
