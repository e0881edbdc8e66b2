"""Instructions that Unicorn carries out without the checks of a processor, or not at all.

RDMSR and WRMSR, MOV to and from debug registers and CR8 are carried out here; of MOV to CR0, CR3 and CR4, RDPMC and
port I/O only what they refuse.  Intel SDM vol. 2, "MOV-Move to/from Control Registers", "MOV-Move to/from Debug
Registers", "RDMSR", "WRMSR"; vol. 1, "I/O Privilege Level", "I/O Permission Bit Map".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from virtproof.spec.x86.control import Cr0, Cr4, Efer, Xcr0
from virtproof.spec.x86.debug import DR6_RESET, DR7_RESET, Dr6, Dr7
from virtproof.spec.x86.descriptor import Tss32
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.paging import PaePdpte, is_canonical
from virtproof.vmm.engine import HasTaskPriority
from virtproof.vmm.engines.software import aligned, fpu_checks
from virtproof.vmm.engines.software.cpu import CS, CS32, RAX, RCX, RDX, Cpu
from virtproof.vmm.engines.software.cpuid import XCR0, CpuidTable
from virtproof.vmm.engines.software.decode import LOCK, OPERAND_SIZE, Instruction, may_lock, operand
from virtproof.vmm.engines.software.linear import PHYSICAL_BITS, LinearMemory, Physical, Raised
from virtproof.vmm.engines.software.msrs import Msrs

MOV_FROM_DR, MOV_TO_CR = 0x0F21, 0x0F22
LOAD_TABLE = (2, 3)  # ModRM.reg of LGDT and LIDT, after 0F 01
IRET, INS, XSETBV = 0xCF, (0x6C, 0x6D), 0xD1  # XSETBV: the ModRM byte after 0F 01

_SITES = (
    rb"\x0f[\x00\x07\x20-\x23\x30\x32\x33]|\x0f\x01[\x10-\x1f\x50-\x5f\x90-\x9f\xd1]|\xcf|\xf0|[\x6c\x6d]|"
    + aligned.SITES
    + rb"|"
    + fpu_checks.SITES
)
SITES = re.compile(_SITES)
SITES_OUTER = re.compile(_SITES + rb"|[\x6c-\x6f\xe4-\xe7\xec-\xef]")  # above ring 0: port I/O

_IMMEDIATE_PORT = range(0xE4, 0xE8)
_PORTS = frozenset((*range(0x6C, 0x70), *_IMMEDIATE_PORT, *range(0xEC, 0xF0)))

_IO_MAP_BASE = Tss32.io_map_base.offset  # the same in Tss64
_L = 1 << 21
_PG, _PE, _CD, _NW = Cr0.pg.mask, Cr0.pe.mask, Cr0.cd.mask, Cr0.nw.mask
_DR6, _DR7 = Dr6.KNOWN & ~(Dr6.bld.mask | Dr6.rtm.mask), Dr7.KNOWN & ~Dr7.rtm.mask


class Privileged:
    """What the instructions found by ``SITES`` do and refuse."""

    def __init__(self, cpu: Cpu, cpuid: CpuidTable, memory: LinearMemory, physical: Physical, msrs: Msrs) -> None:
        self._cpu, self._cpuid, self._memory, self._physical, self._msrs = cpu, cpuid, memory, physical, msrs
        self.task_priority: HasTaskPriority | None = None
        self.debug_registers_changed: Callable[[], None] = lambda: None

    def instead(self, insn: Instruction) -> Callable[[], None] | None:
        """What to do instead of the instruction; None: Unicorn may carry it out.

        What is done ends with RIP behind the instruction, or raises Raised.
        """
        cpu = self._cpu
        if LOCK in insn.prefixes and not may_lock(insn):
            return partial(_refuse, Vector.UD)
        number = insn.modrm >> 3 & 7 | (insn.rex & 4) << 1
        match insn.opcode:
            case 0x0F32 if cpu.cpl == 0:
                return partial(self._rdmsr, insn)
            case 0x0F30 if cpu.cpl == 0:
                return partial(self._wrmsr, insn)
            case 0x0F33:
                return partial(_refuse, Vector.GP)  # no counter is there
            case 0x0F07 if not self._cpuid.amd and not cpu.code64:
                return partial(_refuse, Vector.UD)  # SYSRET
            case 0x0F20 | 0x0F22 if cpu.cpl == 0 and number == 8:
                return partial(self._cr8, insn)
            case 0x0F22 if cpu.cpl == 0 and self._control_refused(number, self._register(insn)):
                return partial(_refuse, Vector.GP)
            case 0x0F21 | 0x0F23 if cpu.cpl == 0 and number < 8:
                return partial(self._debug_register, insn, number)
            case opcode if opcode in _PORTS and not self._port_allowed(insn):
                return partial(_refuse, Vector.GP)
            case 0x0F00 if number == 3 and cpu.protected and cpu.cpl == 0 and self._selector(insn) & ~3 == 0:
                return partial(_refuse, Vector.GP)  # LTR
            case 0x0F01 if number in LOAD_TABLE and cpu.code64 and cpu.cpl == 0 and self._table_refused(insn):
                return partial(_refuse, Vector.GP)
            case 0x0F01 if insn.modrm == XSETBV and cpu.cpl == 0 and self._xcr0_refused():
                return partial(_refuse, Vector.GP)
            case fpu_checks.OPCODE:
                vector = fpu_checks.refused(cpu, self._memory, insn)
                return partial(_refuse, vector) if vector is not None else None
            case _ if aligned.misaligned(cpu, insn):
                return partial(_refuse, Vector.GP)
        return None

    # ---- MSRs

    def _rdmsr(self, insn: Instruction) -> None:
        regs = self._cpu.state.regs
        value = self._msrs.read(regs[RCX] & 0xFFFF_FFFF)
        if value is None:
            raise Raised(Vector.GP)
        regs[RAX], regs[RDX] = value & 0xFFFF_FFFF, value >> 32
        self._cpu.complete(insn.length)

    def _wrmsr(self, insn: Instruction) -> None:
        regs = self._cpu.state.regs
        value = (regs[RDX] & 0xFFFF_FFFF) << 32 | regs[RAX] & 0xFFFF_FFFF
        if not self._msrs.write(regs[RCX] & 0xFFFF_FFFF, value):
            raise Raised(Vector.GP)
        self._cpu.complete(insn.length)

    # ---- control registers

    def _register(self, insn: Instruction) -> int:
        """The value of the general register that ModRM.rm names."""
        value: int = self._cpu.state.regs[insn.modrm & 7 | (insn.rex & 1) << 3]
        return value if self._cpu.code64 else value & 0xFFFF_FFFF

    def _cr8(self, insn: Instruction) -> None:
        cpu = self._cpu
        holder: HasTaskPriority = self.task_priority or cpu
        if insn.opcode == MOV_TO_CR:
            value = self._register(insn)
            if value >> 4:
                raise Raised(Vector.GP)
            holder.cr8 = value
        else:
            cpu.state.regs[insn.modrm & 7 | (insn.rex & 1) << 3] = holder.cr8
        cpu.complete(insn.length + 1)

    def _selector(self, insn: Instruction) -> int:
        found = operand(self._cpu, insn)
        return self._memory.read(found.address, 2) if found is not None else self._register(insn) & 0xFFFF

    def _table_refused(self, insn: Instruction) -> bool:
        """Is the base that LGDT or LIDT would load not canonical?"""
        found = operand(self._cpu, insn)
        return found is not None and not is_canonical(self._memory.read(found.address + 2, 8))

    def _xcr0_refused(self) -> bool:
        """Does XSETBV raise #GP?  Without OSXSAVE it raises #UD."""
        state = self._cpu.state
        value = (state.regs[RDX] & 0xFFFF_FFFF) << 32 | state.regs[RAX] & 0xFFFF_FFFF
        wrong = state.regs[RCX] & 0xFFFF_FFFF or value & ~XCR0 or not value & Xcr0.x87.mask
        return bool(state.cr[4] & Cr4.osxsave.mask and wrong)

    def _control_refused(self, number: int, value: int) -> bool:
        """Does MOV to CR0, CR3 or CR4 raise #GP?"""
        match number:
            case 0:
                return self._cr0_refused(value)
            case 3:
                return self._cr3_refused(value)
            case 4:
                return bool(value & ~self._cpuid.cr4 or (self._cpu.long_mode and not value & Cr4.pae.mask)) or (
                    self._loads_pdptes(self._cpu.state.cr[0], value) and self._pdptes_refused(self._cpu.state.cr[3])
                )
        return False

    def _cr0_refused(self, value: int) -> bool:
        state = self._cpu.state
        turns_on = value & _PG and not state.cr[0] & _PG
        return bool(
            value >> 32
            or (value & _PG and not value & _PE)
            or (value & _NW and not value & _CD)
            or (turns_on and state.efer & Efer.lme.mask and not state.cr[4] & Cr4.pae.mask)
            or (turns_on and state.efer & Efer.lme.mask and state.segments[CS].flags & _L)
            or (not value & _PG and self._cpu.code64)
            or (turns_on and self._loads_pdptes(value, state.cr[4]) and self._pdptes_refused(state.cr[3]))
        )

    def _cr3_refused(self, value: int) -> bool:
        state = self._cpu.state
        if self._cpu.long_mode:
            return bool(value >> PHYSICAL_BITS)
        return self._loads_pdptes(state.cr[0], state.cr[4]) and self._pdptes_refused(value)

    def _loads_pdptes(self, cr0: int, cr4: int) -> bool:
        return bool(cr0 & _PG and cr4 & Cr4.pae.mask and not self._cpu.state.efer & Efer.lme.mask)

    def _pdptes_refused(self, cr3: int) -> bool:
        """Is a reserved bit set in one of the four entries of PAE paging?"""
        reserved = ~PaePdpte.KNOWN | (1 << 52) - (1 << PHYSICAL_BITS)
        entries = (self._physical.read((cr3 & 0xFFFF_FFE0) + 8 * n, 8) for n in range(4))
        return any(entry & 1 and entry & reserved for entry in entries)

    # ---- debug registers

    def _debug_register(self, insn: Instruction, number: int) -> None:
        cpu = self._cpu
        dr = cpu.events.dr
        if number in (4, 5):
            if cpu.state.cr[4] & Cr4.de.mask:
                raise Raised(Vector.UD)
            number += 2
        if dr[7] & Dr7.gd.mask:
            dr[6] |= Dr6.bd.mask
            dr[7] &= ~Dr7.gd.mask
            raise Raised(Vector.DB)
        if insn.opcode == MOV_FROM_DR:
            cpu.state.regs[insn.modrm & 7 | (insn.rex & 1) << 3] = dr[number]
        else:
            value = self._register(insn)
            if number in (6, 7) and value >> 32:
                raise Raised(Vector.GP)
            dr[number] = value & _DR6 | DR6_RESET if number == 6 else value & _DR7 | DR7_RESET if number == 7 else value
            self.debug_registers_changed()
        cpu.complete(insn.length + 1)

    # ---- ports

    def _port_allowed(self, insn: Instruction) -> bool:
        cpu = self._cpu
        state = cpu.state
        if not cpu.protected or (not cpu.vm86 and cpu.cpl <= state.rflags >> 12 & 3):
            return True
        wide = bool(state.hflags & CS32) != (OPERAND_SIZE in insn.prefixes)
        size = 1 if not insn.opcode & 1 else 4 if wide else 2
        port = insn.code[insn.length] if insn.opcode in _IMMEDIATE_PORT else state.regs[RDX] & 0xFFFF
        tss = state.tr
        if not tss.flags >> 11 & 1 or not tss.flags >> 15 & 1 or tss.limit < _IO_MAP_BASE + 1:
            return False
        at = self._memory.read(tss.base + _IO_MAP_BASE, 2) + (port >> 3)
        if at + 1 > tss.limit:
            return False
        return not self._memory.read(tss.base + at, 2) >> (port & 7) & ((1 << size) - 1)


def _refuse(vector: Vector) -> None:
    raise Raised(vector)
