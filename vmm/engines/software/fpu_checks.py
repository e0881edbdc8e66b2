"""What Unicorn does not check before it loads or saves x87 and SSE state: CR0.TS of XSAVE, reserved bits of MXCSR.

Intel SDM vol. 1, "Operation of XSAVE"; vol. 2, "LDMXCSR", "XSAVE", "XRSTOR".
"""

from __future__ import annotations

from virtproof.spec.x86.control import Cr0, Cr4
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engines.software.cpu import Cpu
from virtproof.vmm.engines.software.decode import REP, REPNE, Instruction, operand
from virtproof.vmm.engines.software.fpu import MXCSR_MASK
from virtproof.vmm.engines.software.linear import LinearMemory

_LDMXCSR = 2  # ModRM.reg; 4 and 5 are XSAVE and XRSTOR
SITES = rb"\x0f\xae[\x10-\x17\x20-\x2f\x50-\x57\x60-\x6f\x90-\x97\xa0-\xaf]"
OPCODE = 0x0FAE
_DISABLED = Cr0.em.mask | Cr0.ts.mask


def refused(cpu: Cpu, memory: LinearMemory, insn: Instruction) -> Vector | None:
    """The exception of an instruction of ``OPCODE``, or None where Unicorn may judge.  Raises Raised."""
    found = operand(cpu, insn)
    if found is None or REP in insn.prefixes or REPNE in insn.prefixes:
        return None
    cr0, cr4 = cpu.state.cr[0], cpu.state.cr[4]
    if insn.modrm >> 3 & 7 == _LDMXCSR:
        runs = not cr0 & _DISABLED and cr4 & Cr4.osfxsr.mask
        return Vector.GP if runs and memory.read(found.address, 4) & ~MXCSR_MASK else None
    return Vector.NM if cr0 & Cr0.ts.mask and cr4 & Cr4.osxsave.mask else None
