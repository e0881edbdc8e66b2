"""What a claim is, and the inquiry that answers its layers from the facts of one host."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from virtproof.probes.ask import Answers
from virtproof.probes.causes import explain, why_unread
from virtproof.probes.claims.makers import name_of
from virtproof.probes.fact import Unknown, Value
from virtproof.results import ClaimResult, Layer
from virtproof.spec.cite import Cite

RELEASE = re.compile(r"(\d{1,3})\.(\d{1,4})")
SETTINGS = {
    "virtualization": ("setup.virtualization", "redfish.virtualization"),
    "iommu": ("setup.iommu", "redfish.iommu"),
    "sr_iov": ("setup.sr_iov", "redfish.sriov"),
}
VMX_VENDORS = frozenset({"GenuineIntel", "CentaurHauls", "Shanghai"})
SVM_VENDORS = frozenset({"AuthenticAMD", "HygonGenuine"})


@dataclass(frozen=True, slots=True)
class Step:
    """One layer's word, and the cause where it is not yes.  ``details`` fill the texts of the cause and its remedy."""

    layer: Layer
    cause: str | None = None
    details: dict[str, str] = field(default_factory=dict)

    @property
    def definite(self) -> bool:
        """Does this step alone say why the claim does not hold?  A feature hidden from us is so, though not a no."""
        return self.cause is not None and (self.layer is Layer.NO or self.cause == "hidden-by-hypervisor")


YES, NOT_APPLICABLE, NOT_ASKED = Step(Layer.YES), Step(Layer.NOT_APPLICABLE), Step(Layer.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Steps:
    """The four layers of one claim."""

    silicon: Step = NOT_ASKED
    firmware: Step = NOT_ASKED
    kernel: Step = NOT_ASKED
    functional: Step = NOT_ASKED

    @property
    def deciding(self) -> Step | None:
        """The step that names the cause: the lowest layer that says no; else, unless the kernel uses it, the lowest
        that could not tell; ``None`` where nothing stands in the way."""
        steps = (self.silicon, self.firmware, self.kernel, self.functional)
        for step in steps:
            if step.definite:
                return step
        if self.kernel.layer is Layer.YES:
            return None
        return next((step for step in steps if step.cause), None)

    @property
    def applies(self) -> bool:
        """Is there anything to claim on this kind of processor?"""
        return any(step.layer is not Layer.NOT_APPLICABLE for step in (self.silicon, self.kernel))


ABSENT = Steps(NOT_APPLICABLE, NOT_APPLICABLE, NOT_APPLICABLE, NOT_APPLICABLE)


class Inquiry:
    """The facts of one host, and which of them were looked at: those become the claim's evidence."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.evidence: dict[str, str] = {}  # fact -> line

    def look(self, fact: str) -> Layer:
        """A yes-or-no fact as a layer, remembered as evidence."""
        if fact not in self.evidence:
            self.evidence[fact] = self.answers[fact].evidence
        return self.answers[fact].layer

    def value(self, fact: str) -> Value | None:
        """A fact's value, remembered as evidence; ``None`` where it is unknown."""
        self.look(fact)
        return self.answers[fact].value

    def yes(self, fact: str) -> bool:
        return self.look(fact) is Layer.YES

    def no(self, fact: str) -> bool:
        return self.look(fact) is Layer.NO

    def differ(self, fact: str) -> bool:
        """Do the CPUs give different answers?"""
        return len({one.value for one in self.answers[fact].seen}) > 1

    def reason(self, fact: str) -> str:
        """Why a fact is unknown."""
        answer = self.answers[fact].answer
        return answer.reason if isinstance(answer, Unknown) else ""

    def first_known(self, *facts: str) -> str:
        """The first of several facts that is known, or whose CPUs differ; the first of all where none is."""
        return next((fact for fact in facts if self.answers[fact].seen), facts[0])

    def setting(self, name: str) -> tuple[Layer, str]:
        """A setting of the firmware's setup, as the host itself or its service processor shows it, and how it reads."""
        for fact in SETTINGS[name]:
            if self.answers[fact].seen and self.look(fact) is not Layer.UNKNOWN:
                return self.answers[fact].layer, self.answers[fact].seen[0].raw
        return Layer.UNKNOWN, ""

    @property
    def vendor(self) -> str:
        return str(self.answers.value("cpu.vendor") or "")

    @property
    def amd(self) -> bool:
        """Is SVM what this vendor would have?  All others are asked for VMX, those of unknown make for both."""
        return self.vendor in SVM_VENDORS

    @property
    def virtual(self) -> bool:
        """Do we run under a hypervisor?  Then CPUID shows what that hypervisor offers."""
        return self.answers.yes("hypervisor.present")

    @property
    def hypervisor(self) -> str:
        return str(self.answers.value("hypervisor.name") or "of unknown make")

    @property
    def release(self) -> tuple[int, int] | None:
        """Version and patch level of the kernel."""
        found = RELEASE.match(str(self.answers.value("kernel.release") or ""))
        return (int(found[1]), int(found[2])) if found else None

    def kernel_at_least(self, major: int, minor: int) -> bool:
        """Is the kernel known to be this new?"""
        return self.release is not None and self.release >= (major, minor)

    def unread(self, fact: str) -> Step:
        """The step of a layer whose fact is unknown: why, and what would let it be read."""
        reason = self.reason(fact)
        return Step(Layer.UNKNOWN, why_unread(reason), {"detail": reason})

    def silicon(self, fact: str, what: str) -> Step:
        """The silicon layer of a feature that a CPUID flag or a capability MSR announces."""
        match self.look(fact):
            case Layer.YES:
                return YES
            case Layer.NO if self.virtual:
                self.look("hypervisor.present")
                return Step(Layer.UNKNOWN, "hidden-by-hypervisor", {"what": what, "hypervisor": self.hypervisor})
            case Layer.NO:
                return Step(Layer.NO, "not-in-silicon", {"what": what})
        if self.differ(fact):
            return Step(Layer.NO, "cpus-differ", {"what": what, "detail": self.reason(fact)})
        return self.unread(fact)

    def silicon_of_all(self, what: str, *facts: str) -> Step:
        """The silicon layer of a feature that takes all of several bits."""
        steps = [self.silicon(fact, what) for fact in facts]
        return next((step for step in steps if step.definite), None) or next(
            (step for step in steps if step.layer is not Layer.YES), YES
        )

    def told(self, *words: str) -> str:
        """Which of these kernel parameters are on the command line."""
        found = []
        for given in str(self.answers.value("kernel.parameters") or "").split():
            name, equals, values = given.partition("=")
            if given in words or (equals and any(f"{name}={value}" in words for value in values.split(","))):
                found.append(given)
        return " ".join(found)


@dataclass(frozen=True, slots=True)
class Claim:
    """``hardware``: a guest on a software backend can neither prove nor refute it."""

    name: str
    title: str
    steps: Callable[[Inquiry], Steps]
    cite: tuple[Cite, ...]
    hardware: bool = True


def evaluate(claim: Claim, answers: Answers) -> ClaimResult:
    """The claim as this host makes it, before any guest is heard."""
    inquiry = Inquiry(answers)
    steps = claim.steps(inquiry)
    deciding = steps.deciding
    cause_text, remedy, remedy_text = "", None, ""
    if deciding and deciding.cause:
        cause_text, remedy, remedy_text = explain(deciding.cause, deciding.details)
        if setting := deciding.details.get("setting"):
            maker, product = (str(answers.value(f"dmi.{name}") or "") for name in ("system", "product"))
            remedy_text = f"{remedy_text} {name_of(setting, maker, product)}".strip()
    return ClaimResult(
        name=claim.name,
        title=claim.title,
        silicon=steps.silicon.layer,
        firmware=steps.firmware.layer,
        kernel=steps.kernel.layer,
        functional=steps.functional.layer,
        cause=deciding.cause if deciding else None,
        cause_text=cause_text,
        remedy=remedy,
        remedy_text=remedy_text,
        evidence=tuple(inquiry.evidence.values()),
        facts=tuple(inquiry.evidence),
        cite=tuple(str(cite) for cite in claim.cite),
    )
