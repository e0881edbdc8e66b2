"""Moves of 16 bytes that must be aligned, which Unicorn does not check: MOVAPS, MOVAPD, MOVDQA and their relatives.

Intel SDM vol. 2, "MOVAPS", "MOVAPD", "MOVDQA", "MOVNTPS", "MOVNTPD", "MOVNTDQ", "MOVNTDQA"; of other instructions
with a 16-byte operand in memory alignment is not checked.
"""

from __future__ import annotations

from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.vmm.engines.software.cpu import Cpu
from virtproof.vmm.engines.software.decode import OPERAND_SIZE, REP, REPNE, Instruction, operand

_ANY = frozenset((0x0F28, 0x0F29, 0x0F2B))  # MOVAPS, MOVNTPS; with 66H MOVAPD, MOVNTPD
_WITH_66 = frozenset((0x0F6F, 0x0F7F, 0x0FE7))  # MOVDQA, MOVNTDQ
_DISABLED = Cr0.em.mask | Cr0.ts.mask
SITES = rb"\x0f[\x28\x29\x2b\x6f\x7f\xe7]"


def misaligned(cpu: Cpu, insn: Instruction) -> bool:
    """Does the instruction raise #GP for the address of its operand?"""
    if cpu.state.cr[0] & _DISABLED or not cpu.state.cr[4] & Cr4.osfxsr.mask:
        return False  # it raises something else
    if REP in insn.prefixes or REPNE in insn.prefixes:
        return False
    if insn.opcode not in _ANY and not (insn.opcode in _WITH_66 and OPERAND_SIZE in insn.prefixes):
        return False
    found = operand(cpu, insn)
    return found is not None and found.address % 16 != 0
