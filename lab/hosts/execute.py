"""Run a lab host and say whether it gave what its row expects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtproof.conformance.catalogue import AREAS, all_cases
from virtproof.lab import cache
from virtproof.lab.hosts import contents, departures, inside
from virtproof.lab.hosts.boot import Results, boot
from virtproof.lab.hosts.compare import Mismatch, headline, mismatches
from virtproof.lab.hosts.departures import Departure
from virtproof.lab.hosts.machine import Emulator
from virtproof.lab.hosts.table import LabHost
from virtproof.lab.missing import Missing
from virtproof.results import CaseResult, Evidence, Run
from virtproof.results_json import load_evidence, load_run
from virtproof.spec.fault import Fault

# One case of each kind that the profile asks for, and those that prove claims: seconds, even under emulation.  None
# that QEMU's processor gets wrong: a verdict shall be about the injected fault.
PROVING = (
    "claim", "trap.ud.ud2.long64", "slat.pf_noexit", "slat.ept_count", "pg.ctl.smep_toggle", "pg.l4.1g.offset",
    "pio.x.unhandled", "mmio.x.cross_ram_hole",
)  # fmt: skip
ALL = "all"
LIMITS = {Emulator.QEMU: 300.0, Emulator.BOCHS: 900.0}  # seconds from power-on, on a busy machine
LIMIT_OF_AREA = 3600.0
# Under QEMU a guest's access costs fifty times as much as on its host; the clock of Bochs counts instructions, a few
# dozen times slower than a processor carries them out.
PATIENCE = 20
RUN, EVIDENCE = "run.json", "evidence.json.gz"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one lab host.  ``errors``, ``unexplained`` and ``stale`` are lines for people."""

    host: LabHost
    seconds: float = 0.0
    attempts: int = 0
    run: Run | None = None  # None: nothing came, or one for each area
    cases: list[CaseResult] = field(default_factory=list)
    mismatches: tuple[Mismatch, ...] = ()
    errors: list[str] = field(default_factory=list)
    unexplained: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    tools: dict[str, Any] = field(default_factory=dict)

    @property
    def as_expected(self) -> bool:
        return not (self.mismatches or self.errors or self.unexplained or self.stale)

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(str(one.verdict) for one in self.cases))

    @property
    def cause(self) -> str:
        """The cause that virtproof names first."""
        first = headline(self.run) if self.run else None
        return (first.cause or "") if first else ""


def execute(
    host: LabHost,
    folder: Path,
    *,
    cases: Sequence[str] = (),
    areas: Sequence[str] = (),
    limit: float | None = None,
    tools: bool = False,
) -> Outcome:
    """Boot ``host``, check it from inside, and compare; everything it delivers is kept in ``folder``.

    ``cases``: ids as ``virtproof check`` takes them, or "all"; ``areas``: each in a boot of its own, as with "all";
    by default the cases that prove claims, and only with them is the verdict compared with the row.  What goes wrong is
    told in the outcome's ``errors``; only ``Missing`` is raised, where the lab lacks something.
    """
    table = departures.load()
    outcome = Outcome(host=host)
    if areas or ALL in cases:
        for area, names in _by_area(host, areas or AREAS, table).items():
            _check(outcome, names, folder / area, limit or LIMIT_OF_AREA, tools=False)
        outcome.run = None
    else:
        _check(outcome, tuple(cases) or PROVING, folder, limit or LIMITS[host.emulator], tools=tools)
        if outcome.run and not cases:
            outcome.mismatches = mismatches(host.expected, outcome.run)
    wrong = departures.unexplained(host.name, outcome.cases, table)
    outcome.unexplained = tuple(f"{one.verdict} {one.id}: {one.reason}" for one in wrong)
    outcome.stale = departures.stale(host.name, outcome.cases, table)
    return outcome


def _by_area(host: LabHost, areas: Sequence[str], table: Sequence[Departure]) -> dict[str, tuple[str, ...]]:
    """All cases of these areas that do not end the emulator."""
    names: dict[str, list[str]] = {area: [] for area in areas}
    for case in all_cases():
        if case.area in names:
            names[case.area].append(case.id)
    return {area: departures.safe(host.name, ids, table) for area, ids in names.items()}


def _check(outcome: Outcome, names: Sequence[str], folder: Path, limit: float, *, tools: bool) -> None:
    """One boot; what comes of it is added to ``outcome``."""
    try:
        command = ["check", "--json", "--patience", str(PATIENCE), "--out", inside.RESULTS, *names]
        results = boot(outcome.host, command, folder, limit=limit, tools=tools)
        outcome.seconds += results.seconds
        outcome.attempts += results.attempts
        _keep(results, folder)
        outcome.run, evidence = _read(outcome.host, results)
        outcome.cases += evidence.cases
        outcome.tools = results.report.get("tools", {})
    except Missing:
        raise
    except Fault as fault:
        outcome.errors.append(str(fault))


def _keep(results: Results, folder: Path) -> None:
    """Write what came out, by names of ours: those of a lab host name no other place."""
    try:
        for name in (RUN, EVIDENCE, "report.html", "junit.xml"):
            if name in results.files:
                (folder / name).write_bytes(results.files[name])
        (folder / "stderr.txt").write_bytes(results.stderr)
        for name, tool in results.report.get("tools", {}).items():
            if name in contents.TOOLS:
                text = f"{tool.get('said')}\nended with {tool.get('exit')}\n"
                (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        (folder / "kernel.log").write_text(str(results.report.get("log", "")), encoding="utf-8")
    except OSError as err:
        raise cache.no_room(err, folder) from err


def _read(host: LabHost, results: Results) -> tuple[Run, Evidence]:
    if missing := [name for name in (RUN, EVIDENCE) if name not in results.files]:
        steps = "; ".join(map(str, results.report.get("steps", ())))
        said = results.stderr.decode("utf-8", "replace").strip()[-500:]
        raise Fault(
            f"check the lab host {host.name}",
            f"virtproof ended with {results.report.get('exit')}, without {missing[0]}: {said or 'silent'} ({steps})",
            "mend what it complains of",
        )
    name = f"{host.name}'s "
    return load_run(results.files[RUN], name + RUN), load_evidence(results.files[EVIDENCE], name + EVIDENCE)
