"""Delivery of exceptions and interrupts through the guest's interrupt table, in every mode.

Intel SDM vol. 3A, "Interrupt and Exception Handling" and "Task Management"; AMD APM vol. 2, "Exceptions and
Interrupts".  Nothing of the processor changes before all checks and writes have succeeded.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from virtproof.spec.x86.descriptor import SegmentDescriptor, SystemType
from virtproof.spec.x86.exception import EXCEPTIONS, DoubleFaultClass, Vector, makes_double_fault
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.paging import is_canonical
from virtproof.vmm.engines.software.cpu import CS, DS, ES, FS, FULL, GS, INHIBIT, RSP, SS, Cpu
from virtproof.vmm.engines.software.linear import LinearMemory, Raised

_IF, _TF, _NT, _RF, _VM, _AC = (
    field.mask for field in (Rflags.if_, Rflags.tf, Rflags.nt, Rflags.rf, Rflags.vm, Rflags.ac)
)
_EXT, _IDT = 1, 2
_ACCESSED = 1 << 40
_TRAP = 1  # of a gate's type: IF is kept
_GATES32 = (SystemType.INTERRUPT_GATE16, SystemType.TRAP_GATE16, SystemType.INTERRUPT_GATE32, SystemType.TRAP_GATE32)
_GATES64 = (SystemType.INTERRUPT_GATE32, SystemType.TRAP_GATE32)


class Source(Enum):
    """What asks for the delivery."""

    EXCEPTION = "exception"
    SOFTWARE = "INT n, INT3, INTO: the gate's DPL counts"
    EXTERNAL = "interrupt, NMI, INT1"


class Event(NamedTuple):
    """Something to deliver; an exception that is no ``trap`` is a fault: its instruction has not completed."""

    vector: int
    source: Source
    error_code: int = 0
    trap: bool = False


class TripleFault(Exception):
    """The processor shuts down."""


class _Target(NamedTuple):
    """Where the handler is, and on which stack it runs."""

    selector: int
    descriptor: int
    offset: int
    cpl: int
    trap: bool  # a trap gate
    width: int  # of what is pushed, in bytes
    stack: _Stack


class _Stack(NamedTuple):
    """A stack: ``selector`` and the hidden part, or None where SS stays."""

    pointer: int
    base: int
    mask: int
    new: tuple[int, int, int, int] | None = None  # selector, base, limit, flags


class Delivery:
    """Delivers events to one processor."""

    def __init__(self, cpu: Cpu, memory: LinearMemory) -> None:
        self._cpu, self._memory = cpu, memory

    def deliver(self, event: Event, *, fault_rip: int | None = None) -> None:
        """Deliver an event, or what comes of it.  Raises TripleFault.

        ``fault_rip`` is where the instruction of a software interrupt begins; RIP is behind it.
        """
        cpu = self._cpu
        while True:
            saved = cpu.state.rip
            try:
                self._deliver(event)
                cpu.state.hflags &= ~INHIBIT
                return
            except Raised as fault:
                cpu.state.rip = saved if fault_rip is None else fault_rip
                fault_rip = None
                if fault.cr2 is not None:
                    cpu.state.cr[2] = fault.cr2
                event = self._next(event, fault)

    @staticmethod
    def _next(event: Event, fault: Raised) -> Event:
        """What to deliver when ``fault`` came up during the delivery of ``event``."""
        if event.source is Source.EXCEPTION:
            first = Vector(event.vector)
            if first is Vector.DF and EXCEPTIONS[fault.vector].double_fault_class is not DoubleFaultClass.BENIGN:
                raise TripleFault
            if makes_double_fault(first, fault.vector):
                return Event(Vector.DF, Source.EXCEPTION)
        return Event(fault.vector, Source.EXCEPTION, fault.error_code)

    def _deliver(self, event: Event) -> None:
        flags = self._cpu.state.rflags | 2
        if event.source is Source.EXCEPTION and not event.trap:
            flags |= _RF
        elif event.source is Source.SOFTWARE:
            flags &= ~_RF
        if not self._cpu.protected:
            self._real(event, flags & 0xFFFF)
        elif self._cpu.long_mode:
            self._protected(event, flags, self._gate64(event))
        else:
            self._protected(event, flags, self._gate32(event))

    # ---- real mode

    def _real(self, event: Event, flags: int) -> None:
        cpu, state = self._cpu, self._cpu.state
        if event.vector * 4 + 3 > state.idt.limit:
            raise Raised(Vector.GP)
        entry = self._memory.read(state.idt.base + event.vector * 4, 4)
        pointer = state.regs[RSP] & 0xFFFF
        for value in (flags, state.segments[CS].selector, state.rip):
            if pointer == 1:
                raise Raised(Vector.SS)
            pointer = (pointer - 2) & 0xFFFF
            self._memory.write(state.segments[SS].base + pointer, 2, value)
        state.regs[RSP] = state.regs[RSP] & ~0xFFFF | pointer
        state.rip = entry & 0xFFFF
        state.segments[CS].selector, state.segments[CS].base = entry >> 16, entry >> 16 << 4
        state.rflags &= ~(_IF | _TF | _AC | _RF)
        cpu.refresh(cpl=0)

    # ---- gates

    def _checked_gate(self, event: Event, size: int, types: tuple[SystemType, ...]) -> int:
        """The first 8 bytes of the gate."""
        state, cpl = self._cpu.state, self._cpu.cpl
        ext = 0 if event.source is Source.SOFTWARE else _EXT
        code = event.vector * 8 | _IDT | ext
        if event.vector * size + size - 1 > state.idt.limit:
            raise Raised(Vector.GP, code)
        gate = self._memory.read(state.idt.base + event.vector * size, 8)
        if gate >> 40 & 0x1F not in types:
            raise Raised(Vector.GP, code)
        if event.source is Source.SOFTWARE and gate >> 45 & 3 < cpl:
            raise Raised(Vector.GP, code)
        if not gate >> 47 & 1:
            raise Raised(Vector.NP, code)
        return gate

    def _code_segment(self, selector: int, ext: int) -> int:
        """The descriptor of the handler's segment, checked."""
        if selector & ~3 == 0:
            raise Raised(Vector.GP, ext)
        code = selector & ~3 | ext
        found = self._descriptor(selector, code)
        of = SegmentDescriptor(found)
        if not of.s or not of.type & 8 or of.dpl > self._cpu.cpl:
            raise Raised(Vector.GP, code)
        if self._cpu.long_mode and (not of.l or of.db):
            raise Raised(Vector.GP, code)
        if not of.p:
            raise Raised(Vector.NP, code)
        return found

    def _descriptor(self, selector: int, code: int, vector: Vector = Vector.GP) -> int:
        state = self._cpu.state
        table = state.ldt if selector & 4 else state.gdt
        if (selector & 4 and not table.flags & 1 << 15) or selector | 7 > table.limit:
            raise Raised(vector, code)
        return self._memory.read(table.base + (selector & ~7), 8)

    def _gate32(self, event: Event) -> _Target:
        cpu, state = self._cpu, self._cpu.state
        gate = self._checked_gate(event, 8, _GATES32)
        ext = 0 if event.source is Source.SOFTWARE else _EXT
        selector, wide = gate >> 16 & 0xFFFF, bool(gate >> 43 & 1)
        descriptor = self._code_segment(selector, ext)
        dpl, conforming = descriptor >> 45 & 3, descriptor >> 42 & 1
        inner = not conforming and dpl < cpu.cpl
        if cpu.vm86 and (not inner or dpl):
            raise Raised(Vector.GP, selector & ~3 | ext)
        offset = gate & 0xFFFF | (gate >> 48 << 16 if wide else 0)
        width = 4 if wide else 2
        if inner:
            stack = self._inner_stack(dpl, ext)
        else:
            ss = state.segments[SS]
            stack = _Stack(state.regs[RSP], ss.base, 0xFFFF_FFFF if ss.flags & 1 << 22 else 0xFFFF)
        if offset > SegmentDescriptor(descriptor).limit:
            raise Raised(Vector.GP, ext)
        return _Target(selector, descriptor, offset, dpl if inner else cpu.cpl, bool(gate >> 40 & _TRAP), width, stack)

    def _inner_stack(self, ring: int, ext: int) -> _Stack:
        """The stack of an inner ring, from the TSS."""
        tss = self._cpu.state.tr
        wide = bool(tss.flags >> 11 & 1)
        at, size = (4 + 8 * ring, 4) if wide else (2 + 4 * ring, 2)
        if at + size + 1 > tss.limit:
            raise Raised(Vector.TS, tss.selector & ~3 | ext)
        pointer = self._memory.read(tss.base + at, size)
        selector = self._memory.read(tss.base + at + size, 2)
        code = selector & ~3 | ext
        if selector & ~3 == 0:
            raise Raised(Vector.TS, ext)
        descriptor = self._descriptor(selector, code, Vector.TS)
        of = SegmentDescriptor(descriptor)
        if selector & 3 != ring or of.dpl != ring or not of.s or of.type & 0b1010 != 0b0010:
            raise Raised(Vector.TS, code)
        if not of.p:
            raise Raised(Vector.SS, code)
        self._mark_accessed(selector, descriptor)
        new = (selector, *_hidden(descriptor))
        return _Stack(pointer, new[1], 0xFFFF_FFFF if of.db else 0xFFFF, new)

    def _gate64(self, event: Event) -> _Target:
        cpu, state = self._cpu, self._cpu.state
        gate = self._checked_gate(event, 16, _GATES64)
        ext = 0 if event.source is Source.SOFTWARE else _EXT
        high = self._memory.read(state.idt.base + event.vector * 16 + 8, 4)
        selector, offset = gate >> 16 & 0xFFFF, gate & 0xFFFF | gate >> 48 << 16 | high << 32
        descriptor = self._code_segment(selector, ext)
        dpl, conforming, ist = descriptor >> 45 & 3, descriptor >> 42 & 1, gate >> 32 & 7
        inner = not conforming and dpl < cpu.cpl
        pointer, new = state.regs[RSP], None
        if ist or inner:
            at = 28 + 8 * ist if ist else 4 + 8 * dpl
            if at + 7 > state.tr.limit:
                raise Raised(Vector.TS, state.tr.selector & ~3 | ext)
            pointer = self._memory.read(state.tr.base + at, 8)
        if inner:
            new = (dpl, 0, 0, dpl << 13)
        if not is_canonical(pointer):
            raise Raised(Vector.SS, ext)
        if not is_canonical(offset):
            raise Raised(Vector.GP, ext)
        stack = _Stack(pointer & ~0xF, 0, FULL, new)
        return _Target(selector, descriptor, offset, dpl if inner else cpu.cpl, bool(gate >> 40 & _TRAP), 8, stack)

    # ---- through a gate

    def _protected(self, event: Event, flags: int, target: _Target) -> None:
        cpu, state = self._cpu, self._cpu.state
        vm86, stack, width = cpu.vm86, target.stack, target.width
        frame = [flags, state.segments[CS].selector, state.rip]
        if stack.new is not None or cpu.long_mode:
            frame = [state.segments[SS].selector, state.regs[RSP], *frame]
        if vm86:
            frame = [state.segments[number].selector for number in (GS, FS, DS, ES)] + frame
        if event.source is Source.EXCEPTION and EXCEPTIONS[Vector(event.vector)].pushes_error_code:
            frame.append(event.error_code)
        if stack.mask != FULL:
            self._check_room(stack, width * len(frame), 0 if event.source is Source.SOFTWARE else _EXT)
        top = stack.pointer & stack.mask
        pointer = (top - width * len(frame)) & stack.mask
        if pointer < top:
            self._memory.push(stack.base + top, frame, width)
        else:  # it wraps at the end of the segment
            for n, value in enumerate(frame, 1):
                self._memory.write(stack.base + (top - n * width & stack.mask), width, value)
        if vm86:
            for number in (ES, DS, FS, GS):
                cpu.load(number, 0, 0, 0, 0)
        if stack.new is not None:
            cpu.load(SS, *stack.new)
        state.regs[RSP] = pointer if stack.mask == FULL else state.regs[RSP] & ~stack.mask & 0xFFFF_FFFF | pointer
        self._mark_accessed(target.selector, target.descriptor)
        base, limit, hidden = _hidden(target.descriptor)
        cpu.load(CS, target.selector & ~3 | target.cpl, base, limit, hidden)
        state.rip = target.offset
        state.rflags &= ~(_TF | _NT | _RF | _VM | (0 if target.trap else _IF))
        cpu.refresh(cpl=target.cpl)

    def _check_room(self, stack: _Stack, size: int, ext: int) -> None:
        """Does the frame fit below the stack pointer, inside the segment?"""
        ss = self._cpu.state.segments[SS]
        selector, _, limit, flags = stack.new or (0, ss.base, ss.limit, ss.flags)
        lowest = (stack.pointer - size) & stack.mask
        highest = (stack.pointer - 1) & stack.mask
        inside = lowest > limit if flags >> 10 & 1 and flags >> 8 & 8 == 0 else highest <= limit
        if lowest > highest or not inside:
            raise Raised(Vector.SS, selector & ~3 | ext)

    def _mark_accessed(self, selector: int, descriptor: int) -> None:
        if not descriptor & _ACCESSED:
            table = self._cpu.state.ldt if selector & 4 else self._cpu.state.gdt
            self._memory.write(table.base + (selector & ~7) + 5, 1, descriptor >> 40 & 0xFF | 1)


def _hidden(descriptor: int) -> tuple[int, int, int]:
    """Base, limit and flags of a descriptor as a segment register keeps them."""
    of = SegmentDescriptor(descriptor)
    return of.base, of.limit, descriptor >> 32 & 0x00F0_FF00 | 1 << 8
