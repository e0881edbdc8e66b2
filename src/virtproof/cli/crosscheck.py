"""``virtproof crosscheck``: the same cases on several engines and references, and where they differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from virtproof.cli import execution
from virtproof.cli.app import INTERRUPTED
from virtproof.cli.choice import case_options, select
from virtproof.cli.nearest import did_you_mean
from virtproof.cli.screen import progress, say, table
from virtproof.cli.stop import StopRequest
from virtproof.results import CaseResult, Outcome, Verdict
from virtproof.spec.fault import Fault

if TYPE_CHECKING:
    from virtproof.conformance.case import Case
    from virtproof.lab.references.differences import Difference, Run


def parties(ctx: click.Context, option: click.Parameter, text: str) -> tuple[str, ...]:
    """The names in a comma-separated list.  Raises ``click.BadParameter``."""
    from virtproof.lab.references.crosscheck import PARTIES

    names = tuple(dict.fromkeys(filter(None, text.split(","))))
    for name in names:
        if name not in PARTIES:
            near = did_you_mean(name, PARTIES) or f"; there are {', '.join(PARTIES)}"
            raise click.BadParameter(f"no engine or reference {name!r}{near}")
    return names


@click.command("crosscheck")
@case_options
@click.option(
    "--on",
    "names",
    callback=parties,
    default="",
    metavar="NAMES",
    help="Some of kvm, software, bochs, qemu, with commas between; default: those that are here.",
)
@execution.workers_option
@click.option("--all", "everything", is_flag=True, help="List the differences that are explained, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for a program.")
def command(
    ids: tuple[str, ...], areas: tuple[str, ...], names: tuple[str, ...], workers: int, everything: bool, as_json: bool
) -> int:
    """Run the same cases on engines and on whole other machines, and say where they differ.

    IDS limit them to cases or to everything below a name.  Bochs and QEMU run the rows that need no monitor, on a bare
    emulated processor.  Differences that are understood are named with their reason; any other means that a case or an
    engine is wrong.  docs/references.md tells more.

    \b
    Examples:
      virtproof crosscheck
      virtproof crosscheck trap.db --on kvm,bochs --all
      VIRTPROOF_BOCHS=~/bochs-3.0/bochs virtproof crosscheck --on bochs

    \b
    Exit codes:
      0    every difference is explained          4    an engine or reference failed
      3    one is not, or an explanation is stale
      64   wrong usage                            130  interrupted
    """
    from virtproof.lab.references.crosscheck import PARTIES, judge

    cases = select(ids, areas)
    runs: list[Run] = []
    absent: dict[str, str] = {}
    with StopRequest() as stop:
        for name in names or PARTIES:
            try:
                with ExitStack() as stack:
                    called, results = _open(name, cases, workers, stack)
                    with progress(called, len(cases)) as step:
                        done = []
                        for result in stop.until_asked(results):
                            done.append(result)
                            step(f"{result.verdict} {result.id}")
            except Fault as fault:
                if name in names:
                    raise
                absent[name] = f"{fault.tried}: {fault.saw}"
                continue
            if stop.asked:
                return INTERRUPTED
            runs.append(judge(called, done))
    if not runs:
        raise Fault("crosscheck", "; ".join(absent.values()) or "nothing was run", "install bochs or qemu-system-x86")
    if as_json:
        click.echo(json.dumps(_document(runs, absent), indent=2))
    else:
        _show(runs, absent, everything=everything)
    failed = any(run.unexplained or run.stale for run in runs)
    return Outcome.NOT_COMPLIANT.exit_code if failed else Outcome.COMPLIANT.exit_code


def _open(
    name: str, cases: Sequence[Case], workers: int, stack: ExitStack
) -> tuple[str, Generator[CaseResult, None, None]]:
    """What the party is called in reports, and its results to be.  Raises Fault where it cannot be used."""
    from virtproof.conformance.pool import run_cases
    from virtproof.lab.references.crosscheck import REFERENCES, find_reference, name_of
    from virtproof.lab.references.rows import run_rows
    from virtproof.vmm.engines.opening import open_engine

    if name in REFERENCES:
        reference = find_reference(name)
        return reference.name, run_rows(reference, cases)
    engine = stack.enter_context(open_engine(name))
    return name_of(engine), run_cases(cases, engine=engine, workers=workers)


def _show(runs: Sequence[Run], absent: dict[str, str], *, everything: bool) -> None:
    for run in runs:
        counts = Counter(result.verdict for result in run.results)
        say(f"{run.name}: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]))
    for name, why in absent.items():
        say(f"{name}: not here: {why}")
    reasons = Counter((run.name, reason) for run in runs for _, reason in run.explained)
    if reasons:
        say("\nExplained differences:")
        header = ("on", "fields", "whose", "id", "why")
        rows = ((name, str(n), known.kind, known.id, known.reason) for (name, known), n in reasons.items())
        for line in table(header, rows):
            click.echo(f"  {line}")
    for title, shown in (
        ("Explained, one by one", [(run, d) for run in runs for d, _ in run.explained] if everything else []),
        ("Unexplained", [(run, d) for run in runs for d in run.unexplained]),
    ):
        if shown:
            say(f"\n{title}:")
            for line in table(("case", "field", "expected", *(run.name for run in runs)), _rows(shown, runs)):
                click.echo(f"  {line}")
    for run in runs:
        for known in run.stale:
            say(f"\nStale: {known.id} explains nothing on {run.name} any more: {known.reason}")


def _rows(shown: Sequence[tuple[Run, Difference]], runs: Sequence[Run]) -> Iterator[tuple[str, ...]]:
    """A line for each field that somebody differs in, with what everybody saw."""
    for case, field, expected in dict.fromkeys((d.case, d.field, d.expected) for _, d in shown):
        yield case, field, expected, *(_saw(run, case, field) for run in runs)


def _saw(run: Run, case: str, field: str) -> str:
    for difference in (*(d for d, _ in run.explained), *run.unexplained):
        if (difference.case, difference.field) == (case, field):
            return difference.observed
    verdict = next((result.verdict for result in run.results if result.id == case), Verdict.SKIP)
    return {Verdict.PASS: "as expected", Verdict.SKIP: "not run"}.get(verdict, "another difference")


def _document(runs: Sequence[Run], absent: dict[str, str]) -> dict[str, object]:
    return {"runs": [_run(run) for run in runs], "absent": absent}


def _run(run: Run) -> dict[str, object]:
    explained = {d: {"id": known.id, "kind": known.kind, "reason": known.reason} for d, known in run.explained}
    found = (*explained, *run.unexplained)
    return {
        "name": run.name,
        "counts": Counter(result.verdict.value for result in run.results),
        "differences": [asdict(difference) | {"explained": explained.get(difference)} for difference in found],
        "stale": [known.id for known in run.stale],
    }
