"""A guest does not read, change, interrupt or stop another, and finds a new vCPU as a processor after reset.

The one that looks runs from beginning to end while the other waits in an exit, or spins on the same processor of the host.
A guest that spins, with interrupts off too, is stopped by the host all the same.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable

from virtproof.conformance.case import At, Case, HostScript, Insn, Program, Row, Script, completes, cr4, family
from virtproof.conformance.guest import check, check_program
from virtproof.conformance.plain_guest import enter
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import Cite, apm, linux, sdm
from virtproof.spec.x86.control import Cr4
from virtproof.spec.x86.msr import Msr
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Timeout
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

LONG64 = Mode.LONG64
CITE = (linux("virt/kvm/api.rst", "KVM_RUN"),)
TIME = (
    sdm(
        "3B",
        "Debug, Branch Profile, TSC, and Intel Resource Director Technology (Intel RDT) Features, 'Time-Stamp Counter'",
    ),
)
RESET = (
    sdm("3A", "Processor Management and Initialization, 'Processor State After Reset'"),
    apm(2, "Processor Initialization and Long Mode Activation, 'Initial Processor State'"),
)
row = family("isolation", *RESET)
MIB = 1 << 20
MARK, OTHER = 0x5A17_C0DE_0B5E_55ED, 0x6E0B_0D1E_5A17_C0DE
FRESH = ((2 * MIB - 0x7000) // 8, 0, 0)  # words looked at, the first that is not zero, where


def program(image: str, *arguments: At | int, observations: tuple[int, ...], memory: int = MIB) -> Program:
    return Program(
        id=image, title=image, area="isolation", mode=LONG64, cite=CITE, image=image, irqchip=True,
        arguments=arguments, observations=observations, memory=memory, seconds=10.0,
    )  # fmt: skip


def _filled(pattern: int) -> Program:
    """Fills its memory from A0000H, waits in act 0, and compares."""
    return program("pingpong", At("fill"), pattern, 1, MIB, observations=(0,), memory=MIB)


def _private(engine: Engine) -> Iterable[Check]:
    """While a guest whose memory is full of a pattern waits, a second looks at every word of its own."""
    found: list[Check] = []

    def look(machine: Machine) -> None:
        there = machine.memory.read(0xF0000, 8) == MARK.to_bytes(8, "little")
        found.append(Check("the first guest's pattern", "in its memory", "in its memory" if there else "absent", there))
        fresh = Program(
            id="fresh", title="fresh", area="isolation", mode=LONG64, cite=CITE, image="fresh_zero",
            observations=FRESH, memory=2 * MIB, seconds=10.0,
        )  # fmt: skip
        found.extend(check_program(fresh, engine))

    yield from check_program(_filled(MARK), engine, calls={0: look})
    yield from found


def _write(engine: Engine) -> Iterable[Check]:
    """While a guest waits, a second fills all of its own memory; the first's stays, by its own word and the host's."""
    found: list[Check] = []

    def fill(machine: Machine) -> None:
        before = _digest(machine)
        found.extend(check_program(_filled(OTHER), engine))
        same = before == _digest(machine)
        found.append(Check("the first guest's memory", "unchanged", "unchanged" if same else "changed", same))

    yield from check_program(_filled(MARK), engine, calls={0: fill})
    yield from found


def _digest(machine: Machine) -> bytes:
    return hashlib.sha256(machine.memory.read(0, MIB)).digest()


def _interrupts(engine: Engine) -> Iterable[Check]:
    """A guest is sent a message while a second, whose handler is for the same vector, runs."""
    found: list[Check] = []

    def send(machine: Machine) -> None:
        def send_to_first(second: Machine) -> None:
            machine.interrupts.send_msi(0xFEE0_0000, 0x41)

        quiet = program("lapic", At("quiet"), 0, observations=(0, 0))
        found.extend(check_program(quiet, engine, calls={0: send_to_first}))

    first = program("lapic", At("host_message"), 0, observations=(1, 0, 0x41, 0, 0))
    yield from check_program(first, engine, calls={0: send})
    yield from found


TSC, A_WHILE = Msr.IA32_TIME_STAMP_COUNTER, 1 << 45  # some hours
WRMSR = Insn("0f 30", "wrmsr")
SPIN = Insn("eb fe", "jmp 0")
COUNT = (Insn("fa", "cli"), Insn("48 ff c0", "inc rax"), Insn("eb fb", "jmp 1"))


def _stops(engine: Engine) -> Iterable[Check]:
    """The host ends a guest that spins; its registers are valid, and it goes on where it was."""
    with Machine(engine) as machine:
        start = enter(machine, COUNT)
        counts = [0]
        for n in (1, 2):
            end = machine.run(0.05)
            yield Check(f"run {n} ends by", "the watchdog", str(end), isinstance(end, Timeout))
            registers = machine.vcpu.registers()
            counts.append(registers.rax)
            inside = start < registers.rip <= start + 4
            yield Check(f"RIP after run {n}", "in the loop", f"{registers.rip:#x}", inside)
        rising = counts == sorted(set(counts))
        yield Check("the guest's count", "rising", " ".join(map(str, counts)), rising)


def _beside(engine: Engine) -> Iterable[Check]:
    """A guest spins on a processor of the host; a second runs to its end on the same one."""
    allowed = os.sched_getaffinity(0)
    processor = {min(allowed)}
    with Machine(engine) as machine:
        enter(machine, (SPIN,))

        def spin() -> None:
            os.sched_setaffinity(0, processor)
            machine.run(60.0)

        thread = threading.Thread(target=spin, name="spinning guest", daemon=True)
        thread.start()
        try:
            os.sched_setaffinity(0, processor)
            yield from check_program(program("lapic", At("order"), 0, observations=(0x72, 0x71, 0x41, 0)), engine)
            yield Check(
                "the guest that spins", "still does", "still does" if thread.is_alive() else "ended", thread.is_alive()
            )
        finally:
            os.sched_setaffinity(0, allowed)
            while thread.is_alive():
                machine.stop()
                thread.join(0.01)


def _own_time(engine: Engine) -> Iterable[Check]:
    """A guest sets its time-stamp counter 2^50 ahead; that of another, which waits, goes on as it was."""
    with Machine(engine, cpuid=engine.supported_cpuid()) as other:
        before = other.vcpu.tsc()
        yield from check(
            row("iso.tsc_offset", "", LONG64, WRMSR, completes(), regs={"rcx": TSC, "rax": 0, "rdx": 1 << 18}), engine
        )
        after = other.vcpu.tsc()
    yield Check(
        "the other's counter grows by", f"less than {A_WHILE:#x}", f"{after - before:#x}", 0 <= after - before < A_WHILE
    )


REGISTERS = tuple(name for name in Registers.__dataclass_fields__ if name not in ("rdx", "rip", "rflags"))


def _fresh_vcpu(engine: Engine) -> Iterable[Check]:
    """The general registers of three new vCPUs; RDX is the processor's signature, or what KVM says instead."""
    for n in range(3):
        with Machine(engine) as machine:
            registers = machine.vcpu.registers()
            left = {name: value for name in REGISTERS if (value := getattr(registers, name))}
            yield Check(
                f"registers of vCPU {n}", "0", " ".join(f"{k}={v:#x}" for k, v in left.items()) or "0", not left
            )
            start = registers.rip == 0xFFF0 and registers.rflags == 2
            yield Check(f"RIP, RFLAGS of vCPU {n}", "0xfff0 0x2", f"{registers.rip:#x} {registers.rflags:#x}", start)
            machine.vcpu.set_registers(Registers(**dict.fromkeys(REGISTERS, MARK), rip=0xFFF0, rflags=2))


# fmt: off
MOV_DR = (Insn("0f 21 c0", "mov rax, dr0"), Insn("0f 21 cb", "mov rbx, dr1"), Insn("0f 21 d1", "mov rcx, dr2"), Insn("0f 21 da", "mov rdx, dr3"))
STORE_XMM = (Insn("0f 11 03", "movups xmmword ptr [rbx], xmm0"), Insn("44 0f 11 7b 10", "movups xmmword ptr [rbx + 0x10], xmm15"))
DATA = At("kernel_data")
DIRTY = {DATA + 8 * n: MARK for n in range(4)}

DR_ROW:  Row = row("iso.dr_leak",  "DR0 to DR3 of a new vCPU are 0", LONG64, MOV_DR, completes(regs={"rax": 0, "rbx": 0, "rcx": 0, "rdx": 0}), irqchip=True)
XMM_ROW: Row = row("iso.xmm_leak", "XMM0 and XMM15 of a new vCPU are 0", LONG64, STORE_XMM, completes(memory=dict.fromkeys(DIRTY, 0)),
                   regs={"rbx": DATA}, fill=DIRTY, sets=(cr4(on=Cr4.osfxsr.mask),), irqchip=True)


def script(id: str, title: str, run: Script, cite: tuple[Cite, ...] = CITE, *, priority: int = 1) -> Case:  # noqa: A002
    return HostScript(id=id, title=title, area="isolation", mode=LONG64, cite=cite, script=run, priority=priority, seconds=30.0)


CASES: tuple[Case, ...] = (
    DR_ROW,
    XMM_ROW,
    script("iso.gpr_leak",     "General registers of a new vCPU are 0",               _fresh_vcpu, RESET),
    script("iso.mem_private",  "A guest does not find another's memory in its own",   _private),
    script("iso.mem_write",    "A guest that fills its memory changes nobody else's", _write),
    script("iso.two_vms_irq",  "A message for one guest interrupts no other",         _interrupts),
    script("iso.tsc_offset",   "A guest that sets its time-stamp counter leaves others' alone", _own_time, TIME, priority=2),
    script("iso.cli_spin",     "A guest that spins with IF = 0 is stopped, and goes on", _stops),
    script("iso.halt_slice",   "A guest that spins does not stop another",            _beside),
)
# fmt: on
