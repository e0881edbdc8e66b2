"""``virtproof lab``: emulated hosts with the real KVM modules, to check virtproof itself against."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from virtproof.cli.choice import select
from virtproof.cli.nearest import did_you_mean
from virtproof.cli.screen import say, table

if TYPE_CHECKING:
    from virtproof.lab.hosts.execute import Outcome
    from virtproof.lab.hosts.table import LabHost

SCHEMA = "virtproof.lab/1"
OWN_ERROR, NOT_AS_EXPECTED = 4, 3


@click.group("lab")
def command() -> None:
    """Boot emulated hosts, some broken on purpose, and check that virtproof names what is wrong with each.

    Linux runs there with the real kvm_amd (in QEMU) or kvm_intel (in Bochs), and virtproof inside it.

    \b
    Examples:
      virtproof lab list
      virtproof lab run amd-npt amd-no-svm
      virtproof lab run all --json
      virtproof lab build bochs
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for a program.")
def list_hosts(as_json: bool) -> None:
    """List the lab hosts: what is wrong with each, and what virtproof must say about it."""
    from virtproof.lab.hosts.table import HOSTS

    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "hosts": [asdict(host) for host in HOSTS]}, indent=2))
        return
    rows = [
        (
            host.name,
            host.emulator.value,
            host.cpu.partition(",")[0],
            host.expected.outcome.value,
            host.expected.cause or "-",
            host.fault,
        )
        for host in HOSTS
    ]
    for line in table(("HOST", "EMULATOR", "CPU", "VERDICT", "CAUSE", "FAULT"), rows):
        say(line)


@command.command("run")
@click.argument("names", nargs=-1, required=True, metavar="HOST...")
@click.option(
    "--cases", multiple=True, metavar="ID", help="Guests to run, as virtproof check takes them, or all; repeatable."
)
@click.option(
    "--area", "areas", multiple=True, metavar="AREA", help="All guests of this area, in a boot of its own; repeatable."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("virtproof-lab"),
    show_default=True,
    metavar="DIR",
    help="Folder for what each host delivers, and for its console log.",
)
@click.option(
    "--limit", type=click.FloatRange(min=1), metavar="SECONDS", help="Time from power-on until a host is killed."
)
@click.option("--tools", is_flag=True, help="Run kvm-ok and virt-host-validate there, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for a program.")
def run_hosts(
    names: tuple[str, ...],
    cases: tuple[str, ...],
    areas: tuple[str, ...],
    out: Path,
    limit: float | None,
    tools: bool,
    as_json: bool,
) -> int:
    """Boot lab hosts, one after the other, and compare what virtproof says there with what it must say.

    HOST is a name of virtproof lab list, or all.  Without --cases or --area a few guests run that prove claims; with
    them the verdict is not compared, and every case that does not pass must be in the table of known departures.

    Exit code 0: every host gave what its row expects; 3: some did not; 4: some could not be run.
    """
    from virtproof.lab.hosts.execute import ALL, Outcome, execute
    from virtproof.lab.missing import Missing

    if cases and areas:
        raise click.UsageError("--cases and --area exclude each other")
    select([name for name in cases if name != ALL], areas)
    done = []
    with stoppable():
        for host in _chosen(names):
            try:
                outcome = execute(host, out / host.name, cases=cases, areas=areas, limit=limit, tools=tools)
            except Missing as fault:
                outcome = Outcome(host=host, errors=[str(fault)])
            done.append(outcome)
            if not as_json:
                _show(outcome)
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "runs": [_document(outcome) for outcome in done]}, indent=2))
    if any(outcome.errors for outcome in done):
        return OWN_ERROR
    return 0 if all(outcome.as_expected for outcome in done) else NOT_AS_EXPECTED


@command.command("build")
@click.argument("what", type=click.Choice(["bochs"]))
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, metavar="N", help="Compilers at a time."
)
def build(what: str, jobs: int) -> None:
    """Build an emulator from its sources into the cache: Bochs 3.0, several times as fast as Debian's 2.7."""
    from virtproof.lab.hosts import bochs_build

    say(f"{what}: {bochs_build.build(jobs)}")


def _chosen(names: Sequence[str]) -> list[LabHost]:
    from virtproof.lab.hosts.table import HOSTS

    known = {host.name: host for host in HOSTS}
    if "all" in names:
        return list(HOSTS)
    for name in names:
        if name not in known:
            near = did_you_mean(name, known) or "; virtproof lab list names them"
            raise click.UsageError(f"no lab host {name!r}{near}")
    return [known[name] for name in dict.fromkeys(names)]


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM ends us as ctrl-C does, so that no emulator is left behind."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _document(outcome: Outcome) -> dict[str, Any]:
    return {
        "host": outcome.host.name,
        "as_expected": outcome.as_expected,
        "seconds": round(outcome.seconds, 1),
        "attempts": outcome.attempts,
        "outcome": outcome.run.outcome.value if outcome.run else None,
        "summary": outcome.run.summary if outcome.run else "",
        "cause": outcome.cause,
        "counts": outcome.counts,
        "errors": outcome.errors,
        "mismatches": [asdict(one) for one in outcome.mismatches],
        "unexplained": outcome.unexplained,
        "stale": outcome.stale,
        "tools": outcome.tools,
    }


def _show(outcome: Outcome) -> None:
    word = "as expected" if outcome.as_expected else "NOT AS EXPECTED"
    counts = ", ".join(f"{number} {verdict}" for verdict, number in outcome.counts.items())
    summary = f": {outcome.run.summary}" if outcome.run else ""
    say(f"{outcome.host.name}: {word} in {outcome.seconds:.1f} s{summary} [{counts or 'no guests'}]")
    for error in outcome.errors:
        say(f"  {error}")
    for mismatch in outcome.mismatches:
        say(f"  {mismatch}")
    for line in outcome.unexplained:
        say(f"  not in the table of departures: {line}")
    for pattern in outcome.stale:
        say(f"  in the table of departures, but all that it names passed: {pattern}")
    for name, tool in outcome.tools.items():
        said = " / ".join(line.strip() for line in str(tool["said"]).splitlines())
        say(f"  {name} ended with {tool['exit']}: {said[:300]}")
