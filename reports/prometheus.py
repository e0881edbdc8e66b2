"""A Prometheus text file for node_exporter's textfile collector.

Document: Prometheus, "Exposition formats", text-based format.  One sample per line, every label escaped; a time is in
seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from virtproof.reports.digest import digest
from virtproof.reports.printable import printable_values
from virtproof.results import Evidence, Outcome, Run

LABEL_LIMIT = 200  # characters: a label is a key of the time series, no place for a dump

Sample = tuple[Mapping[str, str], float]


def render_prometheus(run: Run, evidence: Evidence | None = None) -> str:
    """The text file; what exits cost comes from the evidence."""
    run, evidence = printable_values(run), printable_values(evidence)
    return "".join(_family(*family) for family in _families(run, evidence))


def _family(name: str, what: str, samples: Iterator[Sample]) -> str:
    # A label set may come once only, and a hostile run may name one thing twice.
    lines = {_labels(labels): float(value) for labels, value in samples}
    if not lines:
        return ""
    head = f"# HELP virtproof_{name} {what}\n# TYPE virtproof_{name} gauge\n"
    return head + "".join(f"virtproof_{name}{labels} {value!r}\n" for labels, value in lines.items())


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    value = value if len(value) <= LABEL_LIMIT else value[: LABEL_LIMIT - 1] + "…"
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _families(run: Run, evidence: Evidence | None) -> Iterator[tuple[str, str, Iterator[Sample]]]:
    host = run.host
    identity = {
        "version": run.version, "profile": run.profile, "profile_sha256": run.profile_sha256,
        "cases_sha256": run.cases_sha256, "system": host.system, "cpu": host.cpu, "bios": host.bios,
        "microcode": host.microcode, "kernel": host.kernel, "backend": run.backend.name, "boot_id": host.boot_id,
    }  # fmt: skip
    yield "info", "Who the host is, and what it was judged by.", iter([(identity, 1)])
    yield "outcome", "The verdict on this host: 1 for the one that holds.", (
        ({"outcome": outcome.value}, outcome is run.outcome) for outcome in Outcome
    )  # fmt: skip
    yield "complete", "0 where the run was interrupted.", iter([({}, run.complete)])
    yield "start_time_seconds", "When the run began.", (({}, at) for at in _moment(run.started))
    yield "duration_seconds", "How long the run took.", iter([({}, run.seconds)])
    findings = digest(run).findings
    yield "requirement", "How each requirement of the profile stands: always 1.", ((
        {"id": one.id, "severity": one.severity, "gates": "yes" if one.gates else "no", "standing": one.standing.value},
        1) for one in findings)  # fmt: skip
    yield (
        "waiver_expiry_time_seconds",
        "The last day of a waiver begins.",
        (
            ({"id": one.id, "owner": one.terms.owner}, at)
            for one in findings
            if one.terms
            for at in _moment(one.terms.expires)
        ),
    )
    yield "claim", "What guests made of each claim: always 1.", ((
        {"claim": claim.name, "proof": claim.proof.value, "silicon": claim.silicon.value,
         "firmware": claim.firmware.value, "kernel": claim.kernel.value, "functional": claim.functional.value},
        1) for claim in run.claims)  # fmt: skip
    yield (
        "cases",
        "Cases by area and verdict.",
        (
            ({"area": area, "verdict": verdict}, number)
            for area, counts in run.counts.items()
            for verdict, number in counts.items()
        ),
    )
    costs = evidence.costs if evidence else ()
    yield (
        "exit_cost_seconds",
        "What one operation of a guest costs.",
        (
            ({"operation": cost.name, "figure": figure}, ns / 1e9)
            for cost in costs
            if cost.samples
            for figure in ("minimum", "median", "p99")
            if (ns := cost.ns(getattr(cost, figure))) is not None
        ),
    )
    nics = evidence.nics if evidence else ()
    yield (
        "nic_packets_per_second",
        "Packets carried by a model of a network adapter.",
        (({"nic": nic.name}, nic.packets / nic.seconds) for nic in nics if nic.seconds > 0),
    )
    yield (
        "nic_exits_per_packet",
        "Exits of the guest for each packet.",
        (({"nic": nic.name}, nic.exits / nic.packets) for nic in nics if nic.packets > 0),
    )
    disks = evidence.disks if evidence else ()
    yield (
        "disk_requests_per_second",
        "Requests that a model of a disk controller served.",
        (({"disk": disk.name}, disk.requests / disk.seconds) for disk in disks if disk.seconds > 0),
    )
    yield (
        "disk_exits_per_request",
        "Exits of the guest for each request to a disk.",
        (({"disk": disk.name}, disk.exits / disk.requests) for disk in disks if disk.requests > 0),
    )


def _moment(text: str) -> Iterator[float]:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return
    yield (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
