"""Join claims with what guests observed: the half of the answer that no register can give."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from virtproof.probes.causes import explain
from virtproof.results import Backend, CaseResult, ClaimResult, Layer, Proof, Verdict

# Claims that no guest of ours can prove, and why.
# fmt: off
INVISIBLE = {
    "posted_interrupts":   "to a guest an interrupt that was posted looks like one that an exit delivered",
    "x2avic":              "to a guest it looks like AVIC, and AVIC like the kernel's local APIC but for its cost",
    "tsc_invariant":       "a guest sees no power state of the host",
    "iommu":               "no device is assigned to a guest",
    "vt_d":                "no device is assigned to a guest",
    "amd_vi":              "no device is assigned to a guest",
    "interrupt_remapping": "no device is assigned to a guest",
    "sr_iov":              "no device is assigned to a guest",
    "sev":                 "no encrypted guest is started",
    "sev_es":              "no encrypted guest is started",
    "sev_snp":             "no encrypted guest is started",
    "tdx":                 "no trust domain is started",
    "uniformity":          "it is about the host, and no guest sees all of it",
    "microcode":           "it is about the host, and no guest sees it",
    "mitigations":         "it is about the host, and no guest attacks it",
    "memory_backing":      "a guest does not see what backs its memory",
    "device_nodes":        "no guest has a network of the host's",
}

# Claims that guests can show to work and no more, and why.
EMULATED = {
    "kvm":          "it works; whether by hardware is what the other claims are about",
    "x2apic":       "it works, as KVM emulates it on any processor",
    "tsc_deadline": "it works, as KVM's own timers make it on any processor",
}
# fmt: on


@dataclass(frozen=True, slots=True)
class ProofTable:
    """Which cases speak for which claims.

    ``proves``: case id -> names of claims.  ``discriminating``: ids of the cases whose observation could not have come
    out so without the claimed feature; the others show only that something behaves like it.
    """

    proves: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    discriminating: frozenset[str] = frozenset()

    def of(self, claim: str, results: Sequence[CaseResult]) -> tuple[CaseResult, ...]:
        """The results that speak for a claim."""
        return tuple(result for result in results if claim in self.proves.get(result.id, ()))


def join(
    claim: ClaimResult,
    hardware: bool,
    results: Sequence[CaseResult],
    table: ProofTable,
    backend: Backend,
    excused: Collection[str] = (),
) -> ClaimResult:
    """The claim with its proof.

    ``hardware``: only a hardware backend can prove or refute it.  ``excused``: ids of cases that came out wrong by a
    known deviation, which says nothing of the claim.
    """
    speaking = table.of(claim.name, results)
    counting = [result for result in speaking if result.id not in excused]
    answered = [result for result in counting if result.verdict in {Verdict.PASS, Verdict.FAIL, Verdict.CRASH}]
    broken = [result for result in answered if result.verdict is not Verdict.PASS]

    def judged(
        proof: Proof, reason: str, deciding: Sequence[CaseResult], functional: Layer | None = None
    ) -> ClaimResult:
        cases = tuple(result.id for result in deciding)
        return replace(
            claim, proof=proof, proof_reason=reason, proof_cases=cases, functional=functional or claim.functional
        )

    if claim.silicon is claim.kernel is Layer.NOT_APPLICABLE:
        return judged(Proof.UNPROVEN, "not a feature of this kind of processor", ())
    if not answered:
        why = _why_silent(claim.name, counting, table) if counting or not speaking else "all fail by known deviations"
        return judged(Proof.UNPROVEN, why, speaking)
    if not backend.speaks_of_host:
        return judged(Proof.UNPROVEN, f"guests ran on the software engine ({backend.name}), not on this host", answered)
    if hardware and backend.software is not False:
        who = backend.name if backend.software else f"{backend.name}, which may be software"
        return judged(Proof.UNPROVEN, f"guest results describe the emulator ({who}), not the processor", answered)
    if broken:
        names = ", ".join(result.id for result in broken[:5]) + (", ..." if len(broken) > 5 else "")
        text, remedy, remedy_text = explain("refuted-by-guests", {"what": claim.title, "detail": names})
        refuted = judged(Proof.REFUTED, f"{len(broken)} of {len(answered)} cases came out wrong", broken, Layer.NO)
        if claim.cause:
            return refuted
        return replace(refuted, cause="refuted-by-guests", cause_text=text, remedy=remedy, remedy_text=remedy_text)
    deciding = [result for result in answered if result.id in table.discriminating]
    if deciding and claim.silicon is Layer.NO:
        reason = "guests behave as if it were there, while the processor says it is not: one of the two is wrong"
        return judged(Proof.CONTRADICTED, reason, deciding)
    if deciding:
        return judged(Proof.PROVEN, f"{len(deciding)} discriminating cases passed", deciding, Layer.YES)
    reason = EMULATED.get(claim.name, "it works, but emulation would look the same")
    return judged(Proof.FUNCTIONAL_ONLY, reason, answered, Layer.YES)


def _why_silent(claim: str, speaking: Sequence[CaseResult], table: ProofTable) -> str:
    if speaking:
        first = speaking[0]
        return f"no case gave an answer ({first.id}: {first.verdict}{', ' + first.reason if first.reason else ''})"
    if any(claim in claims for claims in table.proves.values()):
        return "no case that could prove it was run"
    return f"no case proves it: {INVISIBLE[claim]}" if claim in INVISIBLE else "no case proves it"
