"""Judge: a snapshot and what guests observed, against a profile.  A pure function of its arguments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice

from virtproof.probes.ask import Answers, ask
from virtproof.probes.causes import explain, why_unread
from virtproof.probes.claims.catalogue import ALL_CLAIMS, claims
from virtproof.probes.fact import Known, Unknown
from virtproof.probes.host import backend_of, host_of
from virtproof.probes.profile import Deviation, Profile, Requirement, Waiver
from virtproof.probes.proofs import ProofTable, join
from virtproof.probes.snapshot import Snapshot
from virtproof.results import (
    Backend,
    CaseResult,
    ClaimResult,
    CostResult,
    Finding,
    Host,
    KnownDeviation,
    Layer,
    Outcome,
    Proof,
    Standing,
    Verdict,
    WaiverTerms,
)

SHOWN = 20  # failing cases that a finding names
CITED = 5  # rules of theirs that it cites
NO_PROOFS = ProofTable()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict on a host, and everything it rests on."""

    outcome: Outcome
    summary: str
    findings: tuple[Finding, ...]
    claims: tuple[ClaimResult, ...]
    host: Host
    backend: Backend
    not_proven: tuple[str, ...]
    deviations: tuple[KnownDeviation, ...]
    answers: Answers


def judge(
    snapshot: Snapshot,
    case_results: Sequence[CaseResult],
    profile: Profile,
    waivers: Sequence[Waiver] = (),
    *,
    today: date,
    proofs: ProofTable = NO_PROOFS,
    backend: Backend | None = None,
    costs: Sequence[CostResult] = (),
) -> Judgement:
    """Judge a host.  ``backend`` is what the guests ran on, where that was not the host's own KVM."""
    answers = ask(snapshot)
    host, own = host_of(answers), backend_of(snapshot)
    backend = backend or own
    hardware = {claim.name: claim.hardware for claim in ALL_CLAIMS}
    excuses = _excuses(case_results, profile, host, backend)
    joined = tuple(
        join(claim, hardware[claim.name], case_results, proofs, backend, excuses.keys()) for claim in claims(answers)
    )
    named = {claim.name: claim for claim in joined}
    bench = _Bench(answers, named, case_results, tuple(costs), profile, excuses, backend, own, host)
    findings = bench.findings(waivers, today)
    outcome = _outcome(profile, findings, case_results)
    return Judgement(
        outcome=outcome,
        summary=_summary(outcome, profile, findings, case_results),
        findings=findings,
        claims=joined,
        host=host,
        backend=backend,
        not_proven=_not_proven(joined, hardware, case_results),
        deviations=bench.deviations(),
        answers=answers,
    )


@dataclass(frozen=True, slots=True)
class _Bench:
    """What the requirements of one profile are held against."""

    answers: Answers
    claims: dict[str, ClaimResult]
    results: Sequence[CaseResult]
    costs: tuple[CostResult, ...]
    profile: Profile
    excuses: Mapping[str, Deviation]
    backend: Backend  # what the guests ran on
    own: Backend  # what is behind the host's own /dev/kvm
    host: Host

    def findings(self, waivers: Sequence[Waiver], today: date) -> tuple[Finding, ...]:
        found = [self._waived(self._finding(one), waivers, today) for one in self.profile.requirements]
        return (*found, *self._stale(found, waivers, today))

    def _finding(self, requirement: Requirement) -> Finding:
        if requirement.fact:
            found = self._of_fact(requirement)
        elif requirement.cost:
            found = self._of_cost(requirement)
        else:
            found = self._of_claims(requirement) if requirement.claims else self._of_cases(requirement)
        return replace(found, asks=str(requirement))

    def _of_fact(self, requirement: Requirement) -> Finding:
        answered = self.answers[requirement.fact]
        if isinstance(answered.answer, Known):
            standing = Standing.MET if requirement.passes(answered.answer.value) else Standing.NOT_MET
        elif answered.seen:  # the CPUs differ: met only if each of their values would do
            good = all(requirement.passes(one.value) for one in answered.seen)
            standing = Standing.MET if good else Standing.NOT_MET
        else:
            standing = Standing.UNKNOWN
        finding = _blank(requirement, standing, (answered.evidence,), (str(answered.fact.cite),))
        finding = replace(finding, facts=(requirement.fact,))
        details = {"what": requirement.title, "detail": answered.evidence, "module": self.own.name}
        if standing is Standing.UNKNOWN:
            reason = answered.answer.reason if isinstance(answered.answer, Unknown) else ""
            return _caused(finding, why_unread(reason), details, "")
        if standing is Standing.NOT_MET and requirement.cause:
            return _caused(finding, requirement.cause, details, requirement.remedy)
        return finding

    def _of_claims(self, requirement: Requirement) -> Finding:
        named = [self.claims[name] for name in requirement.claims]
        stands = [(_standing(claim, requirement), claim) for claim in named]
        for standing in (Standing.NOT_MET, Standing.UNKNOWN, Standing.MET):
            claim = next((claim for stand, claim in stands if stand is standing), None)
            if claim:
                break
        else:
            return replace(_blank(requirement, Standing.NOT_APPLICABLE, (), ()), claims=requirement.claims)
        evidence = (f"{claim.name}: {_layers(claim)}; {claim.proof}: {claim.proof_reason}", *claim.evidence)
        finding = _blank(requirement, standing, evidence, claim.cite)
        finding = replace(finding, facts=claim.facts, claims=requirement.claims)
        if standing is Standing.MET:
            return finding
        return replace(
            finding,
            cause=claim.cause,
            cause_text=claim.cause_text or claim.proof_reason,
            remedy=claim.remedy or finding.remedy,
            remedy_text=requirement.remedy or claim.remedy_text,
        )

    def _of_cases(self, requirement: Requirement) -> Finding:
        chosen = [result for result in self.results if requirement.selects(result)]
        broken, known = self._broken(chosen)
        counts = Counter(result.verdict for result in chosen)
        evidence = [", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))] if chosen else []
        for family, number in sorted(Counter(_family(result.id) for result in broken).items()):
            names = [result.id for result in broken if _family(result.id) == family]
            evidence.append(f"{family}: {number} wrong: {', '.join(names[:SHOWN])}{', ...' * (number > SHOWN)}")
        evidence += [f"known deviation {name}: {case}" for case, name in known[:SHOWN]]
        if chosen and not self.backend.speaks_of_host:
            finding = _blank(requirement, Standing.UNKNOWN, tuple(evidence), ())
            return _caused(finding, "guests-on-emulator", {"module": self.backend.name}, requirement.remedy)
        if broken:
            cited = tuple(dict.fromkeys(cite for result in broken for cite in result.cite))[:CITED]
            finding = _blank(requirement, Standing.NOT_MET, tuple(evidence), cited)
            finding = replace(finding, cases=tuple(result.id for result in broken[:SHOWN]))
            detail = f"{len(broken)} of {len(chosen)} cases: {', '.join(result.id for result in broken[:3])}"
            cause = "emulator-breaks-rules" if self.backend.software else "refuted-by-guests"
            what = {"what": "this area", "detail": detail + ", ..." * (len(broken) > 3), "module": self.backend.name}
            return _caused(finding, cause, what, requirement.remedy)
        if counts[Verdict.PASS] or known:
            return _blank(requirement, Standing.MET, tuple(evidence), ())
        if counts[Verdict.SKIP] and counts[Verdict.SKIP] == len(chosen):
            return _blank(requirement, Standing.NOT_APPLICABLE, tuple(evidence), ())
        reason = "our own errors left no answer" if chosen else "no case of this kind was run"
        finding = _blank(requirement, Standing.UNKNOWN, tuple(evidence), ())
        return _caused(finding, "not-run", {"detail": reason}, requirement.remedy)

    def _of_cost(self, requirement: Requirement) -> Finding:
        cost = next((one for one in self.costs if one.name == requirement.cost), None)
        median = cost.ns(cost.median) if cost and cost.samples else None
        if cost is None or median is None:
            why = (
                (cost.reason or "the counter's frequency is unknown") if cost else "virtproof check --bench measures it"
            )
            finding = _blank(requirement, Standing.UNKNOWN, (), ())
            return _caused(finding, "not-run", {"detail": f"{requirement.cost}: {why}"}, requirement.remedy)
        detail = f"the median of {cost.samples} samples is {median} ns"
        if not self.backend.speaks_of_host:
            finding = _blank(requirement, Standing.UNKNOWN, (detail,), ())
            return _caused(finding, "guests-on-emulator", {"module": self.backend.name}, requirement.remedy)
        if requirement.at_most is not None and median > requirement.at_most:
            finding = _blank(requirement, Standing.NOT_MET, (detail,), ())
            return _caused(finding, "costs-too-much", {"what": cost.title, "detail": detail}, requirement.remedy)
        return _blank(requirement, Standing.MET, (detail,), ())

    def _broken(self, chosen: Sequence[CaseResult]) -> tuple[list[CaseResult], list[tuple[str, str]]]:
        """Cases that came out wrong, apart from known deviations: pairs (case, deviation)."""
        broken, known = [], []
        for result in chosen:
            if result.verdict not in {Verdict.FAIL, Verdict.CRASH}:
                continue
            if deviation := self.excuses.get(result.id):
                known.append((result.id, f"{deviation.id} ({deviation.reason}; {', '.join(deviation.cite)})"))
            else:
                broken.append(result)
        return broken, known

    def deviations(self) -> tuple[KnownDeviation, ...]:
        """The known deviations that explain wrong results here."""
        explained: dict[Deviation, list[str]] = {}
        for case, deviation in self.excuses.items():
            explained.setdefault(deviation, []).append(case)
        return tuple(
            KnownDeviation(id=one.id, reason=one.reason, cite=one.cite, cases=tuple(cases[:SHOWN]))
            for one, cases in explained.items()
        )

    def _waived(self, finding: Finding, waivers: Sequence[Waiver], today: date) -> Finding:
        if finding.standing not in {Standing.NOT_MET, Standing.UNKNOWN}:
            return finding
        for waiver in waivers:
            if waiver.finding == finding.id and waiver.selects(self.host) and today <= waiver.expires:
                return replace(finding, standing=Standing.WAIVED, waiver=str(waiver), terms=_terms(waiver))
        return finding

    def _stale(self, found: Sequence[Finding], waivers: Sequence[Waiver], today: date) -> list[Finding]:
        """Waivers that no longer do anything: shown, because somebody relies on them."""
        standings = {finding.id: finding.standing for finding in found}
        stale = []
        for number, waiver in enumerate(waivers, 1):
            if not waiver.selects(self.host):
                continue  # meant for other hosts
            standing = standings.get(waiver.finding)
            if standing is Standing.WAIVED and today <= waiver.expires:
                continue
            if standing is None:
                why = f"the profile {self.profile.name} has no finding of that id"
            elif today > waiver.expires:
                why = f"it expired on {waiver.expires}"
            else:
                why = f"the finding is {standing}"
            stale.append(
                Finding(
                    id=f"waiver-{number}-{waiver.finding}",
                    title=f"The waiver for {waiver.finding} is stale: {why}",
                    severity="info",
                    standing=Standing.STALE_WAIVER,
                    gates=False,
                    remedy="review-waiver",
                    remedy_text="Remove the waiver, or renew it with its owner.",
                    waiver=str(waiver),
                    terms=_terms(waiver),
                )
            )
        return stale


def _excuses(results: Sequence[CaseResult], profile: Profile, host: Host, backend: Backend) -> dict[str, Deviation]:
    """The known deviation that explains each wrong result, by the case's id; a strict profile knows none."""
    excuses: dict[str, Deviation] = {}
    for result in results:
        if result.verdict in {Verdict.FAIL, Verdict.CRASH} and not profile.strict:
            covering = (one for one in profile.deviations if one.covers(result, backend.name, host.kernel))
            excuses.update((result.id, one) for one in islice(covering, 1))
    return excuses


def _terms(waiver: Waiver) -> WaiverTerms:
    return WaiverTerms(owner=waiver.owner, reason=waiver.reason, expires=waiver.expires.isoformat())


def _blank(requirement: Requirement, standing: Standing, evidence: tuple[str, ...], cite: tuple[str, ...]) -> Finding:
    open_ended = standing in {Standing.NOT_MET, Standing.UNKNOWN}
    return Finding(
        id=requirement.id,
        title=requirement.title,
        severity=requirement.severity,
        standing=standing,
        gates=requirement.gates and not (standing is Standing.UNKNOWN and requirement.allow_unknown),
        remedy="see-profile" if requirement.remedy and open_ended else None,
        remedy_text=requirement.remedy if open_ended else "",
        evidence=evidence,
        cite=requirement.cite or cite,
    )


def _caused(finding: Finding, cause: str, details: dict[str, str], remedy: str) -> Finding:
    text, remedy_id, remedy_text = explain(cause, details)
    return replace(finding, cause=cause, cause_text=text, remedy=remedy_id, remedy_text=remedy or remedy_text)


def _standing(claim: ClaimResult, requirement: Requirement) -> Standing:
    layers: list[Layer] = [getattr(claim, name) for name in requirement.layers]
    asked = [layer for layer in layers if layer is not Layer.NOT_APPLICABLE]
    if not asked:
        return Standing.NOT_APPLICABLE
    if Layer.NO in asked or claim.proof in {Proof.REFUTED, Proof.CONTRADICTED}:
        return Standing.NOT_MET
    if Layer.UNKNOWN in asked:
        return Standing.NOT_MET if claim.cause == "hidden-by-hypervisor" else Standing.UNKNOWN
    return Standing.UNKNOWN if requirement.proven and claim.proof is not Proof.PROVEN else Standing.MET


def _layers(claim: ClaimResult) -> str:
    return ", ".join(f"{name} {getattr(claim, name)}" for name in ("silicon", "firmware", "kernel", "functional"))


def _family(case: str) -> str:
    """The rule family of a case: the first two parts of its id."""
    return ".".join(case.split(".")[:2])


def _outcome(profile: Profile, findings: Sequence[Finding], results: Sequence[CaseResult]) -> Outcome:
    """Strongest first: our own errors, what is not met, what is not known."""
    gating = [requirement for requirement in profile.requirements if requirement.gates]
    if any(result.verdict is Verdict.ERROR and any(one.selects(result) for one in gating) for result in results):
        return Outcome.ERROR
    standings = {finding.standing for finding in findings if finding.gates}
    if Standing.NOT_MET in standings:
        return Outcome.NOT_COMPLIANT
    return Outcome.UNKNOWN if Standing.UNKNOWN in standings else Outcome.COMPLIANT


def _summary(outcome: Outcome, profile: Profile, findings: Sequence[Finding], results: Sequence[CaseResult]) -> str:
    if outcome is Outcome.COMPLIANT:
        ran = sum(result.verdict is Verdict.PASS for result in results)
        return f"Compliant with {profile.name}: every gating requirement is met; {ran} guest cases passed."
    if outcome is Outcome.ERROR:
        wrong = sum(result.verdict is Verdict.ERROR for result in results)
        return f"No verdict for {profile.name}: {wrong} cases ended in an error of virtproof or its environment."
    wanted = Standing.NOT_MET if outcome is Outcome.NOT_COMPLIANT else Standing.UNKNOWN
    open_ones = [finding for finding in findings if finding.gates and finding.standing is wanted]
    first = open_ones[0]
    word = "Not compliant with" if outcome is Outcome.NOT_COMPLIANT else "Unknown for"
    rest = f" ({len(open_ones) - 1} more)" if len(open_ones) > 1 else ""
    return f"{word} {profile.name}: {first.cause_text or first.title}{rest}."


def _not_proven(
    joined: Sequence[ClaimResult], hardware: dict[str, bool], results: Sequence[CaseResult]
) -> tuple[str, ...]:
    """What could not be proven here, and why: one sentence for each reason."""
    by_reason: dict[str, list[str]] = {}
    for claim in joined:
        if claim.silicon is claim.kernel is Layer.NOT_APPLICABLE or not hardware[claim.name]:
            continue
        if claim.proof in {Proof.UNPROVEN, Proof.FUNCTIONAL_ONLY}:
            by_reason.setdefault(claim.proof_reason, []).append(claim.name)
    sentences = tuple(f"{', '.join(names)}: {reason}." for reason, names in by_reason.items())
    return sentences if results else ("No guest was run: nothing is proven.", *sentences)
