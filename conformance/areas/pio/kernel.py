"""What the kernel does with a port access before, after, or instead of handing it to the monitor.

An access comes out with its data in the ``kvm_run`` mapping.  What the monitor sets then, RIP say, holds: the access that
was completed is not skipped a second time.  Writes of an ioeventfd's size do not come out, others do; with a coalescing
ring writes are left in it, until it is full.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from ctypes import sizeof
from dataclasses import replace
from functools import partial
from itertools import pairwise

from virtproof.conformance.case import At, Case, HostScript, Insn, Row, completes, family, pio_out
from virtproof.conformance.counters import needs_hardware
from virtproof.conformance.guest import HOST_PORT, Inapplicable, check, hosted, observe
from virtproof.conformance.of_kvm import event, kvm_engine, kvm_vcpu, kvm_vm, signalled
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Access, Mode
from virtproof.kvm import ioctl
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.spec.kvm import Cap, Ioctl
from virtproof.spec.kvm.run import Run
from virtproof.spec.kvm.structures import CoalescedMmio, CoalescedMmioRing, CoalescedMmioZone
from virtproof.vmm.engine import Engine
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.machine import Machine

LONG64 = Mode.LONG64
PORT, VALUE, DATA = 0x1234, 0x1122_3344, At("kernel_data")
RUN = linux("virt/kvm/api.rst", "'The kvm_run structure', KVM_EXIT_IO")
EVENTFD = linux("virt/kvm/api.rst", "KVM_IOEVENTFD")
COALESCED = linux("virt/kvm/api.rst", "KVM_REGISTER_COALESCED_MMIO")
STATISTICS = linux("virt/kvm/api.rst", "KVM_GET_STATS_FD")
row = family("pio", RUN)

OUT_1, OUT_2, OUT_4 = Insn("ee", "out dx, al"), Insn("66 ef", "out dx, ax"), Insn("ef", "out dx, eax")
INC_RBX, INC_RCX = Insn("48 ff c3", "inc rbx"), Insn("48 ff c1", "inc rcx")
TO_HOST = (Insn("66 ba 60 56", "mov dx, 0x5660"), Insn("b0 01", "mov al, 1"), OUT_1)
DETACH = (*TO_HOST, Insn("66 ba 34 12", "mov dx, 0x1234"))


def _events(guest: Row, length: int, events: int, engine: Engine) -> Iterable[Check]:
    """Run the guest with an ioeventfd of ``length`` bytes at PORT, which act 1 detaches."""
    with event() as fd:

        def attach(machine: Machine) -> None:
            kvm_vm(machine).attach_ioeventfd(fd, "pio", PORT, length)

        def detach(machine: Machine) -> None:
            kvm_vm(machine).detach_ioeventfd(fd, "pio", PORT, length)

        yield from check(guest, engine, furnish=attach, calls={1: detach})
        yield signalled(fd, events)


def _eventfd(
    id: str,  # noqa: A002
    title: str,
    length: int,
    code: tuple[Insn, ...],
    events: int,
    *accesses: Access,
    priority: int = 2,
) -> Case:
    guest = row(id, title, LONG64, code, completes(accesses=accesses, keeps=False), regs={"rax": VALUE, "rdx": PORT})
    script = partial(_events, guest, length, events)
    return HostScript(id=id, title=title, area="pio", mode=LONG64, cite=(EVENTFD,), script=script, priority=priority)


def _change_rip(machine: Machine) -> None:
    """Make the guest go on behind the instruction that follows the OUT."""
    registers = machine.vcpu.registers()
    start = images.load("long64")["kernel_code"]
    machine.vcpu.set_registers(replace(registers, rip=start + len(OUT_1.code) + len(INC_RBX.code)))


def _run_page(machine: Machine, engine: KvmEngine) -> bytes:
    """The whole mapping that the first vCPU shares with its monitor."""
    with mmap.mmap(kvm_vcpu(machine).fd, engine.kvm.vcpu_mmap_size) as page:
        return page[:]


def _data_offset(engine: Engine) -> Iterable[Check]:
    """The exits of an OUT and of a REP OUTS: the data lie inside the mapping, behind the structure's own fields."""
    engine = kvm_engine(engine)
    pages: list[bytes] = []

    def look(machine: Machine) -> None:
        pages.append(_run_page(machine, engine))

    code = (OUT_1, Insn("f3 6e", "rep outsb dx, byte ptr [rsi]"))
    regs = {"rax": 1, "rcx": 3, "rdx": HOST_PORT, "rsi": DATA}
    guest = row(
        "pio.x.data_offset",
        "",
        LONG64,
        code,
        completes(regs={"rcx": 0, "rsi": DATA + 3}),
        regs=regs,
        fill={DATA: 0x010101},
    )
    yield from check(guest, engine, calls={1: look})
    yield Check("bytes that came out", "4", str(len(pages)), len(pages) == 4)
    for n, page in enumerate(pages, 1):
        io = Run.from_buffer_copy(page).exit.io
        end = io.data_offset + io.size * io.count
        inside = Run.exit.offset < io.data_offset and end <= len(page)
        yield Check(f"data of exit {n}", f"inside {len(page):#x} bytes", f"{io.data_offset:#x} to {end:#x}", inside)
        data = page[io.data_offset : end]
        yield Check(f"bytes of exit {n}", "all 1", data.hex(" "), bool(data) and set(data) == {1})


WRITES = 200
ROOM = (mmap.PAGESIZE - sizeof(CoalescedMmioRing)) // sizeof(CoalescedMmio) - 1  # one place stays empty
# AL counts up, ECX down.
COUNT = (OUT_1, Insn("fe c0", "inc al"), Insn("ff c9", "dec ecx"), Insn("75 f9", "jne 0"))


def _coalesced(engine: Engine) -> Iterable[Check]:
    """Writes to a port with a ring stay in it; those that find it full come out.  Where it is full the kernel decides."""
    engine = kvm_engine(engine)
    if not engine.kvm.check_extension(Cap.COALESCED_PIO):
        raise Inapplicable("this kernel does not offer KVM_CAP_COALESCED_PIO")
    at = engine.kvm.check_extension(Cap.COALESCED_MMIO) * mmap.PAGESIZE
    rings: list[bytes] = []

    def attach(machine: Machine) -> None:
        ioctl(kvm_vm(machine).fd, Ioctl.REGISTER_COALESCED_MMIO, bytes(CoalescedMmioZone(addr=PORT, size=1, pio=1)))

    def look(machine: Machine) -> None:
        rings.append(_run_page(machine, engine)[at : at + mmap.PAGESIZE])

    guest = row(
        "pio.x.coalesced", "", LONG64, (*COUNT, *TO_HOST), completes(), regs={"rax": 0, "rcx": WRITES, "rdx": PORT}
    )
    _, accesses = observe(guest, engine, furnish=attach, calls={1: look})
    ring = rings[0]
    header = CoalescedMmioRing.from_buffer_copy(ring)
    taken = header.last if header.first == 0 and header.last <= ROOM else 0
    yield Check("writes in the ring", f"1 to {ROOM}", f"{header.first} to {header.last}", taken > 0)
    size, start = sizeof(CoalescedMmio), sizeof(CoalescedMmioRing)
    entries = [CoalescedMmio.from_buffer_copy(ring, start + n * size) for n in range(taken)]
    wrong = [n for n, e in enumerate(entries) if (e.phys_addr, e.len, e.pio, e.data[0]) != (PORT, 1, 1, n)]
    yield Check(
        "entries that are not the port, size and value of the write",
        "none",
        " ".join(map(str, wrong)) or "none",
        not wrong,
    )
    rest = accesses == [pio_out(PORT, 1, n) for n in range(taken, WRITES)]
    yield Check("the writes behind them", "come out in order", "come out in order" if rest else "do not", rest)


HUNDRED = (Insn("e6 80", "out 0x80, al"), Insn("ff c9", "dec ecx"), Insn("75 fa", "jne 0x2"))


def _statistic(engine: Engine) -> Iterable[Check]:
    """io_exits around a hundred OUTs, and the one by which the host is asked to look."""
    needs_hardware(engine)
    seen: list[int] = []

    def look(machine: Machine) -> None:
        value = kvm_vcpu(machine).statistics()["io_exits"]
        seen.append(value if isinstance(value, int) else -1)

    guest = row(
        "pio.x.io_exits_stat",
        "",
        LONG64,
        (OUT_1, *HUNDRED, OUT_1),
        completes(keeps=False),
        regs={"rax": 1, "rcx": 100, "rdx": HOST_PORT},
    )
    yield from check(guest, engine, calls={1: look})
    grown = [after - before for before, after in pairwise(seen)]
    yield Check("io_exits grows by", "101", " ".join(map(str, grown)), grown == [101])


# fmt: off
CASES: tuple[Case, ...] = (
    _eventfd("pio.x.ioeventfd_size",     "An ioeventfd of two bytes takes writes of two bytes alone", 2, (OUT_1, OUT_2, OUT_4, OUT_2), 2,
             pio_out(PORT, 1, VALUE & 0xFF), pio_out(PORT, 4, VALUE)),
    _eventfd("pio.x.ioeventfd_deassign", "Writes come out again when the ioeventfd is detached",      1, (OUT_1, *DETACH, OUT_1), 1,
             pio_out(PORT, 1, 1)),
    _eventfd("pio.x.ioeventfd_any",      "An ioeventfd of length 0 takes writes of any size",         0, (OUT_1, OUT_2, OUT_4), 3, priority=3),
    hosted(row("pio.x.change_rip",       "RIP that the monitor sets at an OUT holds", LONG64, (OUT_1, INC_RBX, INC_RCX), completes(regs={"rbx": 0, "rcx": 1}),
               regs={"rax": 1, "rbx": 0, "rcx": 0, "rdx": HOST_PORT}, priority=2), calls={1: _change_rip}),
    HostScript(id="pio.x.data_offset",   title="The data of a port access lie in the kvm_run mapping",    area="pio", mode=LONG64, cite=(RUN,),        script=_data_offset),
    HostScript(id="pio.x.coalesced",     title="A coalescing ring takes writes to its port until it is full", area="pio", mode=LONG64, cite=(COALESCED,),  script=_coalesced, priority=2),
    HostScript(id="pio.x.io_exits_stat", title="io_exits counts port accesses",                           area="pio", mode=LONG64, cite=(STATISTICS,), script=_statistic, priority=2),
)
# fmt: on
