"""Remapping of DMA: VT-d and AMD-Vi.  The firmware announces it by an ACPI table, the kernel by its class devices."""

from __future__ import annotations

from virtproof.probes.claims.claim import ABSENT, YES, Inquiry, Step, Steps
from virtproof.results import Layer


def vt_d(inquiry: Inquiry) -> Steps:
    if inquiry.amd:
        return ABSENT
    return _remapping(inquiry, "VT-d", "DMAR", "dmar", ("intel_iommu=off", "iommu=off"), "intel_iommu=on")


def amd_vi(inquiry: Inquiry) -> Steps:
    if inquiry.vendor and not inquiry.amd:
        return ABSENT
    return _remapping(
        inquiry,
        "AMD-Vi",
        "IVRS",
        "ivrs",
        ("amd_iommu=off", "iommu=off"),
        "amd_iommu=on, or a kernel with CONFIG_AMD_IOMMU",
    )


def iommu(inquiry: Inquiry) -> Steps:
    """Whichever of the two this vendor has."""
    return amd_vi(inquiry) if inquiry.amd else vt_d(inquiry)


def _remapping(inquiry: Inquiry, what: str, table: str, name: str, off: tuple[str, ...], on: str) -> Steps:
    setting = "vt_d" if name == "dmar" else "amd_vi"
    active = inquiry.look(f"{name}.units")
    if active is Layer.YES:
        inquiry.look("iommu.groups")
        return Steps(YES, YES, YES)
    match inquiry.look(f"{name}.table"):
        case Layer.YES:
            silicon = firmware = YES
        case Layer.NO if inquiry.virtual:
            hidden = Step(Layer.UNKNOWN, "hidden-by-hypervisor", {"what": what, "hypervisor": inquiry.hypervisor})
            return Steps(hidden, Step(Layer.NO), Step(Layer.NO))
        case Layer.NO if (off := inquiry.setting("iommu"))[0] is Layer.NO:
            silicon = Step(Layer.UNKNOWN)
            firmware = Step(Layer.NO, "firmware-off-setting", {"what": what, "detail": off[1], "setting": setting})
        case Layer.NO:
            silicon = Step(Layer.UNKNOWN)
            firmware = Step(Layer.NO, "iommu-not-announced", {"what": what, "table": table, "setting": setting})
        case _:
            silicon = Step(Layer.UNKNOWN)
            firmware = inquiry.unread(f"{name}.table")
    if told := inquiry.told(*off):
        return Steps(silicon, firmware, Step(Layer.NO, "kernel-command-line", {"what": what, "detail": told}))
    if active is Layer.UNKNOWN:
        kernel = inquiry.unread(f"{name}.units")
    elif firmware is YES:
        detail = f"the table {table} is there, /sys/class/iommu has no unit of it"
        kernel = Step(Layer.NO, "kernel-not-using-it", {"what": what, "detail": detail, "advice": f"Boot with {on}."})
    else:
        kernel = Step(Layer.NO)
    return Steps(silicon, firmware, kernel)
