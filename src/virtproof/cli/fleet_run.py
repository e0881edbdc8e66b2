"""``virtproof fleet run``: what surrounds Ansible's part."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from virtproof import __version__
from virtproof.cli import folder, inputs
from virtproof.cli.gate import STRONGEST
from virtproof.cli.screen import say
from virtproof.fleet import roll
from virtproof.fleet.drive import COLLECTION, Order, drive, now
from virtproof.fleet.roll import Attempt, Roll, State
from virtproof.results import Outcome
from virtproof.spec.fault import Fault

ARRIVING = ".arriving"  # files on their way: fleet report does not look into such folders
BUNDLES = ("virtproof.pyz", "virtproof-collect.pyz")
SNAPSHOT = "host.json"


def run(
    inventory: str, out: Path, profile: str, waivers: Path | None, bundles: Path | None, options: Sequence[str]
) -> int:
    """Ask the hosts, settle what came back, report; return the exit code."""
    inputs.profile(profile)
    inputs.waivers(waivers)
    found = _bundles(bundles)
    folder.prepare(out)
    arriving = out / ARRIVING
    shutil.rmtree(arriving, ignore_errors=True)
    order = Order(
        inventory=inventory,
        arriving=arriving,
        bundles=found,
        profile=os.path.abspath(profile) if os.path.isfile(profile) else profile,
        waivers=os.path.abspath(waivers) if waivers else "",
        options=options,
    )
    begun = now()
    try:
        progress = drive(order, _tell)
        attempts = _settle(progress.attempts(), out, profile, waivers)
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
    done = Roll(
        version=__version__, profile=profile, begun=begun, ended=now(), complete=progress.through, hosts=attempts
    )
    roll.save(done, out)
    if not progress.through:
        for line in progress.said:
            say(f"ansible: {line}", err=True)
    code = _report(out, attempts)
    return Outcome.INTERRUPTED.exit_code if progress.interrupted else code


def _bundles(named: Path | None) -> Path:
    """The folder that has both bundles: the one named, that of the bundle we run from, or dist/ of the checkout."""
    places = [named] if named else [Path(sys.argv[0]).parent, COLLECTION.resolve().parents[1] / "dist"]
    for place in places:
        if all((place / name).is_file() for name in BUNDLES):
            return place
    where = " or ".join(str(place.absolute()) for place in places)
    raise Fault("find virtproof.pyz and virtproof-collect.pyz", f"not in {where}", "make bundle, then --bundles dist")


def _tell(attempt: Attempt) -> None:
    say(f"{attempt.host}: {attempt.state}" + (f": {attempt.detail}" if attempt.detail else ""), err=True)


def _settle(attempts: Iterable[Attempt], out: Path, profile: str, waivers: Path | None) -> tuple[Attempt, ...]:
    """Make a folder of reports of what each host sent, over several processes: a report takes a second."""
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("fork")) as pool:
        futures = [pool.submit(_settle_host, attempt, out, profile, waivers) for attempt in attempts]
        return tuple(future.result() for future in futures)


def _settle_host(attempt: Attempt, out: Path, profile: str, waivers: Path | None) -> Attempt:
    if attempt.state not in {State.CHECKED, State.COLLECTED}:
        return attempt
    name = attempt.host.replace("/", "_")
    try:
        arrived = out / ARRIVING / name
        files = _of_snapshot(arrived, profile, waivers) if attempt.state is State.COLLECTED else _of_run(arrived)
        folder.prepare(out / name)
        folder.publish(out / name, files)
    except Fault as fault:
        return replace(attempt, state=State.FAILED, detail=f"What came back cannot be used: {fault.saw}")
    return replace(attempt, ended=now()) if attempt.state is State.COLLECTED else attempt


def _of_run(arrived: Path) -> dict[str, bytes]:
    """Run and evidence as they came, with a report made here: one that a host wrote could hold anything."""
    from virtproof.reports.html import render_html
    from virtproof.results_json import load_evidence, load_run

    files = {name: _read(arrived / name) for name in ("run.json", "evidence.json.gz")}
    run = load_run(files["run.json"], "run.json")
    evidence = load_evidence(files["evidence.json.gz"], "evidence.json.gz")
    return _signed({**files, "report.html": render_html(run, evidence).encode()})


def _of_snapshot(arrived: Path, profile: str, waivers: Path | None) -> dict[str, bytes]:
    """A run judged here from what a host's sources said; no guest ran."""
    from virtproof.cli.check import documents
    from virtproof.cli.verdict import Started, make_run
    from virtproof.probes.snapshot import loads

    snapshot = loads(_read(arrived / SNAPSHOT))
    why = "No guest was run: the host's Python is older than 3.11, so that only a snapshot could be taken there."
    run, evidence = make_run(
        snapshot, (), inputs.profile(profile), inputs.waivers(waivers), Started.now(), not_proven=[why]
    )
    made = documents(run, evidence)
    return _signed({name: made[name] for name in ("run.json", "evidence.json.gz", "report.html")})


def _signed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files and their manifest, for virtproof verify."""
    from virtproof.results_manifest import MANIFEST, dump_manifest

    return {**files, MANIFEST: dump_manifest(files).encode()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise Fault(
            f"read {path}", f"no {path.name} came back" if isinstance(err, FileNotFoundError) else str(err)
        ) from None


def _report(out: Path, attempts: Iterable[Attempt]) -> int:
    """Write the fleet's page, say what is in it; return the exit code of the strongest of the hosts asked."""
    from virtproof.cli.fleet import tell
    from virtproof.fleet.merge import merge
    from virtproof.fleet.page import render_page
    from virtproof.results_json import write_atomically

    fleet = merge([out], now=datetime.now(UTC))
    write_atomically(out / "fleet.html", render_page(fleet, out).encode())
    say(f"wrote {out / 'fleet.html'}", err=True)
    tell(fleet)
    verdicts = {one.host: one.verdict for one in fleet.hosts}
    gave = {State.CHECKED, State.COLLECTED}
    outcomes = {verdicts.get(one.host, "error") if one.state in gave else "error" for one in attempts}
    judged = {*Outcome} - {Outcome.INTERRUPTED}  # half a run of a host is no verdict, and nobody interrupted us
    known = {Outcome(one) if one in judged else Outcome.ERROR for one in outcomes}
    return min(known, key=STRONGEST.index).exit_code
