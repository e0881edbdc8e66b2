"""Interrupts without exits: Intel's APICv and posted interrupts, AMD's AVIC and x2AVIC; and their remapping."""

from __future__ import annotations

from dataclasses import replace

from virtproof.probes.claims.claim import YES, Inquiry, Step, Steps
from virtproof.probes.claims.extensions import part, svm, vmx, with_svm
from virtproof.probes.claims.iommu import iommu
from virtproof.results import Layer

APICV = ("vmx.control.apic_registers", "vmx.control.interrupt_delivery", "vmx.control.posted_interrupts")
X2AVIC_SINCE = (6, 0)

avic = with_svm("AVIC", "kvm_amd.avic", "svm.avic")


def apicv(inquiry: Inquiry) -> Steps:
    """KVM calls by this name three controls together: APIC registers, interrupt delivery, posted interrupts."""
    return _with_apicv(inquiry, "APIC virtualization", APICV)


def posted_interrupts(inquiry: Inquiry) -> Steps:
    """Interrupts reach a running guest without an exit; KVM turns it on with the rest of APICv."""
    return _with_apicv(inquiry, "posted interrupts", APICV[2:])


def _with_apicv(inquiry: Inquiry, what: str, controls: tuple[str, ...]) -> Steps:
    extension = vmx(inquiry)
    if not extension.applies or extension.silicon.layer is not Layer.YES:
        return extension
    return part(inquiry, extension, inquiry.silicon_of_all(what, *controls), "kvm_intel.enable_apicv", what)


def x2avic(inquiry: Inquiry) -> Steps:
    """AVIC for guests whose APIC is in x2APIC mode; KVM uses it with AVIC, since Linux 6.0."""
    extension = svm(inquiry)
    if not extension.applies or extension.silicon.layer is not Layer.YES:
        return extension
    steps = part(inquiry, extension, inquiry.silicon("svm.x2avic", "x2AVIC"), "kvm_amd.avic", "x2AVIC")
    if steps.kernel.layer is Layer.YES and inquiry.release and not inquiry.kernel_at_least(*X2AVIC_SINCE):
        return replace(steps, kernel=too_old(inquiry, "x2AVIC", X2AVIC_SINCE))
    return steps


def too_old(inquiry: Inquiry, what: str, since: tuple[int, int]) -> Step:
    """The kernel layer of what came with a later kernel."""
    release = str(inquiry.value("kernel.release"))
    return Step(Layer.NO, "kernel-too-old", {"what": what, "release": release, "since": f"{since[0]}.{since[1]}"})


def interrupt_remapping(inquiry: Inquiry) -> Steps:
    """Interrupts of devices are remapped.  Linux does so before, and apart from, remapping their DMA."""
    if inquiry.yes("iommu.intr_remap"):
        return Steps(YES, YES, YES)
    what = "interrupt remapping"
    if told := inquiry.told("intremap=off", "nointremap"):
        kernel = Step(Layer.NO, "kernel-command-line", {"what": what, "detail": told})
        return replace(iommu(inquiry), kernel=kernel)
    below = iommu(inquiry)
    setting = "amd_vi" if inquiry.amd else "vt_d"
    if below.deciding and below.deciding.definite:
        if below.kernel.cause is None or inquiry.amd:
            return below
        below = replace(below, kernel=YES)  # VT-d remaps interrupts without DMA too
    if not inquiry.amd and inquiry.no("vt_d.intr_remap"):
        silicon = Step(Layer.NO, "not-in-silicon", {"what": "interrupt remapping in its VT-d units"})
        return Steps(silicon, below.firmware, Step(Layer.NO))
    if not inquiry.amd and inquiry.no("dmar.intr_remap"):
        detail = "bit 0 of the DMAR table's flags is 0"
        return Steps(below.silicon, _ruled_out(detail, setting), Step(Layer.NO))
    if inquiry.yes("iommu.log_no_remap"):
        line = inquiry.answers["iommu.log_no_remap"].seen[0].raw
        if inquiry.amd:  # the reason that AMD's driver has is an IVRS table without the I/O APICs
            return Steps(below.silicon, _ruled_out(line, setting), Step(Layer.NO))
        return Steps(below.silicon, below.firmware, _unused(what, line))
    if inquiry.no("iommu.intr_remap"):
        return Steps(below.silicon, below.firmware, _unused(what, "the kernel did not log that it enabled it"))
    return Steps(below.silicon, below.firmware, inquiry.unread("iommu.intr_remap"))


def _ruled_out(detail: str, setting: str) -> Step:
    return Step(Layer.NO, "firmware-no-interrupt-remapping", {"detail": detail, "setting": setting})


def _unused(what: str, detail: str) -> Step:
    advice = "Use a kernel with CONFIG_IRQ_REMAP, and look in its log for lines with DMAR-IR or AMD-Vi."
    return Step(Layer.NO, "kernel-not-using-it", {"what": what, "detail": detail, "advice": advice})
