"""The monitor and its vCPUs: how many there may be, when they may come, and what they cost when they have nothing to do.

A VM has a vCPU of an index once, and takes new ones while others run.  As many as KVM recommends start and count.  They
come on with fewer processors of the host than vCPUs.  Halted ones use none.  INIT of the first processor takes it to its
reset vector, FFFFFFF0H in a segment with the selector F000H, where it does not wait for SIPI.

The programs are in guest_payloads/smp.c, startup.c, atomics.c and litmus.c.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable

from virtproof.conformance.areas.interrupts.kernel_state import of_the_kernel
from virtproof.conformance.areas.smp.startup import starts
from virtproof.conformance.case import At, Case, HostScript, Insn, Program, Script, completes, family
from virtproof.conformance.guest import HOST_PORT, check, check_program
from virtproof.conformance.of_kvm import kvm_engine
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import KvmError
from virtproof.results import Check
from virtproof.spec.cite import Cite, linux, sdm
from virtproof.spec.kvm import Cap
from virtproof.vmm import modes
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Exit, Halt
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

LONG64 = Mode.LONG64
CREATE = linux("virt/kvm/api.rst", "KVM_CREATE_VCPU")
INIT = sdm("3A", "Processor Management and Initialization, 'Processor State After Reset'")
MOST = 64  # processors of a program: SMP_MAX
RESET_PAGE, RESET_VECTOR, RESET_CS = 0xFFFF_F000, 0xFF0, 0xF000
# At the reset vector: mov ax, cs; mov [0x9120], ax; mov word [0x9140], 1; cli; hlt
TELL_CS = bytes.fromhex("8c c8 a3 20 91 c7 06 40 91 01 00 fa f4")
IDLE, SHARE = 0.3, 0.5  # seconds of halting, and the part of them that may be spent


def _twice(engine: Engine) -> Iterable[Check]:
    with Machine(kvm_engine(engine)) as machine:
        try:
            machine.vm.create_vcpu(0)
            saw = "created"
        except KvmError as err:
            saw = errno.errorcode.get(err.errno, str(err.errno))
    yield Check("a second vCPU 0", "EEXIST", saw, saw == "EEXIST")


def _while_running(engine: Engine) -> Iterable[Check]:
    """The second vCPU is made, and runs to its HLT, while the first waits in an exit; then the first goes on."""
    kvm_engine(engine)
    found: list[tuple[Exit, bytes]] = []

    def add(machine: Machine) -> None:
        machine.memory.write(
            0x1000, bytes.fromhex("66 c7 06 00 20 78 56 34 12 f4")
        )  # mov dword [0x2000], 0x12345678; hlt
        vcpu = machine.vm.create_vcpu(1)
        vcpu.set_special_registers(modes.real16(vcpu.special_registers()))
        vcpu.set_registers(Registers(rip=0x1000))
        found.append((vcpu.run(machine.bus), machine.memory.read(0x2000, 4)))

    guest = family("smp", CREATE)(
        "smp.create_live", "", LONG64, (Insn("ee", "out dx, al"), Insn("ff c1", "inc ecx")),
        completes(regs={"rcx": 8}), regs={"rax": 1, "rdx": HOST_PORT, "rcx": 7},
    )  # fmt: skip
    yield from check(guest, engine, calls={1: add})
    saw = [(isinstance(end, Halt), word.hex()) for end, word in found]
    yield Check("the second halted, and what it wrote", "[(True, '78563412')]", str(saw), saw == [(True, "78563412")])


def _recommended(engine: Engine) -> Iterable[Check]:
    number = min(kvm_engine(engine).kvm.check_extension(Cap.NR_VCPUS) or 1, MOST)
    return check_program(starts("smp.max_vcpus", "", number), engine)


def _overcommitted(engine: Engine) -> Iterable[Check]:
    """Three vCPUs that take turns by a lock, with PAUSE, on one processor."""
    allowed = os.sched_getaffinity(0)
    guest = Program(
        id="smp.pause_progress", title="", area="smp", mode=LONG64, cite=(), image="atomics", vcpus=3, irqchip=True,
        arguments=(At("xchg_lock"), 3, 300), observations=(900,), seconds=20.0,
    )  # fmt: skip
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield from check_program(guest, engine)
    finally:
        os.sched_setaffinity(0, allowed)


def _idle(engine: Engine) -> Iterable[Check]:
    of_the_kernel(engine)
    with Machine(engine, vcpus=2, irqchip=True) as machine:  # the second waits for INIT
        machine.memory.load(0x1000, b"\xfa\xf4")  # cli; hlt
        machine.vcpu.set_special_registers(modes.real16(machine.vcpu.special_registers()))
        machine.vcpu.set_registers(Registers(rip=0x1000))
        began = time.process_time()
        machine.run(IDLE)
        spent = time.process_time() - began
    yield Check("seconds of processor time", f"below {IDLE * SHARE:.2f}", f"{spent:.3f}", spent < IDLE * SHARE)


def _first_reset(engine: Engine) -> Iterable[Check]:
    of_the_kernel(engine)

    def furnish(machine: Machine) -> None:
        machine.memory.add(RESET_PAGE, 0x1000)
        machine.memory.load(RESET_PAGE + RESET_VECTOR, TELL_CS)

    guest = Program(
        id="smp.init_bsp", title="", area="smp", mode=LONG64, cite=(), image="startup", vcpus=2, irqchip=True,
        arguments=(At("first_reset"),), observations=(RESET_CS,), seconds=10.0,
    )  # fmt: skip
    return check_program(guest, engine, furnish=furnish)


def script(id: str, title: str, run: Script, *cite: Cite) -> Case:  # noqa: A002
    return HostScript(id=id, title=title, area="smp", mode=LONG64, cite=cite, script=run, priority=2, seconds=20.0)


# fmt: off
CASES: tuple[Case, ...] = (
    script("smp.vcpu_dup",       "A VM has a vCPU of an index once",                  _twice,         CREATE),
    script("smp.create_live",    "A vCPU may come while another runs",                _while_running, CREATE),
    script("smp.max_vcpus",      "As many vCPUs as KVM recommends start and count",   _recommended,   CREATE, linux("virt/kvm/api.rst", "KVM_CAP_NR_VCPUS")),
    script("smp.pause_progress", "vCPUs come on that share a processor of the host",  _overcommitted, sdm("2B", "Instruction Set Reference, 'PAUSE-Spin Loop Hint'")),
    script("smp.hlt_all",        "vCPUs that wait use no processor time",             _idle,          sdm("2A", "Instruction Set Reference, 'HLT-Halt'"), linux("virt/kvm/halt-polling.rst", "'The KVM halt polling system'")),
    script("smp.init_bsp",       "INIT takes the first processor to its reset vector", _first_reset,  INIT),
)
# fmt: on
