"""What Unicorn does otherwise than a processor in 64-bit mode, put right: addresses that are not canonical, IRET.

Intel SDM vol. 1, "Canonical Addressing"; vol. 3A, "Stack Fault Exception (#SS)".
"""

from __future__ import annotations

from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.paging import is_canonical
from virtproof.vmm.engines.software.cpu import FS, GS, RBP, RSP, SS, Cpu
from virtproof.vmm.engines.software.decode import Instruction, operand
from virtproof.vmm.engines.software.linear import LinearMemory, Raised

CALL, RET, RET_IMMEDIATE, GROUP5, LEAVE = 0xE8, 0xC3, 0xC2, 0xFF, 0xC9
_STACK = frozenset((*range(0x50, 0x60), 0x68, 0x6A, 0x8F, 0x9C, 0x9D, 0xC8, CALL, RET, RET_IMMEDIATE, 0xCF))


def corrected(cpu: Cpu, vector: int, error_code: int, address: int, insn: Instruction | None) -> int:
    """Return the vector of the fault of ``insn`` at the linear ``address``, and put the state before it right."""
    if vector != Vector.GP or error_code or not cpu.code64 or insn is None:
        return vector
    if not is_canonical(cpu.state.rip):
        _undo_branch(cpu, insn)
        cpu.state.rip = address
        return vector
    return Vector.SS if _is_of_stack(cpu, insn) else vector


def keep_bases(cpu: Cpu, memory: LinearMemory) -> None:
    """Before IRET in 64-bit mode: FS and GS that the outer ring may not have become null, and keep their bases.

    Unicorn clears the base of all that are not null yet.
    """
    segments = cpu.state.segments
    named = [number for number in (FS, GS) if segments[number].selector & ~3]
    if not cpu.code64 or not named:
        return
    try:
        outer = memory.read(cpu.state.regs[RSP] + 8, 8) & 3
    except Raised:
        return
    for number in named:
        if cpu.cpl < outer and segments[number].flags >> 13 & 3 < outer:
            segments[number].selector = 0


def _undo_branch(cpu: Cpu, insn: Instruction) -> None:
    """A processor checks the target before it branches."""
    regs, which = cpu.state.regs, insn.modrm >> 3 & 7
    if insn.opcode == CALL or (insn.opcode == GROUP5 and which == 2):
        regs[RSP] += 8
    elif insn.opcode == RET:
        regs[RSP] -= 8
    elif insn.opcode == RET_IMMEDIATE:
        regs[RSP] -= 8 + int.from_bytes(insn.code[insn.length : insn.length + 2], "little")


def _is_of_stack(cpu: Cpu, insn: Instruction) -> bool:
    """Does the instruction access the stack segment at an address that is not canonical?"""
    regs, which = cpu.state.regs, insn.modrm >> 3 & 7
    if insn.opcode in _STACK or (insn.opcode == GROUP5 and which in (2, 6)):
        return not is_canonical(regs[RSP])
    if insn.opcode == LEAVE:
        return not is_canonical(regs[RBP])
    found = operand(cpu, insn)
    return found is not None and found.segment == SS and not is_canonical(found.address)
