"""``virtproof guests``: run cases and show what their guests saw."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import click

from virtproof.cli import execution
from virtproof.cli.choice import case_options, select
from virtproof.cli.screen import say, table
from virtproof.cli.stop import StopRequest
from virtproof.results import Backend, CaseResult, Outcome, Verdict

SCHEMA = "virtproof.guests/1"


@click.command("guests")
@case_options
@execution.engine_option
@execution.workers_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for a program.")
def command(ids: tuple[str, ...], areas: tuple[str, ...], engine: str, workers: int, as_json: bool) -> int:
    """Run conformance cases and show their verdicts, without judging the host.

    IDS limit the run to cases or to everything below a name.  Each case that did not pass is shown with what was
    expected and what the guest observed.

    \b
    Examples:
      virtproof guests                      all of them
      virtproof guests trap.ud --workers 1
      virtproof guests --area io --json

    Exit code 0: none failed; 3: some failed or crashed; 4: some ended in an error of our own.
    """
    cases = select(ids, areas)
    from virtproof.vmm.engines.opening import open_engine

    with open_engine(engine) as opened, StopRequest() as stop:
        backend = opened.backend
        results = execution.run(cases, engine=opened, workers=workers, stop=stop)
    if as_json:
        document = {
            "schema": SCHEMA,
            "complete": not stop.asked,
            "backend": asdict(backend),
            "cases": [asdict(result) for result in results],
        }
        click.echo(json.dumps(document, indent=2))
    else:
        if backend.software is not False:
            say(f"note: {_banner(backend)}")
        _show(results)
        if stop.asked:
            say(f"interrupted: {len(cases) - len(results)} of {len(cases)} cases did not run")
    return Outcome.INTERRUPTED.exit_code if stop.asked else _exit_code(results)


def _banner(backend: Backend) -> str:
    if not backend.speaks_of_host:
        return f"guests ran on the software engine ({backend.name}): these results say nothing about this host"
    if backend.software:
        return f"the backend is {backend.name}: these results describe an emulator, not this processor"
    return f"the backend is {backend.name}: whether it is hardware could not be told"


def _show(results: Sequence[CaseResult]) -> None:
    for line in table(("verdict", "case", "rule"), ((r.verdict, r.id, r.title) for r in results)):
        click.echo(line)
    for result in results:
        if result.verdict is not Verdict.PASS:
            say()
            for line in details(result):
                say(line)
    numbers = Counter(result.verdict for result in results)
    say()
    say(", ".join(f"{numbers[verdict]} {verdict}" for verdict in Verdict if numbers[verdict]) or "no case was run")


def details(result: CaseResult) -> list[str]:
    """Return the lines that let a reader check one verdict."""
    lines = [f"{result.verdict}: {result.id} [{result.mode}] {result.title}"]
    wrong = [f"  {c.field}: expected {c.expected}, observed {c.observed}" for c in result.checks if not c.ok]
    lines += wrong or [f"  {result.reason}"]  # a failing case's reason is its wrong checks in one line
    lines += [f"  | {line}" for line in result.evidence]
    lines += [f"  see {cite}" for cite in result.cite]
    return lines


def _exit_code(results: Sequence[CaseResult]) -> int:
    verdicts = {result.verdict for result in results}
    if Verdict.ERROR in verdicts:
        return Outcome.ERROR.exit_code
    if verdicts & {Verdict.FAIL, Verdict.CRASH}:
        return Outcome.NOT_COMPLIANT.exit_code
    return Outcome.COMPLIANT.exit_code
