"""The host around the processor: do its CPUs agree, are flaws mitigated, is there memory and are there devices for
guests.
"""

from __future__ import annotations

from virtproof.probes.claims.claim import NOT_APPLICABLE, YES, Inquiry, Step, Steps
from virtproof.results import Layer

# Device nodes that a monitor opens, and the module behind each; /dev/kvm is a claim of its own.
NODES = (("tun", "/dev/net/tun", "tun"), ("vhost_net", "/dev/vhost-net", "vhost_net"))


def uniformity(inquiry: Inquiry) -> Steps:
    """All CPUs have the same features: a guest may run on any of them."""
    match inquiry.look("uniform.features"):
        case Layer.YES:
            silicon = YES
        case Layer.NO:
            detail = inquiry.answers["uniform.features"].seen[0].raw
            cause = (
                "hybrid-cores-differ" if inquiry.yes("cpu.hybrid") or inquiry.differ("cpu.hybrid") else "cpus-differ"
            )
            silicon = Step(Layer.NO, cause, {"what": "features", "detail": detail})
        case _:
            silicon = inquiry.unread("uniform.features")
    return Steps(silicon, NOT_APPLICABLE, NOT_APPLICABLE, NOT_APPLICABLE)


def microcode(inquiry: Inquiry) -> Steps:
    """All CPUs run one revision of microcode."""
    return _kernel_only(inquiry, "uniform.microcode", "microcode-differs")


def mitigations(inquiry: Inquiry) -> Steps:
    """The kernel calls no flaw of the processor open."""
    names = inquiry.value("mitigations.vulnerable")
    if names is None:
        kernel = inquiry.unread("mitigations.vulnerable")
    elif not names:
        kernel = YES
    elif told := inquiry.told("mitigations=off"):
        kernel = Step(Layer.NO, "kernel-command-line", {"what": "mitigations of processor flaws", "detail": told})
    else:
        kernel = Step(Layer.NO, "vulnerable", {"detail": inquiry.answers["mitigations.vulnerable"].seen[0].raw})
    return Steps(NOT_APPLICABLE, NOT_APPLICABLE, kernel, NOT_APPLICABLE)


def memory_backing(inquiry: Inquiry) -> Steps:
    """Huge pages for guests' memory: reserved ones, or transparent ones on demand."""
    reserved, transparent = inquiry.value("memory.huge_mib"), inquiry.value("memory.thp")
    if reserved or (transparent is not None and "[never]" not in str(transparent)):
        kernel = YES
    elif reserved is None:
        kernel = inquiry.unread("memory.huge_mib")
    elif transparent is None:
        kernel = inquiry.unread("memory.thp")
    else:
        kernel = Step(Layer.NO, "memory-not-backed")
    return Steps(NOT_APPLICABLE, NOT_APPLICABLE, kernel, NOT_APPLICABLE)


def device_nodes(inquiry: Inquiry) -> Steps:
    """Network devices for guests: the nodes are there, and this user may open them."""
    for name, node, module in NODES:
        details = {"node": node, "module": module}
        if inquiry.no(f"{name}.node"):
            return _kernel(Step(Layer.NO, "device-node-missing", details))
        access = inquiry.value(f"{name}.access")
        if access is None:
            return _kernel(inquiry.unread(f"{name}.access"))
        if access != "rw":
            detail = {"r": "read", "w": "write"}.get(str(access), "neither")
            return Steps(
                NOT_APPLICABLE,
                NOT_APPLICABLE,
                YES,
                Step(Layer.NO, "device-no-permission", {**details, "detail": detail}),
            )
    return Steps(NOT_APPLICABLE, NOT_APPLICABLE, YES, YES)


def sr_iov(inquiry: Inquiry) -> Steps:
    """Some PCI function can be split into virtual functions."""
    match inquiry.look("sriov.devices"):
        case Layer.YES:
            return Steps(YES, YES, YES)
        case Layer.NO if inquiry.virtual:
            hidden = Step(Layer.UNKNOWN, "hidden-by-hypervisor", {"what": "SR-IOV", "hypervisor": inquiry.hypervisor})
            return Steps(hidden, Step(Layer.NO), Step(Layer.NO))
        case Layer.NO if (off := inquiry.setting("sr_iov"))[0] is Layer.NO:
            turned_off = {"what": "SR-IOV", "detail": off[1], "setting": "sr_iov"}
            return Steps(Step(Layer.UNKNOWN), Step(Layer.NO, "firmware-off-setting", turned_off), Step(Layer.NO))
        case Layer.NO if inquiry.yes("sriov.blocked"):
            blocked = {"detail": str(inquiry.value("sriov.blocked")), "setting": "sr_iov"}
            return Steps(YES, Step(Layer.NO, "sr-iov-blocked", blocked), Step(Layer.NO))
        case Layer.NO:
            return Steps(Step(Layer.UNKNOWN), Step(Layer.NO, "sr-iov-not-seen", {"setting": "sr_iov"}), Step(Layer.NO))
    return _kernel(inquiry.unread("sriov.devices"))


def tsc_scaling(inquiry: Inquiry) -> Steps:
    """A guest's TSC may run at another rate than the host's."""
    source = "svm.tsc_rate" if inquiry.amd else "vmx.control.tsc_scaling"
    silicon = inquiry.silicon(source, "TSC scaling")
    match inquiry.look("kvm.cap.tsc_control"):
        case Layer.YES:
            kernel = YES
            silicon = YES if silicon.layer is Layer.UNKNOWN and not silicon.definite else silicon
        case Layer.UNKNOWN:
            kernel = inquiry.unread("kvm.cap.tsc_control")
        case _ if inquiry.yes("kvm.software"):
            kernel = Step(Layer.NO, "software-backend", {"module": str(inquiry.value("kvm.backend"))})
        case _ if inquiry.amd and inquiry.no("kvm_amd.tsc_scaling"):
            kernel = Step(
                Layer.NO,
                "module-parameter",
                {
                    "what": "TSC scaling",
                    "module": "kvm_amd",
                    "parameter": "kvm_amd.tsc_scaling",
                    "detail": "kvm_amd.tsc_scaling",
                },
            )
        case _:
            advice = "Look in the kernel log for lines with kvm."
            detail = "KVM_CAP_TSC_CONTROL is 0"
            kernel = Step(Layer.NO, "kernel-not-using-it", {"what": "TSC scaling", "detail": detail, "advice": advice})
    return Steps(silicon, NOT_APPLICABLE, kernel)


def _kernel_only(inquiry: Inquiry, fact: str, cause: str) -> Steps:
    match inquiry.look(fact):
        case Layer.YES:
            return _kernel(YES)
        case Layer.NO:
            return _kernel(Step(Layer.NO, cause, {"detail": inquiry.answers[fact].seen[0].raw}))
    return _kernel(inquiry.unread(fact))


def _kernel(step: Step) -> Steps:
    return Steps(NOT_APPLICABLE, NOT_APPLICABLE, step, NOT_APPLICABLE)
