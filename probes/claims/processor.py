"""Processor features that guests get through: a CPUID flag below, KVM's offer above."""

from __future__ import annotations

from collections.abc import Callable

from virtproof.probes.claims.claim import NOT_APPLICABLE, NOT_ASKED, VMX_VENDORS, YES, Inquiry, Step, Steps
from virtproof.results import Layer


def feature(fact: str, what: str, offered: str, off: tuple[str, ...] = ()) -> Callable[[Inquiry], Steps]:
    """A feature without a firmware switch: CPUID has it (``fact``), KVM offers it to guests (``offered``).

    ``off`` are the kernel parameters that turn it off.
    """

    def steps(inquiry: Inquiry) -> Steps:
        return Steps(inquiry.silicon(fact, what), NOT_APPLICABLE, _offered(inquiry, what, offered, off))

    return steps


def nx(inquiry: Inquiry) -> Steps:
    """No-execute: Intel's firmware can hide it from CPUID by IA32_MISC_ENABLE."""
    silicon = inquiry.silicon("cpu.nx", "NX (no-execute pages)")
    if silicon.layer is Layer.YES:
        firmware = YES
    elif inquiry.vendor not in VMX_VENDORS:
        firmware = NOT_APPLICABLE
    elif inquiry.yes("cpu.xd_disable"):
        silicon, firmware = YES, Step(Layer.NO, "firmware-off-xd", {"setting": "xd"})
    elif inquiry.no("cpu.xd_disable") or silicon.definite is False:
        firmware = NOT_ASKED
    else:  # no flag, and no word from the MSR that hides it
        silicon = inquiry.unread("cpu.xd_disable")
        firmware = silicon
    return Steps(silicon, firmware, _offered(inquiry, "NX", "kvm.offers.nx", ("noexec=off", "noexec32=off")))


def tsc_invariant(inquiry: Inquiry) -> Steps:
    """The TSC runs at one rate in all power states; Linux says so as nonstop_tsc."""
    silicon = inquiry.silicon("cpu.tsc_invariant", "an invariant TSC")
    match inquiry.look("linux.nonstop_tsc"):
        case Layer.YES:
            kernel = YES
        case Layer.NO:
            kernel = Step(Layer.NO)
        case _:
            kernel = inquiry.unread("linux.nonstop_tsc")
    return Steps(silicon, NOT_APPLICABLE, kernel)


def _offered(inquiry: Inquiry, what: str, offered: str, off: tuple[str, ...]) -> Step:
    match inquiry.look(offered):
        case Layer.YES:
            return YES
        case Layer.UNKNOWN:
            return inquiry.unread(offered)
    if told := inquiry.told(*off):
        return Step(Layer.NO, "kernel-command-line", {"what": what, "detail": told})
    if inquiry.yes("kvm.software"):
        return Step(Layer.NO, "software-backend", {"module": str(inquiry.value("kvm.backend"))})
    detail = "KVM_GET_SUPPORTED_CPUID does not have it"
    advice = "Look for clearcpuid= on the command line and for shadow paging (ept=0, npt=0); else use a newer kernel."
    return Step(Layer.NO, "kernel-not-using-it", {"what": what, "detail": detail, "advice": advice})
