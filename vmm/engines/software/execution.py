"""How a vCPU of the software engine runs: what enters Unicorn, and what is done about each way out of it.

Hooks inside Unicorn only note what is to be done and stop it; it is done between two entries, when all of the
processor's state is current.  Accesses of devices alone are carried out inside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from virtproof.spec.kvm.exits import InternalError
from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.debug import DR6_RESET, Dr6
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.msr import Msr
from virtproof.vmm import exits
from virtproof.vmm.engine import Accesses, Acknowledges
from virtproof.vmm.engines.software import fast_calls, hooks
from virtproof.vmm.engines.software.breakpoints import Breakpoints
from virtproof.vmm.engines.software.corrections import corrected, keep_bases
from virtproof.vmm.engines.software.cpu import CS, INHIBIT, RAX, RBX, RCX, RDX, Cpu
from virtproof.vmm.engines.software.cpuid import CpuidTable
from virtproof.vmm.engines.software.decode import Instruction, decode
from virtproof.vmm.engines.software.delivery import Delivery, Event, Source, TripleFault
from virtproof.vmm.engines.software.linear import LinearMemory, Raised
from virtproof.vmm.engines.software.msrs import Msrs, TimeStampCounter
from virtproof.vmm.engines.software.native import Gate, Words, add_hook
from virtproof.vmm.engines.software.privileged import INS, IRET, SITES, SITES_OUTER, Privileged
from virtproof.vmm.engines.software.saved import NmiState
from virtproof.vmm.engines.software.sites import LONGEST, Sites
from virtproof.vmm.engines.software.slots import PAGE, Slots

if TYPE_CHECKING:
    from unicorn import Uc

_Todo = Callable[[], exits.Exit | None]

_RF = Rflags.rf.mask
_BREAKPOINTS = Dr6.b0.mask | Dr6.b1.mask | Dr6.b2.mask | Dr6.b3.mask
_IF = Rflags.if_.mask
_ICEBP = b"\xf1"


class Execution:
    """The part of a vCPU that runs."""

    _words = Words()  # of a vCPU that was closed: nobody reads them

    def __init__(self, uc: Uc) -> None:
        self._uc = uc
        self._cpu = Cpu(uc)
        self._cpuid = CpuidTable()
        self._tsc = TimeStampCounter()
        self._hooks = hooks.Hooks(uc)
        self._gate = Gate(self._cpu.state, self._hooks.callback(hooks.INSTRUCTION, self._watched))
        self._words = self._gate.words
        self.slots = Slots(uc, self._cpu.state, self._hooks, self._gate, self._retry)
        self._memory = LinearMemory(self._cpu, self.slots)
        self._delivery = Delivery(self._cpu, self._memory)
        self._msrs = Msrs(self._cpu, self._cpuid, self._tsc)
        self._sites = Sites(uc, self._cpu, self._memory, self._gate)
        self._breakpoints = Breakpoints(uc, self._hooks, self._cpu, self._memory, self._gate, self._stop_soon)
        self._privileged = Privileged(self._cpu, self._cpuid, self._memory, self.slots, self._msrs)
        self._privileged.debug_registers_changed = self._breakpoints.changed
        self._bus: Accesses | None = None
        self._todo: _Todo | None = None  # what a hook wants done when Unicorn has stopped
        self._nmi = NmiState()
        self._kicked = False
        self._stepping = self._masked = self._catches_bp = self._injects = False  # what ``debug`` was asked for
        self._told = False  # of a block: Unicorn begins to when one has run to its end
        self._counts: Counter[str] = Counter()
        self.controller: Acknowledges | None = None
        self.on_eoi: Callable[[int], None] | None = None
        self._hook()

    def _hook(self) -> None:
        import unicorn  # noqa: PLC0415
        from unicorn import x86_const as x86  # noqa: PLC0415

        add = self._hooks.add
        add(unicorn.UC_HOOK_INTR, hooks.EXCEPTION, self._on_exception)
        add(unicorn.UC_HOOK_INSN_INVALID, hooks.INVALID_INSTRUCTION, self._on_invalid)
        add(unicorn.UC_HOOK_EDGE_GENERATED, hooks.TRANSLATED, self._on_translated)
        add_hook(self._uc, unicorn.UC_HOOK_CODE, self._gate.code)
        for instruction, kind, function in (
            (x86.UC_X86_INS_IN, hooks.PORT_IN, self._in),
            (x86.UC_X86_INS_OUT, hooks.PORT_OUT, self._out),
            (x86.UC_X86_INS_SYSCALL, hooks.FAST_CALL, self._on_syscall),
            (x86.UC_X86_INS_SYSENTER, hooks.FAST_CALL, self._on_sysenter),
            (x86.UC_X86_INS_CPUID, hooks.ANSWER, self._on_cpuid),
            (x86.UC_X86_INS_RDTSC, hooks.ANSWER, self._on_rdtsc),
            (x86.UC_X86_INS_RDTSCP, hooks.ANSWER, self._on_rdtscp),
        ):
            add(unicorn.UC_HOOK_INSN, kind, function, instruction=instruction)
        self._uc.ctl_exits_enabled(True)
        self._uc.ctl_set_exits([])

    # ---- running

    def run(self, bus: Accesses) -> exits.Exit:
        self._bus = self.slots.bus = bus
        while True:
            if self._kicked:
                self._kicked = False
                return exits.Interrupted()
            try:
                stopped = self._step()
            except TripleFault:
                return exits.Shutdown()
            if stopped is not None:
                return stopped

    def _step(self) -> exits.Exit | None:
        """Enter Unicorn once, and see to why it stopped.  Raises TripleFault."""
        words = self._words
        if self._injects:
            self._injects = False
            begin = self._cpu.state.rip
            self._cpu.complete(1)
            self._delivery.deliver(Event(Vector.BP, Source.SOFTWARE), fault_rip=begin)
        if self._take_event():
            return None
        words.kick, words.stopped = 2 if self._stepping else 0, 0
        if self._kicked:  # by another thread, since ``run`` looked: its word is lost
            return None
        words.interrupt = words.nmi = 0
        if not (self._stepping and self._masked):
            if self.controller is not None and self.controller.pending:
                words.interrupt = 1
            if self._nmi.due:
                words.nmi = 1
        self._todo = None
        failure = self._enter()
        if failure is not None:
            return failure
        if self._todo is None and not words.stopped:
            return self._halt()
        try:
            stopped = self._todo() if self._todo is not None else None
            if stopped is None:
                stopped = self._hits()
        except Raised as fault:
            if fault.cr2 is not None:
                self._cpu.state.cr[2] = fault.cr2
            self._breakpoints.take()
            self._delivery.deliver(Event(fault.vector, Source.EXCEPTION, fault.error_code))
            stopped = None
        if stopped is None and self._stepping and not self._kicked and self._todo != self.slots.note_crossings:
            return self._debug_exit(Dr6.bs.mask)
        return stopped

    def _enter(self) -> exits.Exit | None:
        from unicorn import UcError  # noqa: PLC0415

        state = self._cpu.state
        if not self._told:
            self._scan(self._cpu.pc, PAGE)
        self._cpu.events.old_exception = -1
        self.slots.entering()
        failure = None
        try:
            self._uc.emu_start(state.rip, 0)
        except UcError as err:
            failure = err
        finally:
            self.slots.left()
        if self._hooks.raised is not None:
            raised, self._hooks.raised = self._hooks.raised, None
            raise raised
        if failure is None or self._todo is not None:
            return None
        insn = self._memory.peek(self._cpu.pc, LONGEST)
        return exits.InternalError(InternalError.EMULATION, (failure.errno,), insn, state.rip, self._cpu.code_bits)

    def _halt(self) -> exits.Exit | None:
        """After HLT: go on where an interrupt waits, or a single step ends it."""
        self._counts["halt"] += 1
        if self._cpu.state.rflags & Rflags.tf.mask:
            return self._trap(Dr6.bs.mask)
        return None if self.wakeful else exits.Halt()

    def _take_event(self) -> bool:
        """Deliver the NMI or interrupt that waits, if the processor would take it now."""
        state = self._cpu.state
        if state.hflags & INHIBIT or (self._stepping and self._masked):
            return False
        if self._nmi.due:
            self._nmi.pending, self._nmi.blocked = False, True
            self._delivery.deliver(Event(Vector.NMI, Source.EXTERNAL))
            return True
        if self.controller is None or not state.rflags & _IF or not self.controller.pending:
            return False
        vector = self.controller.acknowledge()
        if vector is None:
            return False
        self._counts["interrupt"] += 1
        self._delivery.deliver(Event(vector, Source.EXTERNAL))
        return True

    @property
    def wakeful(self) -> bool:
        if self._nmi.due:
            return True
        return self.controller is not None and self.controller.pending and bool(self._cpu.state.rflags & _IF)

    def _stop_soon(self) -> None:
        """Stop before the next instruction, to look what is to be done."""
        self._words.kick = 1

    # ---- what hooks note

    def _note(self, todo: _Todo) -> None:
        if self._todo is None:
            self._todo = todo
        self._uc.emu_stop()

    def _retry(self) -> None:
        self._note(self.slots.note_crossings)

    def _on_exception(self, vector: int, data: object) -> None:
        events = self._cpu.events
        vector, code, software = vector & 0xFF, events.error_code & 0xFFFF_FFFF, bool(events.is_software)
        self._note(partial(self._exception, vector, code, software))

    def _exception(self, vector: int, code: int, software: bool) -> exits.Exit | None:
        self._counts["exception"] += 1
        address = self._words.address
        if software:
            begin = self._offset_of(address)
            if vector == Vector.BP and self._catches_bp:
                self._cpu.state.rip = begin
                return exits.Debug(vector, address, DR6_RESET, self._breakpoints.control)
            self._delivery.deliver(Event(vector, Source.SOFTWARE), fault_rip=begin)
        elif vector == Vector.DB:  # a single step: Unicorn knows of no breakpoints
            return self._trap(Dr6.bs.mask | self._breakpoints.take())
        else:
            if vector == Vector.GP and self._cpu.code64:
                insn = decode(self._memory.peek(address, LONGEST), self._cpu.code_bits)
                vector = corrected(self._cpu, vector, code, address, insn)
            raise Raised(Vector(vector), code)
        return None

    def _trap(self, conditions: int) -> exits.Exit | None:
        """A debug exception after an instruction."""
        dr = self._cpu.events.dr
        dr[6] = dr[6] & ~_BREAKPOINTS | conditions  # what else is set stays
        self._delivery.deliver(Event(Vector.DB, Source.EXCEPTION, trap=True))
        return None

    def _hits(self) -> exits.Exit | None:
        """Breakpoints on data and ports that the last instruction hit."""
        hits = self._breakpoints.take()
        return self._hit(hits) if hits else None

    def _debug_exit(self, conditions: int) -> exits.Exit:
        return exits.Debug(Vector.DB, self._cpu.pc, DR6_RESET | conditions, self._breakpoints.control)

    def _offset_of(self, address: int) -> int:
        """The instruction pointer of a linear address of the code segment."""
        cpu = self._cpu
        return address if cpu.code64 else (address - cpu.state.segments[CS].base) & 0xFFFF_FFFF

    def _on_invalid(self, data: object) -> bool:
        self._note(self._invalid)
        return True

    def _invalid(self) -> None:
        if self._memory.peek(self._cpu.pc, 1) != _ICEBP:
            raise Raised(Vector.UD)
        begin = self._cpu.state.rip  # Unicorn does not know INT1
        self._cpu.complete(1)
        self._delivery.deliver(Event(Vector.DB, Source.EXTERNAL), fault_rip=begin)

    def _on_syscall(self, data: object) -> None:
        self._note(self._syscall)

    def _syscall(self) -> exits.Exit | None:
        """For a single step it is RFLAGS.TF behind SYSCALL that counts: IA32_FMASK may clear it."""
        fast_calls.syscall(self._cpu, amd=self._cpuid.amd)
        return self._trap(Dr6.bs.mask) if self._cpu.state.rflags & Rflags.tf.mask else None

    def _on_sysenter(self, data: object) -> None:
        self._note(partial(fast_calls.sysenter, self._cpu, amd=self._cpuid.amd))

    # ---- instructions that are watched

    def _on_translated(self, block: Any, before: Any, data: object) -> None:
        self._told = True
        self._scan(block.contents.pc, block.contents.size)

    def _scan(self, address: int, size: int) -> None:
        for page in range(address & -PAGE, address + size, PAGE):
            with suppress(Raised):
                self.slots.translated(self._memory.find(page).physical)
        outer = self._cpu.protected and self._cpu.cpl
        self._sites.scan(address, size, SITES_OUTER if outer else SITES)

    def _watched(self, address: int, size: int, data: object) -> None:
        """Before an instruction that may have to be seen, inside Unicorn."""
        if self._todo is not None:
            return
        if not self._cpu.state.rflags & _RF:
            hits = self._breakpoints.at_instruction(address)
            if hits:
                self._note(partial(self._hit, hits))
        if address in self._sites and self._todo is None:
            self._see(self._sites.instruction(address, size))

    def _see(self, insn: Instruction | None) -> None:
        if insn is None:
            return
        if insn.opcode in INS:
            self.slots.dummy = True
        if insn.opcode == IRET:
            if self._nmi.blocked:
                self._nmi.blocked = False
                self._words.nmi = self._nmi.pending
            keep_bases(self._cpu, self._memory)
            return
        try:
            todo = self._privileged.instead(insn)
        except Raised as fault:  # of what it had to read
            todo = partial(_raise, fault)
        if todo is not None:
            self._note(partial(self._instead, todo))

    def _instead(self, todo: Callable[[], None]) -> exits.Exit | None:
        """Carry an instruction out; RFLAGS.TF steps over it as over any other."""
        stepped = self._cpu.state.rflags & Rflags.tf.mask
        todo()
        return self._trap(Dr6.bs.mask) if stepped else None

    def _hit(self, hits: int) -> exits.Exit | None:
        """Breakpoints belong to the monitor, or to the guest."""
        return self._debug_exit(hits) if self._breakpoints.of_monitor else self._trap(hits)

    # ---- instructions that Unicorn asks about

    def _in(self, port: int, size: int, data: object) -> int:
        assert self._bus is not None
        self._counts["in"] += 1
        self.slots.port_read(size)
        self._breakpoints.at_port(port, size)
        return self._bus.pio_in(port, size)

    def _out(self, port: int, size: int, value: int, data: object) -> None:
        assert self._bus is not None
        self._counts["out"] += 1
        self._breakpoints.at_port(port, size)
        self._bus.pio_out(port, size, value)

    def _on_cpuid(self, data: object) -> int:
        state = self._cpu.state
        osxsave = bool(state.cr[4] & Cr4.osxsave.mask)
        leaf, subleaf = state.regs[RAX] & 0xFFFF_FFFF, state.regs[RCX] & 0xFFFF_FFFF
        answer = self._cpuid.answer(leaf, subleaf, osxsave=osxsave, apic=self._msrs.apic_enabled)
        for number, value in zip((RAX, RBX, RCX, RDX), answer, strict=True):
            state.regs[number] = value
        return 1

    def _on_rdtsc(self, data: object) -> int:
        value, regs = self._tsc.read(), self._cpu.state.regs
        regs[RAX], regs[RDX] = value & 0xFFFF_FFFF, value >> 32
        return 1

    def _on_rdtscp(self, data: object) -> int:
        self._cpu.state.regs[RCX] = self._msrs.read(Msr.IA32_TSC_AUX) or 0
        return self._on_rdtsc(data)


def _raise(fault: Raised) -> None:
    raise fault
