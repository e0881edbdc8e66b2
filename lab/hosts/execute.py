"""Run a lab host and say whether it gave what its row expects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virtproof.conformance.catalogue import all_cases
from virtproof.lab import cache
from virtproof.lab.hosts import departures
from virtproof.lab.hosts.boot import Results, boot
from virtproof.lab.hosts.compare import Mismatch, headline, mismatches
from virtproof.lab.hosts.machine import Emulator
from virtproof.lab.hosts.table import LabHost
from virtproof.results import Evidence, Run
from virtproof.results_json import load_evidence, load_run
from virtproof.spec.fault import Fault

# One case of each kind that the profile asks for, and those that prove claims: seconds, even under emulation.
PROVING = (
    "claim", "trap.de.div_zero.long64", "slat.pf_noexit", "slat.ept_count", "pg.ctl.smep_toggle", "pg.ctl.nxe_toggle",
    "pg.l4.sup.x.u0nx1", "pg.l4.1g.offset", "pio.x.unhandled", "mmio.x.cross_ram_hole",
)  # fmt: skip
ALL = "all"
LIMITS = {Emulator.QEMU: 120.0, Emulator.BOCHS: 240.0}  # seconds from power-on, for PROVING on a busy machine
LIMIT_OF_ALL = 20  # times that for other cases
RUN, EVIDENCE = "run.json", "evidence.json.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one lab host.  ``unexplained`` and ``stale``: lines about the table of departures."""

    host: LabHost
    seconds: float
    run: Run
    mismatches: tuple[Mismatch, ...]
    counts: dict[str, int]
    unexplained: tuple[str, ...]
    stale: tuple[str, ...]
    tools: dict[str, Any]

    @property
    def as_expected(self) -> bool:
        return not (self.mismatches or self.unexplained or self.stale)

    @property
    def cause(self) -> str:
        """The cause that virtproof names first."""
        first = headline(self.run)
        return (first.cause or "") if first else ""


def execute(
    host: LabHost, folder: Path, *, cases: Sequence[str] = (), limit: float | None = None, tools: bool = False
) -> Outcome:
    """Boot ``host``, check it from inside, and compare; everything it delivered is kept in ``folder``.

    ``cases``: ids as ``virtproof check`` takes them, or "all"; by default those that prove claims, and only with them
    is the verdict compared with the row.  Raises ``Fault``.
    """
    table = departures.load()
    if ALL in cases:
        chosen = departures.safe(host.name, (case.id for case in all_cases()), table)
    else:
        chosen = tuple(cases) or PROVING
    seconds = limit or LIMITS[host.emulator] * (1 if chosen == PROVING else LIMIT_OF_ALL)
    results = boot(host, ["check", "--json", "--out", "/out", *chosen], folder, limit=seconds, tools=tools)
    _keep(results, folder)
    run, evidence = _read(host, results)
    return Outcome(
        host=host,
        seconds=results.seconds,
        run=run,
        mismatches=mismatches(host.expected, run) if chosen == PROVING else (),
        counts=dict(Counter(str(one.verdict) for one in evidence.cases)),
        unexplained=tuple(
            f"{one.verdict} {one.id}: {one.reason}" for one in departures.unexplained(host.name, evidence.cases, table)
        ),
        stale=departures.stale(host.name, evidence.cases, table),
        tools=results.report.get("tools", {}),
    )


def _keep(results: Results, folder: Path) -> None:
    """Write what came out, by names of ours: those of a lab host name no other place."""
    try:
        for name in (RUN, EVIDENCE, "report.html", "junit.xml"):
            if name in results.files:
                (folder / name).write_bytes(results.files[name])
        (folder / "stderr.txt").write_bytes(results.stderr)
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
