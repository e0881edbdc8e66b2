"""What one execution on one host found: plain values, shared by judge, reports and command line.

``Run`` is the content of run.json, ``Evidence`` that of evidence.json.gz.  All text in them may come from a
hostile host or guest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """How one case ended."""

    PASS = "pass"
    FAIL = "fail"  # the host breaks the rule
    CRASH = "crash"  # the guest gave no answer: triple fault, timeout, KVM internal error
    SKIP = "skip"  # the host does not have the feature; a fact says so
    ERROR = "error"  # our own bug or environment


class Standing(StrEnum):
    """How a profile's requirement stands on a host."""

    MET = "met"
    NOT_MET = "not met"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not applicable"
    WAIVED = "waived"
    STALE_WAIVER = "stale waiver"


class Layer(StrEnum):
    """What one layer (silicon, firmware, kernel, functional) says about a claim."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "n/a"


class Proof(StrEnum):
    """What the guests made of a claim."""

    PROVEN = "proven"
    REFUTED = "refuted"
    FUNCTIONAL_ONLY = "functional only"  # works, but emulation would look the same
    UNPROVEN = "unproven"
    CONTRADICTED = "contradicted"


class Outcome(StrEnum):
    """The verdict on a host."""

    COMPLIANT = "compliant"
    NOT_COMPLIANT = "not compliant"
    UNKNOWN = "unknown"
    ERROR = "error"
    INTERRUPTED = "interrupted"

    @property
    def exit_code(self) -> int:
        """The process exit code of ``virtproof check`` and ``virtproof judge``."""
        return {"compliant": 0, "not compliant": 3, "unknown": 5, "error": 4, "interrupted": 130}[self.value]


@dataclass(frozen=True, slots=True)
class Check:
    """One compared field of an observation; values are already text (hex for registers)."""

    field: str
    expected: str
    observed: str
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """How one case ended, with what was expected and seen."""

    id: str
    area: str
    title: str
    mode: str
    cite: tuple[str, ...]
    verdict: Verdict
    priority: int = 1  # of the rule: 1 core, 2 full, 3 exotic
    reason: str = ""  # one line; empty on a pass
    checks: tuple[Check, ...] = ()
    evidence: tuple[str, ...] = ()  # lines: disassembly, exits, registers
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """A claim in its four layers, and what the guests made of it."""

    name: str
    title: str
    silicon: Layer
    firmware: Layer
    kernel: Layer
    functional: Layer
    cause: str | None  # id of the named cause, None where nothing stands in the way
    cause_text: str = ""
    remedy: str | None = None  # id
    remedy_text: str = ""
    evidence: tuple[str, ...] = ()  # where each layer's answer came from: source, raw value, CPUs
    facts: tuple[str, ...] = ()  # ids of the facts that were looked at, in the order of ``evidence``
    proof: Proof = Proof.UNPROVEN
    proof_reason: str = ""
    proof_cases: tuple[str, ...] = ()  # the cases that decided
    cite: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WaiverTerms:
    """By whom, why and until when a finding is excepted."""

    owner: str
    reason: str
    expires: str  # ISO 8601, the last day on which it holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one requirement of the profile stands, and how that was derived."""

    id: str
    title: str
    severity: str  # "critical" | "major" | "minor" | "info"
    standing: Standing
    gates: bool  # does it decide the outcome?
    cause: str | None = None
    cause_text: str = ""
    remedy: str | None = None
    remedy_text: str = ""
    evidence: tuple[str, ...] = ()  # raw values, CPUs, sources, cases
    cite: tuple[str, ...] = ()
    waiver: str = ""  # owner, reason, expiry, where waived or stale
    terms: WaiverTerms | None = None  # the same, each by itself
    asks: str = ""  # what the profile asks for, in words
    facts: tuple[str, ...] = ()  # ids of what was held against it: facts,
    claims: tuple[str, ...] = ()  # claims,
    cases: tuple[str, ...] = ()  # and of the cases those that came out wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class FactAnswer:
    """``known`` holds the value, or ``unknown`` the reason; never both."""

    id: str
    meaning: str
    known: bool | int | str | None = None
    unknown: str | None = None
    raw: str = ""  # the raw value and the CPUs that gave it; each of them where CPUs differ
    source: str = ""  # where the value was read: "CPUID 0x1 ECX", "MSR 0x3a", "/sys/..."


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What is really behind the engine."""

    engine: str  # "kvm", "software" or "none"
    name: str  # "kvm_intel", "kvm_amd", "kvm_pvm", "unicorn 2.1.4", "unknown", "none"
    software: bool | None  # True: results describe an emulator; None: could not tell
    detail: str = ""  # how that is known

    @property
    def speaks_of_host(self) -> bool:
        """Did guests run on the host's own KVM?  What they see on the software engine says nothing of the host."""
        return self.engine != "software"


@dataclass(frozen=True, slots=True)
class Technique:
    """By which technique a part of guests runs, judged from what guests cost."""

    subject: str  # "kernel code (ring 0)", "guest page tables", ...
    name: str  # as the literature has it; "unknown" where nothing told
    how: str  # the case that decided and what it counted, or why none could
    contradiction: str = ""  # what the host says otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Who the host is.  Nothing here identifies a person or a serial number."""

    vendor: str = ""
    cpu: str = ""
    family_model_stepping: str = ""
    cpus: int = 0
    microcode: str = ""
    system: str = ""  # maker and model
    bios: str = ""  # vendor, version, date
    kernel: str = ""
    hypervisor: str = ""  # the one we run under, empty on bare metal
    boot_id: str = ""  # Linux's random name of this boot: tells two runs of one boot from two boots


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDeviation:
    """A known, cited departure of this kernel or backend from the manual, and the cases that it explains here."""

    id: str
    reason: str
    cite: tuple[str, ...]
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostResult:
    """What one operation of a guest costs, exits above all.  Without samples, ``reason`` says why there are none."""

    name: str
    title: str
    reason: str = ""
    unit: str = "cycles"  # of the guest's time stamp counter; or "ns"
    samples: int = 0
    minimum: int = 0
    median: int = 0
    p99: int = 0
    tsc_khz: int | None = None  # frequency of the guest's counter
    histogram: tuple[tuple[int, ...], ...] = ()  # pairs of a lower bound and a number of samples

    def ns(self, value: int) -> int | None:
        """A figure in nanoseconds; None where the frequency of the counter is unknown."""
        if self.unit == "ns":
            return value
        return round(value * 1e6 / self.tsc_khz) if self.tsc_khz else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NicResult:
    """What carrying packets costs with one model of a network adapter.  Without packets, ``reason`` says why."""

    name: str
    title: str
    reason: str = ""
    packets: int = 0
    exits: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskResult:
    """What reading costs with one model of a disk controller.  Without requests, ``reason`` says why."""

    name: str
    title: str
    reason: str = ""
    requests: int = 0
    size: int = 0  # bytes of a request
    exits: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference between an earlier run and this one."""

    subject: str  # "verdict", "host", "finding", "claim", "fact" or "case"
    id: str
    before: str  # empty: it was not there
    after: str  # empty: it is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What changed since an earlier run."""

    started: str  # of the earlier run
    version: str  # of the virtproof that made it
    profile: str
    changes: tuple[Change, ...] = ()
    left_out: int = 0  # changes beyond those listed
    not_compared: tuple[str, ...] = ()  # what one of the two runs does not have, in sentences


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution on one host: the content of run.json."""

    version: str  # of virtproof
    started: str  # ISO 8601, UTC
    seconds: float
    complete: bool  # False: interrupted
    outcome: Outcome
    summary: str  # the verdict in one sentence
    host: Host
    backend: Backend
    profile: str
    profile_sha256: str
    cases_sha256: str
    findings: tuple[Finding, ...] = ()
    claims: tuple[ClaimResult, ...] = ()
    techniques: tuple[Technique, ...] = ()  # how guests run here
    deviations: tuple[KnownDeviation, ...] = ()  # which the profile does not hold against the host
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # area -> verdict -> number
    failing: tuple[CaseResult, ...] = ()  # fail, crash and error
    not_proven: tuple[str, ...] = ()  # what could not be proven here, and why, in sentences
    baseline: Baseline | None = None  # what changed since an earlier run, where one was given


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything behind a run: the content of evidence.json.gz."""

    snapshot: dict[str, object]
    facts: tuple[FactAnswer, ...]
    cases: tuple[CaseResult, ...]
    backend: Backend | None = None  # what the cases ran on; None: none ran
    costs: tuple[CostResult, ...] = ()  # where they were measured
    nics: tuple[NicResult, ...] = ()
    disks: tuple[DiskResult, ...] = ()


NO_EXCUSE = {  # standing of what gates -> outcomes that cannot be
    Standing.NOT_MET: frozenset({Outcome.COMPLIANT, Outcome.UNKNOWN}),
    Standing.UNKNOWN: frozenset({Outcome.COMPLIANT}),
}


def contradiction(run: Run) -> str:
    """Why the parts of a run cannot belong together; empty where they can.

    An outcome better than the findings allow, half a run with a verdict, one requirement or claim twice, numbers
    below zero: whoever counts runs by their outcome must not count these.
    """
    for one in run.findings:
        if one.gates and run.outcome in NO_EXCUSE.get(one.standing, ()):
            return f"the outcome is '{run.outcome}', and a requirement that decides it is {one.standing}: {one.id}"
    if not run.complete and run.outcome is not Outcome.INTERRUPTED:
        return f"the outcome is '{run.outcome}', and the run is not complete"
    for what, names in (("finding", (f.id for f in run.findings)), ("claim", (c.name for c in run.claims))):
        if twice := [name for name, number in Counter(names).items() if number > 1]:
            return f"the {what} {twice[0]} is there more than once"
    numbers = [run.seconds, run.host.cpus, *(case.seconds for case in run.failing)]
    if any(number < 0 for number in (*numbers, *(n for counts in run.counts.values() for n in counts.values()))):
        return "a time or a number of things is below zero"
    return ""
