"""A guest that runs given bytes, and no walker round it: for host scripts about how a run begins and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from virtproof.conformance.case import Insn
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode, start_state
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers


def enter(machine: Machine, code: Sequence[Insn], *, cr4: int = 0, **registers: int) -> int:
    """Put the first vCPU at ``code``, at ring 0 of 64-bit mode with IF = 0; return where that is.

    Memory is mapped one to one, the tables are those of the processor after reset.  ``cr4`` is set besides what 64-bit
    mode needs.
    """
    image = images.load("long64")
    start = image["kernel_code"]
    machine.memory.load(image["image"], image.data)
    machine.memory.load(start, b"".join(insn.code for insn in code))
    state = start_state(Mode.LONG64, image, machine.vcpu.special_registers())
    machine.vcpu.set_special_registers(replace(state, cr4=state.cr4 | cr4))
    machine.vcpu.set_registers(Registers(rip=start, rsp=image["kernel_stack_top"], **registers))
    return start
