"""``virtproof probe --vmx`` and ``--svm``: the capability registers, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from virtproof.cli.screen import table

if TYPE_CHECKING:
    from virtproof.probes.register import Register
    from virtproof.probes.snapshot import Snapshot

NAMES = {"vmx": "VMX", "svm": "SVM"}


def registers(extension: str) -> tuple[Register, ...]:
    """Return the registers that describe ``vmx`` or ``svm``, in the order people read them."""
    from virtproof.probes.facts import sev, svm, svm_capabilities, vmx, vmx_capabilities, vmx_controls

    if extension == "svm":
        return (*svm.REGISTERS, *svm_capabilities.REGISTERS, *sev.REGISTERS)
    basic, *others = vmx_capabilities.REGISTERS
    return (*vmx.REGISTERS, basic, *vmx_controls.REGISTERS, *others)


def lines(snapshot: Snapshot, extension: str) -> Iterator[str]:
    """Yield what is shown of ``vmx`` or ``svm``."""
    from virtproof.probes.capability_table import tables

    told: set[str] = set()

    def once(remark: str) -> str:  # the reason why nothing could be read is long, and the same for all registers
        if remark.startswith("unknown: ") and remark in told:
            return "unknown, as above"
        told.add(remark)
        return remark

    yield "processor: what it has.  KVM's guests: what KVM offers them, by its own choice."
    if extension == "vmx":
        yield "A control is forced where it must be 1; default 1: unless software knows the TRUE registers."
    for number, one in enumerate(tables(snapshot, registers(extension))):
        kvm = any(line.kvm not in {"-", "unknown"} for line in one.lines)
        yield ""
        yield f"{one.title}: {one.where}"
        yield f"  processor     {once(one.processor)}"
        if kvm or one.kvm not in told:
            yield f"  KVM's guests  {once(one.kvm)}"
        header = ("bits", "field", "processor", "KVM's guests")[: 4 if kvm else 3]
        rows = ((line.bits, line.term, line.processor, line.kvm)[: len(header)] for line in one.lines)
        for text in table(header, rows):
            yield f"  {text}"
        if number == 0 and one.lines[0].processor == "no" and one.lines[0].kvm != "yes":
            yield ""
            yield f"There is no {NAMES[extension]} here, and nothing else to show."
            return
